"""Who may do what in the cluster, and who reaches whom."""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Iterator

import yaml
from manifests import (
    NAME,
    SECRETS,
    Cluster,
    Object,
    Tree,
)

LABEL = "app.kubernetes.io/name"


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


# Who must be reached, and some who must not besides those of the table that the service has.
REACHED = ("140.82.112.3", "185.199.108.133", "1.1.1.1", "2606:50c0:8000::154", "2a00:1450::1")
NEVER = ("169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "10.0.0.1")
NEVER += ("192.168.1.1", "172.31.255.255", "fe80::1", "fd00:ec2::254", "fd20:ce::254", "::1")
NEVER += ("fd00:42::42",)


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
