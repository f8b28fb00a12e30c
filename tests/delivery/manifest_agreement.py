"""What stands in several places is the same in all of them: ports, probes, times, limits, names."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import kubernetes_validate
import yaml
from manifest_reach import selects
from manifests import (
    MIB,
    NAME,
    VERSIONS,
    Object,
    Tree,
    Wrong,
    amount,
    named,
    ran,
    seconds,
)

LABEL = "app.kubernetes.io/name"
ADMIN_ROUTES = {"startupProbe": "/health", "livenessProbe": "/health"}
ADMIN_ROUTES |= {"readinessProbe": "/health/ready"}
# Between the end of all graces and the end by force.
MARGIN = range(5, 31)


def check_ports(tree: Tree) -> Iterator[str]:
    """One number and one name for a port, wherever it stands."""
    for cluster in tree.clusters:
        server = tree.effective[cluster.overlay]["server"]
        for name, key in (("http", "bind"), ("admin", "admin_bind")):
            host, _, port = server[key].rpartition(":")
            if cluster.ports.get(name) != int(port):
                yield f"{cluster.overlay}: port {name} is not that of server.{key}, {server[key]}"
            if not ipaddress.ip_address(host.strip("[]")).is_unspecified:
                yield f"{cluster.overlay}: server.{key} is not reached from outside: {host}"
        for service in cluster.all("Service"):
            name = service["metadata"]["name"]
            behind = [
                template
                for _, template in cluster.templates()
                if service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
            ]
            if len(behind) != 1:
                yield f"{cluster.overlay}: {len(behind)} sets of pods are behind Service/{name}"
                continue
            ports = behind[0]["spec"]["containers"][0]["ports"]
            for port in service["spec"]["ports"]:
                target = [each for each in ports if each["name"] == port["targetPort"]]
                if not target or port["port"] != target[0]["containerPort"]:
                    yield f"{cluster.overlay}: Service/{name} leads to no port {port['targetPort']}"
        public = cluster.one("Service")["spec"]["ports"]
        if [port["targetPort"] for port in public] != ["http"]:
            yield f"{cluster.overlay}: Service/{NAME} serves more or less than http"
        valkey = cluster.one("Service", f"{NAME}-valkey")
        address = f"{valkey['metadata']['name']}:{valkey['spec']['ports'][0]['port']}"
        url = tree.effective[cluster.overlay]["rate_limit"]["valkey"]["url"]
        if url != f"valkeys://{address}":
            yield f"{cluster.overlay}: Valkey is at {address}, by TLS, and not at {url}"
        conf = cluster.one("ConfigMap", f"{NAME}-valkey")["data"]["valkey.conf"]
        if f"\ntls-port {valkey['spec']['ports'][0]['port']}\n" not in conf:
            yield f"{cluster.overlay}: valkey.conf listens elsewhere"
    ports = tree.production.ports
    forwarded = re.search(rf"port-forward deployment/{NAME} ([\d ]+)", tree.read("RUNBOOK.md"))
    if not forwarded or [int(port) for port in forwarded[1].split()] != list(ports.values()):
        yield f"RUNBOOK.md forwards other ports than {ports}"
    scraped = scrape_of(tree)["static_configs"][0]["targets"]
    if any(not target.endswith(f":{ports['admin']}") for target in scraped):
        yield f"prometheus.yml scrapes another port than admin: {scraped}"


def scrape_of(tree: Tree) -> Object:
    prometheus = yaml.safe_load(tree.read("deploy/prometheus/prometheus.yml"))
    return next(each for each in prometheus["scrape_configs"] if each["job_name"] == "decoder")


def check_probes(tree: Tree) -> Iterator[str]:
    """Routes of the admin listener, and patience."""
    table = tree.read("src/http/routes.rs")
    paths = dict(re.findall(r'^const (\w+): Route =.*?"(/[^"]*)"', table, re.DOTALL | re.MULTILINE))
    admin = table[table.index("pub fn admin") : table.index("fn serve")]
    routes = {paths[name] for name in re.findall(r"serve\(router, &(\w+),", admin)}
    for cluster in tree.clusters:
        for name, path in ADMIN_ROUTES.items():
            probe = cluster.container[name]
            asked = probe["httpGet"]
            if asked["path"] != path or path not in routes or asked["port"] != "admin":
                yield f"{cluster.overlay}: {name} asks {asked}, not {path} of admin"
        live = cluster.container["livenessProbe"]
        if live["periodSeconds"] * live["failureThreshold"] < 30 or live["timeoutSeconds"] < 5:
            yield f"{cluster.overlay}: livenessProbe kills what is only busy"
        start = cluster.container["startupProbe"]
        if not 10 <= start["periodSeconds"] * start["failureThreshold"] <= 60:
            yield f"{cluster.overlay}: startupProbe waits for too long or not long enough"


def check_grace(tree: Tree) -> Iterator[str]:
    """Whoever has begun something may end it."""
    for cluster in tree.clusters:
        server = tree.effective[cluster.overlay]["server"]
        notice, grace = (seconds(server["shutdown"][key]) for key in ("notice", "grace"))
        forced = cluster.pod["terminationGracePeriodSeconds"]
        if int(forced - notice - grace) not in MARGIN:
            yield f"{cluster.overlay}: killed after {forced} s; it takes {notice:g} + {grace:g} s"
        if grace < seconds(server["request_timeout"]):
            yield f"{cluster.overlay}: grace is shorter than a request may take"
        if notice < 10:
            yield f"{cluster.overlay}: notice is too short for a proxy to hear of it"
        if "lifecycle" in cluster.container:
            yield f"{cluster.overlay}: a preStop comes on top of notice"
        strategy = cluster.one("Deployment")["spec"]["strategy"]["rollingUpdate"]
        if strategy["maxUnavailable"] != 0 or strategy["maxSurge"] in (0, "0%"):
            yield f"{cluster.overlay}: a rollout takes pods away before others are there"
    shutdown = tree.effective["production"]["server"]["shutdown"]
    whole = seconds(shutdown["notice"]) + seconds(shutdown["grace"])
    runbook = re.search(r"`server\.shutdown\.grace` \((\d+) s\) to end", tree.read("RUNBOOK.md"))
    if not runbook or int(runbook[1]) != whole:
        yield f"RUNBOOK.md does not say that an instance takes up to {whole:g} s to end"


def check_limits(tree: Tree) -> Iterator[str]:
    """What may be held in memory fits into what there may be."""
    for cluster in tree.clusters:
        config = tree.effective[cluster.overlay]
        limits, overload = config["limits"], config["overload"]
        request, response = (amount(limits[f"max_{key}_bytes"]) for key in ("request", "response"))
        worst = overload["inline"] * (request + response) + overload["fetch"] * response
        # LENT of src/http/decode/arriving.rs: what is held of a body without a place.
        worst += config["server"]["max_in_flight"] * 64 * 1024
        resources = cluster.container["resources"]
        memory = amount(resources["limits"]["memory"])
        if 2 * worst + 64 * MIB > memory:
            yield f"{cluster.overlay}: {worst / MIB:g} MiB at worst, twice, and {memory / MIB:g}"
        for what, template in cluster.templates():
            for container in template["spec"]["containers"]:
                for each in ("cpu", "memory"):
                    asked, may = (container["resources"][key][each] for key in KINDS_OF_RESOURCES)
                    if amount(asked) > amount(may):
                        yield f"{cluster.overlay}: {what} asks for more {each} than it may have"
        conf = cluster.one("ConfigMap", f"{NAME}-valkey")["data"]["valkey.conf"]
        kept = int(re.search(r"^maxmemory (\d+)mb$", conf, re.MULTILINE)[1]) * MIB
        server = cluster.one("StatefulSet", f"{NAME}-valkey")["spec"]["template"]["spec"]
        if 2 * kept > amount(server["containers"][0]["resources"]["limits"]["memory"]):
            yield f"{cluster.overlay}: Valkey has no room for a copy of what it keeps"
        if "\nmaxmemory-policy noeviction\n" not in conf:
            yield f"{cluster.overlay}: Valkey forgets to make room"
        if cluster.overlay == "production":
            said = f"it is {worst / MIB:g} MiB, and a pod may have {memory / MIB / 1024:g} GiB"
            if said not in tree.read("RUNBOOK.md").replace("\n", " "):
                yield f"RUNBOOK.md does not say: {said}"


KINDS_OF_RESOURCES = ("requests", "limits")


def check_replicas(tree: Tree) -> Iterator[str]:
    """One may go, and the others serve; alone, each counts its part."""
    for cluster in tree.clusters:
        scaler = cluster.one("HorizontalPodAutoscaler")["spec"]
        least, most = scaler["minReplicas"], scaler["maxReplicas"]
        target = scaler["scaleTargetRef"]
        if (target["kind"], target["name"]) != ("Deployment", NAME):
            yield f"{cluster.overlay}: the autoscaler scales {target}"
        deployment = cluster.one("Deployment")["spec"]
        if "replicas" in deployment:
            yield f"{cluster.overlay}: each apply undoes what the autoscaler decided"
        budget = cluster.one("PodDisruptionBudget")["spec"]
        if not 0 < budget["maxUnavailable"] < least < most:
            yield f"{cluster.overlay}: {budget['maxUnavailable']} of {least} to {most} may be drained"
        rates = tree.effective[cluster.overlay]["rate_limit"]
        if rates["backend"] != "valkey" or rates["replicas_hint"] != most:
            yield f"{cluster.overlay}: replicas_hint is not maxReplicas, {most}, with valkey: {rates}"
        if scaler["behavior"]["scaleDown"]["stabilizationWindowSeconds"] < 120:
            yield f"{cluster.overlay}: pods go with each lull"
        labels = deployment["template"]["metadata"]["labels"]
        selectors = [deployment["selector"], budget["selector"]]
        spread = cluster.pod["topologySpreadConstraints"]
        selectors += [each["labelSelector"] for each in spread]
        if any(not each["matchLabels"].items() <= labels.items() for each in selectors):
            yield f"{cluster.overlay}: a selector finds no pods: {selectors}"
        keys = {each["topologyKey"] for each in spread}
        if keys != {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}:
            yield f"{cluster.overlay}: pods are not spread: {keys}"


def check_confined(tree: Tree) -> Iterator[str]:
    """As little as it takes to serve."""
    for cluster in tree.clusters:
        namespace = cluster.namespace
        enforced = namespace["labels"].get("pod-security.kubernetes.io/enforce")
        if enforced != "restricted":
            yield f"{cluster.overlay}: the namespace enforces {enforced}"
        places = {each["metadata"].get("namespace") for each in cluster.objects}
        if places != {namespace["name"]}:
            yield f"{cluster.overlay}: objects are in {places}"
        for what, template in cluster.templates():
            pod = template["spec"]
            account = cluster.one("ServiceAccount", pod["serviceAccountName"])
            user = pod["securityContext"]
            wanted = {
                "a user that is not root": user["runAsNonRoot"] and user["runAsUser"] == 65532,
                "seccomp": user["seccompProfile"] == {"type": "RuntimeDefault"},
                "no token": not pod["automountServiceAccountToken"]
                and not account["automountServiceAccountToken"],
                "no service links": pod["enableServiceLinks"] is False,
                "nothing of the node": not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
                and not any("hostPath" in volume for volume in pod["volumes"]),
            }
            for container in pod["containers"]:
                context = container["securityContext"]
                wanted |= {
                    "a root that is only read": context["readOnlyRootFilesystem"] is True,
                    "no more privileges": context["allowPrivilegeEscalation"] is False,
                    "no capabilities": context["capabilities"] == {"drop": ["ALL"]},
                    "no privileged container": not context.get("privileged"),
                    "an image by digest": re.search(r"@sha256:[0-9a-f]{64}$", container["image"]),
                }
            for name, is_so in wanted.items():
                if not is_so:
                    yield f"{cluster.overlay}: {what} lacks {name}"


def check_guide(tree: Tree) -> Iterator[str]:
    """What README.md gives as examples fits."""
    guide = tree.read("deploy/kubernetes/README.md")
    blocks = dict(re.findall(r"^```yaml (\w+)\n(.*?)^```", guide, re.DOTALL | re.MULTILINE))
    with tempfile.TemporaryDirectory() as name:
        production = tree.root.resolve() / "deploy/kubernetes/overlays/production"
        beside = os.path.relpath(production, Path(name).resolve())
        said = yaml.safe_load(blocks["overlay"]) | {"resources": [beside]}
        (Path(name) / "kustomization.yaml").write_text(yaml.safe_dump(said))
        done = ran("kubectl", "kustomize", name)
        if done.returncode:
            raise Wrong(f"what README.md gives cannot be rendered: {done.stderr[-300:]}")
        accounts = yaml.safe_load_all(done.stdout)
        accounts = [each for each in accounts if each["kind"] == "ServiceAccount"]
    pulls = [each.get("imagePullSecrets") for each in accounts]
    made = re.findall(r"create secret docker-registry (\S+)", guide)
    if len(pulls) != 2 or any(each != [{"name": name} for name in made] for each in pulls):
        yield f"README.md pulls with {pulls}, and makes {made}"
    ingress, cluster = yaml.safe_load(blocks["ingress"]), tree.production
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(ingress, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"the Ingress, {version}: {error.message[:300]}"
    if ingress["metadata"]["namespace"] != cluster.namespace["name"]:
        yield "the Ingress is in another namespace"
    ports = [port["name"] for port in cluster.one("Service")["spec"]["ports"]]
    for rule in ingress["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            service = path["backend"]["service"]
            if service["name"] != NAME or service["port"]["name"] not in ports:
                yield f"the Ingress leads to no service: {service}"
    asked = {
        key.rpartition("/")[2]: value for key, value in ingress["metadata"]["annotations"].items()
    }
    if {asked.get(f"proxy-{what}buffering") for what in ("", "request-")} != {"off"}:
        yield "the Ingress keeps what passes"
    largest = amount(tree.effective["production"]["limits"]["max_request_bytes"])
    if amount(asked["proxy-body-size"].replace("m", "MiB")) < largest:
        yield f"the Ingress takes smaller documents than {largest / MIB:g} MiB"


def check_monitoring(tree: Tree) -> Iterator[str]:
    """What is scraped and asked is what Prometheus is told elsewhere, too."""
    cluster, scrape = tree.production, scrape_of(tree)
    prometheus = yaml.safe_load(tree.read("deploy/prometheus/prometheus.yml"))["global"]
    monitor = cluster.one("ServiceMonitor")["spec"]
    services = [
        each
        for each in cluster.all("Service")
        if selects(monitor["selector"], each["metadata"]["labels"])
    ]
    if len(services) != 1 or len(monitor["endpoints"]) != 1:
        yield f"{len(services)} Services are scraped, not one"
        return
    endpoint = monitor["endpoints"][0]
    target = named(services[0]["spec"]["ports"], endpoint["port"])["targetPort"]
    if target != "admin" or endpoint.get("path") != "/metrics":
        yield f"{endpoint.get('path')} of {target} is scraped, not /metrics of admin"
    relabeled = {each["targetLabel"]: each.get("replacement") for each in endpoint["relabelings"]}
    if relabeled.get("job") != scrape["job_name"]:
        yield f"the job is {relabeled.get('job')}, and the rules ask for {scrape['job_name']}"
    for key, value in (
        ("interval", prometheus["scrape_interval"]),
        ("scrapeTimeout", prometheus["scrape_timeout"]),
    ):
        if endpoint.get(key) != value:
            yield f"{key} is {endpoint.get(key)}, in prometheus.yml {value}"
    if monitor["sampleLimit"] != scrape["sample_limit"]:
        yield f"sampleLimit is {monitor['sampleLimit']}"
    with tempfile.TemporaryDirectory() as name:
        for each in cluster.all("PrometheusRule"):
            file = each["metadata"]["name"].removeprefix(f"{NAME}-")
            source = tree.root / f"deploy/prometheus/rules/{file}.yml"
            if not source.is_file() or yaml.safe_load(source.read_text()) != each["spec"]:
                yield f"PrometheusRule/{file} is not what deploy/prometheus/rules says: make.py"
            path = Path(name) / f"{file}.yml"
            path.write_text(yaml.safe_dump(each["spec"]))
            done = ran("promtool", "check", "rules", "--lint-fatal", path)
            if done.returncode:
                yield f"promtool: {file}: {done.stderr.strip()[:300]}"
    files = {path.stem for path in (tree.root / "deploy/prometheus/rules").glob("*.yml")}
    rules = {each["metadata"]["name"] for each in cluster.all("PrometheusRule")}
    if rules != {f"{NAME}-{file}" for file in files}:
        yield f"rules of {files} are in {rules}"
    boards = {}
    for each in cluster.all("ConfigMap"):
        if each["metadata"].get("labels", {}).get("grafana_dashboard") == "1":
            boards |= {key: json.loads(text) for key, text in each["data"].items()}
            # kubectl apply keeps a copy in an annotation, which may have 256 KiB.
            if len(json.dumps(each)) > 250_000:
                yield f"{each['metadata']['name']} is too large to be applied"
    shipped = {
        path.name: json.loads(path.read_text()) for path in tree.root.glob("dashboards/*.json")
    }
    if boards != shipped:
        yield f"dashboards {sorted(boards)} are not those of {sorted(shipped)}"
    if any(
        each["metadata"].get("labels", {}).get("grafana_dashboard")
        for each in tree.clusters[0].objects
    ):
        yield "staging has dashboards of its own"


def check_names(tree: Tree) -> Iterator[str]:
    """What the runbook and the collector of logs ask for is called so."""
    cluster, runbook = tree.production, tree.read("RUNBOOK.md")
    blocks = "\n".join(re.findall(r"^```sh cluster\n(.*?)^```", runbook, re.DOTALL | re.MULTILINE))
    labels = cluster.one("Deployment")["spec"]["template"]["metadata"]["labels"]
    secrets = {v["secret"]["secretName"] for v in cluster.pod["volumes"] if "secret" in v}
    configured = cluster.one("ConfigMap")["metadata"]["labels"]
    asked = (
        (r"kubectl -n (\S+)", {cluster.namespace["name"]}),
        (r"deployment/(\S+)", {each["metadata"]["name"] for each in cluster.all("Deployment")}),
        (r" -c (\S+)", {each["name"] for each in cluster.pod["containers"]}),
        (r"logs -l (\S+)", {f"{key}={value}" for key, value in labels.items()}),
        (r"configmap -l (\S+)", {f"{key}={value}" for key, value in configured.items()}),
        (r"secret (?:generic )?(blue\S+)", secrets),
        (r"\.data\.(tenants\S+?)\}", {"tenants\\.toml"}),
    )
    for pattern, known in asked:
        words = set(re.findall(pattern, blocks))
        if not words or not words <= known:
            yield f"RUNBOOK.md asks for {sorted(words)}, and there is {sorted(known)}"
    collector = yaml.safe_load(tree.read("deploy/logs/kubernetes.yaml"))["sources"]
    for source in collector.values():
        if source["extra_label_selector"] != f"{LABEL}={labels[LABEL]}":
            yield f"logs are collected of {source['extra_label_selector']}"


def check_image(tree: Tree) -> Iterator[str]:
    """The image has what the manifests rely on."""
    path = tree.root / "Dockerfile"
    if not path.is_file():
        return
    text = path.read_text().replace("\\\n", " ")
    last = text[f"\n{text}".rindex("\nFROM ") :]

    def said(word: str) -> list[str]:
        return [line.split(None, 1)[1].strip() for line in re.findall(rf"^{word}\b.*", last, re.M)]

    user = tree.production.pod["securityContext"]
    if said("USER") not in (
        [str(user["runAsUser"])],
        [f"{user['runAsUser']}:{user['runAsGroup']}"],
    ):
        yield f"Dockerfile: USER is {said('USER')}, in the pod {user['runAsUser']}"
    try:
        entry = json.loads(said("ENTRYPOINT")[0])
    except (IndexError, json.JSONDecodeError):
        entry = []
    if len(entry) != 1 or not entry[0].endswith(f"/{NAME}"):
        yield f"Dockerfile: `args` of the pod are no arguments of the program: {said('ENTRYPOINT')}"
    exposed = {int(port.split("/")[0]) for line in said("EXPOSE") for port in line.split()}
    if not exposed <= set(tree.production.ports.values()):
        yield f"Dockerfile: ports are exposed that the pod has not: {exposed}"
    if said("STOPSIGNAL") not in ([], ["SIGTERM"]):
        yield f"Dockerfile: it ends by {said('STOPSIGNAL')}"
