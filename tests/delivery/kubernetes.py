#!/usr/bin/env python3
"""The manifests of deploy/kubernetes: rendered by kubectl, judged by what will read them, and held
against the configuration, the image, the runbook and Prometheus.

    tests/delivery/kubernetes.py [--verbose] [--only WORD]

- kubernetes-validate knows every field, in the oldest and the newest version of Kubernetes; the
  models of the Prometheus operator those of its kinds; promtool the rules; checkov what is unsafe;
- check-config takes the configuration in the ConfigMap with the variables of the Deployment and the
  files of the Secrets, which the commands of deploy/kubernetes/README.md have made;
- the service runs with all that, beside a real server with the valkey.conf of the component: it is
  probed, scraped, asked, and told to end, as the manifests say;
- ports, probes, grace periods, limits, replicas, names and addresses agree wherever they stand;
- each of manifest_mutations.py spoils one place, and the check that it names must find it. --only
  takes those checks and mutations that have this word.

It needs kubectl, checkov and the packages of .ci/setup, the Debian packages prometheus and
redis-server, and target/release/blueprint-decoder.
"""

from __future__ import annotations

import argparse
import ipaddress
import itertools
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from as_in_a_cluster import check_running
from cloudcoil.models.prometheus_operator import v1 as operator
from loopback import BINARY, ROOT
from manifest_mutations import DOCKERFILE, GUIDE, MUTATIONS, Mutation
from manifests import (
    MIB,
    NAME,
    SECRETS,
    Cluster,
    Object,
    Tree,
    Wrong,
    amount,
    kept_environment,
    mounted_files,
    named,
    ran,
    seconds,
)

TREES = (
    "RUNBOOK.md",
    "config",
    "dashboards",
    "deploy/environments",
    "deploy/kubernetes",
    "deploy/logs",
    "deploy/prometheus",
    "src/http/router.rs",
    "src/policy/registry.rs",
)
VERSIONS = ("1.29", "1.37")
LABEL = "app.kubernetes.io/name"
ADMIN_ROUTES = {"startupProbe": "/health", "livenessProbe": "/health"}
ADMIN_ROUTES |= {"readinessProbe": "/health/ready"}
# Between the end of all graces and the end by force.
MARGIN = range(5, 31)


# The checks. Each says what is wrong.


def check_schema(tree: Tree) -> Iterator[str]:
    """Every field is known, and of its type."""
    for cluster, version in itertools.product(tree.clusters, VERSIONS):
        for each in (*cluster.objects, *cluster.access):
            what = f"{cluster.overlay}, {version}: {each['kind']}/{each['metadata']['name']}"
            if each["apiVersion"].startswith("monitoring.coreos.com/"):
                continue
            try:
                kubernetes_validate.validate(each, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                yield f"{what}: {'.'.join(map(str, error.path))}: {error.message[:300]}"
            except (kubernetes_validate.SchemaNotFoundError, KeyError) as error:
                yield f"{what}: no such kind: {each['apiVersion']}: {error!r}"
    for each in tree.production.objects:
        if each["apiVersion"].startswith("monitoring.coreos.com/"):
            what = f"{each['kind']}/{each['metadata']['name']}"
            try:
                model = getattr(operator, each["kind"]).model_validate(each)
            except ValueError as error:
                yield f"{what}: {str(error)[:300]}"
                continue
            # What the model does not know, it drops.
            known = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
            yield from (f"{what}: no such field: {path}" for path in missing(each, known))


def missing(said: Any, known: Any, path: str = "") -> Iterator[str]:
    if isinstance(said, dict) and isinstance(known, dict):
        for key, value in said.items():
            if key not in known:
                yield f"{path}.{key}"
            else:
                yield from missing(value, known[key], f"{path}.{key}")
    elif isinstance(said, list) and isinstance(known, list):
        for number, (a, b) in enumerate(zip(said, known)):
            yield from missing(a, b, f"{path}[{number}]")


def check_checkov(tree: Tree) -> Iterator[str]:
    """Nothing unsafe, or the reason beside it."""
    with tempfile.TemporaryDirectory() as name:
        for cluster in tree.clusters:
            (Path(name) / f"{cluster.overlay}.yaml").write_text(cluster.text)
            access = yaml.safe_dump_all(cluster.access)
            (Path(name) / f"{cluster.overlay}-access.yaml").write_text(access)
        options = ["--skip-download", "--framework", "kubernetes", "--compact", "--output", "json"]
        done = ran("checkov", *options, "--directory", name, cwd=name)
    try:
        results = json.loads(done.stdout)["results"]
    except (json.JSONDecodeError, KeyError, TypeError):
        raise Wrong(f"checkov says nothing: {(done.stderr or done.stdout)[-500:]}") from None
    if len(results["passed_checks"]) < 200:
        yield f"checkov passed {len(results['passed_checks'])} checks alone: did it read it all?"
    for each in results["failed_checks"]:
        yield f"{each['check_id']} {each['check_name']}: {each['resource']}"
    for each in results["skipped_checks"]:
        if len(each["check_result"].get("suppress_comment", "")) < 40:
            yield f"{each['check_id']} is left out without a reason: {each['resource']}"


def check_config(tree: Tree) -> Iterator[str]:
    """The service takes its configuration, and finds each file that it names."""
    for cluster in tree.clusters:
        config = tree.effective[cluster.overlay]
        if config["auth"]["mode"] != "required":
            yield f"{cluster.overlay}: anyone may call"
        if config["telemetry"]["log_format"] != "json":
            yield f"{cluster.overlay}: lines are not JSON"
        files = mounted_files(cluster, cluster.pod, cluster.container)
        for section, values in sections(config):
            for key, value in values.items():
                if key.endswith("_file") and value and value not in files:
                    yield f"{cluster.overlay}: {section}.{key} is not mounted: {value}"
        variables = {each["name"]: each["value"] for each in cluster.container["env"]}
        if variables.get("DECODER_CONFIG") not in files:
            yield f"{cluster.overlay}: DECODER_CONFIG is not mounted"


def sections(config: Object, path: str = "") -> Iterator[tuple[str, Object]]:
    plain = {key: value for key, value in config.items() if not isinstance(value, dict)}
    yield path, plain
    for key, value in config.items():
        if isinstance(value, dict):
            yield from sections(value, f"{path}.{key}".lstrip("."))


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
    router = tree.read("src/http/router.rs")
    admin = router[router.index("pub fn admin") : router.index("fn finished")]
    routes = set(re.findall(r'\.route\("([^"]+)"', admin))
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


# What deploy/rollout does besides applying, by group and resource; and where it asks of the hour.
BESIDES = {
    ("apps", "deployments"): {"list", "watch"},
    ("apps", "statefulsets"): {"list", "watch"},
    ("", "pods"): {"get", "list"},
    ("", "events"): {"list"},
    ("", "pods/portforward"): {"get", "create"},
    ("", "secrets blueprint-decoder-smoke"): {"get"},
}
FORWARDS = {key: BESIDES[key] for key in (("", "pods"), ("", "pods/portforward"))}
# The names of verbs, by group and resource.
Rights = dict[tuple[str, str], set[str]]


def check_access(tree: Tree) -> Iterator[str]:
    """The workflow may do in its namespace what it does, and nothing else."""
    (jwt,) = yaml.safe_load(tree.read("deploy/kubernetes/access/authentication.yaml"))["jwt"]
    if jwt["issuer"]["url"] != "https://token.actions.githubusercontent.com":
        yield "authentication.yaml trusts another issuer than GitHub"
    rules = [each["expression"] for each in jwt["claimValidationRules"]]
    if rules != JOBS:
        yield f"authentication.yaml lets in other jobs: {rules}"
    if jwt["claimMappings"] != {"username": {"expression": '"deploy:" + claims.environment'}}:
        yield "authentication.yaml makes other users"
    for cluster in tree.clusters:
        place = tree.read(f"deploy/environments/{cluster.overlay}.env")
        says = dict(re.findall(r"(?m)^(\w+)=(.*)$", place))
        if cluster.overlay == "production" and jwt["issuer"]["audiences"] != [says["SERVER"]]:
            yield f"authentication.yaml takes tokens that are not meant for {says['SERVER']}"
        needed = rights_needed(cluster, (says["PROMETHEUS"], says["ALERTMANAGER"]))
        roles = [each for each in cluster.access if each["kind"] == "Role"]
        held = {each["metadata"]["namespace"]: rights_held(each) for each in roles}
        for namespace in needed.keys() | held.keys():
            want, have = needed.get(namespace, {}), held.get(namespace, {})
            for key in sorted(want.keys() | have.keys()):
                may, must = (sorted(rights.get(key, ())) for rights in (have, want))
                if may != must:
                    yield f"{cluster.overlay}: in {namespace} it may {may} {key}, and must {must}"
        bound = {
            each["metadata"].get("namespace"): (
                each["roleRef"]["kind"],
                each["roleRef"]["name"],
                [(who["kind"], who["name"]) for who in each["subjects"]],
            )
            for each in cluster.access
            if each["kind"] == "RoleBinding"
        }
        user = [("User", f"deploy:{cluster.overlay}")]
        if bound != {each: ("Role", "deploy-rollout", user) for each in needed}:
            yield f"{cluster.overlay}: somebody else has its rights, or nobody: {bound}"
        if others := {each["kind"] for each in cluster.access} - MADE:
            yield f"{cluster.overlay}: more than rights in a namespace: {others}"


MADE = {"Namespace", "Role", "RoleBinding"}
REPOSITORY = "github.com/blueprint-decoder/blueprint-decoder"
JOBS = [
    f'"github.com/" + claims.repository == "{REPOSITORY}"',
    'claims.ref == "refs/heads/main"',
]


def rights_needed(cluster: Cluster, asked: tuple[str, str]) -> dict[str, Rights]:
    """By namespace: to apply what is rendered, and what else deploy/rollout does."""
    here: Rights = {}
    for each in cluster.objects:
        resource = re.sub("y$", "ie", each["kind"].lower()) + "s"
        group = each["apiVersion"].rpartition("/")[0]
        here[group, resource] = {"get", "create", "patch"}
    for key, verbs in BESIDES.items():
        here[key] = here.get(key, set()) | verbs
    needed = {cluster.namespace["name"]: here}
    for place in filter(None, asked):
        namespace, what, _ = place.split()
        rights = needed.setdefault(namespace, dict(FORWARDS))
        rights["", what.replace("service/", "services ")] = {"get"}
    return needed


def rights_held(role: Object) -> Rights:
    """What has a name in the rule has it in the resource."""
    held: Rights = {}
    for rule in role["rules"]:
        names = rule.get("resourceNames", [""])
        for group, resource, name in itertools.product(rule["apiGroups"], rule["resources"], names):
            key = (group, f"{resource} {name}".strip())
            held[key] = held.get(key, set()) | set(rule["verbs"])
    return held


def check_secrets(tree: Tree) -> Iterator[str]:
    """By reference alone, as files, of those that the guide makes."""
    guide = tree.read("deploy/kubernetes/README.md").replace("\\\n", " ")
    made = {
        name: set(re.findall(r"--from-file=(\S+)", rest))
        for name, rest in re.findall(r"create secret generic (\S+)(.*)", guide)
    }
    if made != SECRETS:
        yield f"README.md makes other Secrets: {made}"
    for cluster in tree.clusters:
        if cluster.all("Secret"):
            yield f"{cluster.overlay}: a Secret stands in the manifests"
        for what, template in cluster.templates():
            pod = template["spec"]
            for container in pod["containers"]:
                if "envFrom" in container or any(
                    "valueFrom" in e for e in container.get("env", [])
                ):
                    yield f"{cluster.overlay}: {what} has secrets in variables"
                for mount in container["volumeMounts"]:
                    if "subPath" in mount:
                        yield f"{cluster.overlay}: {what}: {mount['mountPath']} never changes"
            for volume in pod["volumes"]:
                secret = volume.get("secret")
                if secret is None:
                    continue
                keys = {item["key"] for item in secret.get("items", [])}
                if not keys <= SECRETS.get(secret["secretName"], set()):
                    yield f"{cluster.overlay}: {what}: nobody makes {secret['secretName']}: {keys}"
                if secret["secretName"] not in SECRETS:
                    yield f"{cluster.overlay}: {what}: nobody makes {secret['secretName']}"
                if secret.get("defaultMode") != 0o440 or "fsGroup" not in pod["securityContext"]:
                    yield f"{cluster.overlay}: {what}: anyone may read {secret['secretName']}"


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


# Who must be reached, and some who must not besides those of the table that the service has.
REACHED = ("140.82.112.3", "185.199.108.133", "1.1.1.1", "2606:50c0:8000::154", "2a00:1450::1")
NEVER = ("169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "10.0.0.1")
NEVER += ("192.168.1.1", "172.31.255.255", "fe80::1", "fd00:ec2::254", "fd20:ce::254", "::1")


def check_network(tree: Tree) -> Iterator[str]:
    """In: clients by their proxy, and Prometheus. Out: names, and what is public."""
    rows = closed_addresses(tree.read("src/policy/registry.rs"))
    if len(rows) < 80:
        yield f"the table of addresses cannot be read: {len(rows)}"
    for cluster in tree.clusters:
        where = cluster.overlay
        policies = [each["spec"] for each in cluster.all("NetworkPolicy")]
        every = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
        if every not in policies:
            yield f"{where}: what no policy names is not denied"
        labels = cluster.one("Deployment")["spec"]["template"]["metadata"]["labels"]
        ours = [each for each in policies if selects(each["podSelector"], labels)]
        peers = sorted(
            (
                [port["port"] for port in rule.get("ports", [])],
                [peer_name(peer) for peer in rule.get("from", [])],
            )
            for each in ours
            for rule in each.get("ingress", [])
        )
        expected = [(["admin"], ["monitoring/prometheus"]), (["http"], ["ingress-nginx/"])]
        if peers != expected:
            yield f"{where}: in come {peers}"
        rules = [rule for each in ours for rule in each.get("egress", [])]
        inside = sorted(
            (
                peer_name(peer),
                sorted(f"{port['protocol']} {port['port']}" for port in rule["ports"]),
            )
            for rule in rules
            for peer in rule.get("to", [{}])
            if "ipBlock" not in peer
        )
        server = cluster.one("StatefulSet", f"{NAME}-valkey")["spec"]["template"]["spec"]
        port = server["containers"][0]["ports"][0]["containerPort"]
        names = ("kube-system/kube-dns", ["TCP 53", "UDP 53"])
        if inside != [("/valkey", [f"TCP {port}"]), names]:
            yield f"{where}: out goes to {inside}"
        blocks = [
            (peer["ipBlock"], rule["ports"])
            for rule in rules
            for peer in rule.get("to", [])
            if "ipBlock" in peer
        ]
        if any(ports != [{"protocol": "TCP", "port": 443}] for _, ports in blocks):
            yield f"{where}: more than 443 is open: {blocks}"
        for address in (*rows, *NEVER):
            if any(covers(block, address) for block, _ in blocks):
                yield f"{where}: {address} can be reached"
        for address in REACHED:
            if not any(covers(block, address) for block, _ in blocks):
                yield f"{where}: {address} cannot be reached"
        valkey = cluster.one("NetworkPolicy", f"{NAME}-valkey")["spec"]
        if [peer_name(peer) for rule in valkey["ingress"] for peer in rule["from"]] != [f"/{NAME}"]:
            yield f"{where}: others than the service get at Valkey"
        if valkey.get("egress") or "Egress" not in valkey["policyTypes"]:
            yield f"{where}: Valkey may call others"


def selects(selector: Object, labels: Object) -> bool:
    return selector.get("matchLabels", {}).items() <= labels.items()


def peer_name(peer: Object) -> str:
    """Namespace/app; anyone is `*`."""
    if not peer:
        return "*"
    space, pods = (peer.get(key, {}) for key in ("namespaceSelector", "podSelector"))
    app = pods.get("matchLabels", {})
    name = space.get("matchLabels", {}).get("kubernetes.io/metadata.name", "")
    return f"{name}/{app.get(LABEL) or app.get('k8s-app', '')}"


def covers(block: Object, address: str) -> bool:
    one = ipaddress.ip_address(address)

    def within(network: str) -> bool:
        return one in ipaddress.ip_network(network)

    return within(block["cidr"]) and not any(map(within, block.get("except", [])))


def closed_addresses(registry: str) -> list[str]:
    """The first and the last address of each network that the service never reaches."""
    found = []
    closed = re.sub(r"open\(\s*Network::v[46]\(.*?\)", "", registry)
    for numbers in re.findall(r"Network::v4\((\d+, \d+, \d+, \d+, \d+)\)", closed):
        *parts, prefix = numbers.split(", ")
        found.append(ipaddress.ip_network(f"{'.'.join(parts)}/{prefix}"))
    for numbers, prefix in re.findall(r"Network::v6\(\[([^\]]+)\], (\d+)\)", closed):
        parts = [f"{int(each, 0):x}" for each in numbers.split(", ")]
        found.append(ipaddress.ip_network(f"{':'.join(parts)}/{prefix}"))
    return [str(end) for each in found for end in (each[0], each[-1])]


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


CHECKS: dict[str, Callable[[Tree], Iterator[str]]] = {
    "schema": check_schema,
    "checkov": check_checkov,
    "config": check_config,
    "ports": check_ports,
    "probes": check_probes,
    "grace": check_grace,
    "limits": check_limits,
    "replicas": check_replicas,
    "confined": check_confined,
    "access": check_access,
    "secrets": check_secrets,
    "guide": check_guide,
    "network": check_network,
    "monitoring": check_monitoring,
    "names": check_names,
    "image": check_image,
    "running": check_running,
}


def faults(check: str, tree: Tree) -> list[str]:
    """What a check says; what it cannot find is a fault, too."""
    found: list[str] = []
    try:
        for fault in CHECKS[check](tree):
            found.append(fault)
    except Wrong as wrong:
        found.append(str(wrong))
    except (KeyError, IndexError, TypeError) as error:
        found.append(f"{check}: something is missing: {error!r}")
    return found


def spoil(mutation: Mutation, tree: Tree, root: Path) -> Tree:
    """A copy with that one thing wrong."""
    copy_of(tree.root, root)
    path = root / mutation.path
    if mutation.path == "Dockerfile":
        path.write_text(DOCKERFILE)
    text = path.read_text()
    if mutation.old not in text:
        sys.exit(f"{mutation.path} has no {mutation.old!r}: mend manifest_mutations.py")
    path.write_text(text.replace(mutation.old, mutation.new))
    return Tree(root, tree.secrets)


def copy_of(root: Path, to: Path) -> None:
    skipped = shutil.ignore_patterns("node_modules", "pictures", "definition", "__pycache__")
    for name in (*TREES, "Dockerfile"):
        source = root / name
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=skipped)
        elif source.is_file():
            shutil.copy(source, to / name)


def secrets_of_the_guide(guide: str, to: Path) -> None:
    """What the commands of the guide make, with a certificate that also fits this machine."""
    block = re.search(r"^```sh secrets\n(.*?)^```", guide, re.DOTALL | re.MULTILINE)
    if block is None:
        sys.exit("README.md has no block that makes the Secrets")
    commands = block[1].replace("=DNS:", "=DNS:localhost,DNS:")
    env = kept_environment() | {"PATH": f"{BINARY.parent}:{os.environ['PATH']}"}
    done = ran("bash", "-euo", "pipefail", "-c", commands, cwd=to, env=env)
    if done.returncode:
        sys.exit(f"README.md: the Secrets cannot be made: {done.stderr[-500:]}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--verbose", action="store_true")
    arguments.add_argument("--only", default="")
    chosen = arguments.parse_args()
    if not BINARY.is_file():
        sys.exit(f"{BINARY} is missing: cargo build --release --locked")
    for program in ("kubectl", "checkov", "promtool", "redis-server", "openssl"):
        if shutil.which(program) is None:
            sys.exit(f"{program} is missing: .ci/setup installs it, and .ci/env says where it is")
    with tempfile.TemporaryDirectory() as name:
        secrets = Path(name) / "secrets"
        secrets.mkdir()
        secrets_of_the_guide((ROOT / GUIDE).read_text(), secrets)
        tree = Tree(ROOT, secrets)
        wrong = []
        for check in CHECKS:
            if chosen.only in check or any(chosen.only in each.says for each in MUTATIONS):
                began = time.monotonic()
                wrong += [f"{check}: {fault}" for fault in faults(check, tree)]
                print(f"  {check}, {time.monotonic() - began:.1f} s", flush=True)
        if wrong:
            sys.exit("\n".join(wrong))

        def survives(number: int, mutation: Mutation) -> str | None:
            spoilt = spoil(mutation, tree, Path(name) / str(number))
            said = faults(mutation.check, spoilt)
            shutil.rmtree(spoilt.root)
            found = [fault for fault in said if re.search(mutation.finds, fault)]
            if chosen.verbose:
                print(f"{mutation.says}\n    {(found or said or ['nothing'])[0][:200]}", flush=True)
            return None if found else f"not found: {mutation.says}; only {said[:3]}"

        mutations = [each for each in MUTATIONS if chosen.only in each.says]
        with ThreadPoolExecutor(2) as pool:
            survivors = [
                each
                for each in pool.map(survives, itertools.count(), mutations)
                if each is not None
            ]
        if survivors:
            sys.exit("\n".join(survivors))
        print(f"{len(mutations)} ways to spoil them are found, each")


if __name__ == "__main__":
    main()
