"""What may be wrong in the manifests and in what must agree with them: one place each, the check of
kubernetes.py that must see it, and a word of what that says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    check: str
    path: str
    old: str
    new: str
    finds: str

    @property
    def says(self) -> str:
        return f"{self.check}: {self.path}: {self.old.strip()!r} -> {self.new.strip()!r}"


def spoilt(check: str, path: str, *ways: tuple[str, str, str]) -> Iterator[Mutation]:
    return (Mutation(check, path, *way) for way in ways)


K8S = "deploy/kubernetes/"
ACCOUNT = K8S + "base/serviceaccount.yaml"
BUDGET = K8S + "base/disruption.yaml"
CONFIG = "config/production.toml"
DEPLOYMENT = K8S + "base/deployment.yaml"
GUIDE = K8S + "README.md"
NAMESPACE = K8S + "access/production.yaml"
AUTHENTICATION = K8S + "access/authentication.yaml"
NETWORK = K8S + "base/network.yaml"
PRODUCTION = K8S + "overlays/production/kustomization.yaml"
RUNBOOK = "RUNBOOK.md"
SCALER = K8S + "base/autoscaler.yaml"
SCRAPE = K8S + "components/monitoring/scrape.yaml"
SERVICE = K8S + "base/service.yaml"
VALKEY = K8S + "components/valkey/valkey.yaml"
VALKEY_CONF = K8S + "components/valkey/valkey.conf"
VALKEY_NETWORK = K8S + "components/valkey/network.yaml"
WITH_VALKEY = K8S + "components/valkey/decoder.yaml"
# An image that fits, to be spoilt.
DOCKERFILE = """FROM build AS built
USER root

FROM scratch
COPY --from=built /blueprint-decoder /usr/bin/blueprint-decoder
USER 65532:65532
EXPOSE 8080 8081
ENTRYPOINT ["/usr/bin/blueprint-decoder"]
"""

MUTATIONS = [
    *spoilt(
        "schema",
        DEPLOYMENT,
        ("minReadySeconds", "minReadySecond", "minReadySecond"),
        ("containerPort: 8080", 'containerPort: "8080"', "8080"),
    ),
    *spoilt(
        "schema",
        BUDGET,
        ("policy/v1", "policy/v2", "v2"),
        ("AlwaysAllow", "[Always]", "unhealthy"),
    ),
    *spoilt(
        "schema",
        NETWORK,
        ("except:", "exempt:", "exempt"),
    ),
    *spoilt(
        "schema",
        SCRAPE,
        ("sampleLimit", "sampelLimit", "sampelLimit"),
        ("interval: 15s", "interval: 15 s", "interval"),
        ("- targetLabel", "- targetLable", "targetLable"),
    ),
    *spoilt(
        "schema",
        PRODUCTION,
        ("../../base", "../../bases", "cannot be rendered"),
    ),
    *spoilt(
        "checkov",
        DEPLOYMENT,
        ("            readOnlyRootFilesystem: true\n", "", "CKV_K8S_22"),
        (
            "metadata:\n  name: blueprint-decoder\n",
            "metadata:\n  name: blueprint-decoder\n  annotations: {checkov.io/skip1: CKV_K8S_22=so}\n",
            "without a reason",
        ),
    ),
    *spoilt(
        "config",
        CONFIG,
        ("[overload]", "[overlaod]", "overlaod"),
        ("inline = 64", 'inline = "64"', "inline"),
        ('mode = "required"', 'mode = "off"', "beyond loopback|anyone"),
        ('log_format = "json"', 'log_format = "auto"', "not JSON"),
        ("tenants/tenants.toml", "tenants.toml", "tenants.toml"),
    ),
    *spoilt(
        "config",
        DEPLOYMENT,
        ("key: tenants.toml, path: tenants", "key: tenants.toml, path: x", "tenants.toml: No"),
        ("config/production.toml", "production.toml", "production.toml"),
    ),
    *spoilt(
        "config",
        WITH_VALKEY,
        ("__ON_FAILURE", "__ON_FAILING", "ON_FAILING"),
        ("valkey/password}", "password}", "password_file"),
        ("valkey-ca/ca.crt", "valkey/ca.crt", "ca_file"),
    ),
    *spoilt(
        "ports",
        RUNBOOK,
        ("deployment/blueprint-decoder 8080 8081", "deployment/blueprint-decoder 8080", "forwards"),
    ),
    *spoilt(
        "ports",
        CONFIG,
        (':8080"', ':8088"', "port http"),
        ('"0.0.0.0:8081"', '"127.0.0.1:8081"', "not reached"),
    ),
    *spoilt(
        "ports",
        DEPLOYMENT,
        ("containerPort: 8081", "containerPort: 9090", "admin"),
    ),
    *spoilt(
        "ports",
        SERVICE,
        ("targetPort: http", "targetPort: web", "no port web"),
        ("targetPort: http", "targetPort: admin", "more or less"),
        (
            "app.kubernetes.io/name: blueprint-decoder",
            "app.kubernetes.io/name: decoder",
            "sets of pods",
        ),
    ),
    *spoilt(
        "ports",
        WITH_VALKEY,
        ("valkeys://", "valkey://", "by TLS"),
    ),
    *spoilt(
        "ports",
        VALKEY_CONF,
        ("tls-port 6379", "tls-port 6380", "elsewhere"),
    ),
    *spoilt(
        "ports",
        "deploy/prometheus/prometheus.yml",
        ("example:8081", "example:8080", "scrapes"),
    ),
    *spoilt(
        "probes",
        DEPLOYMENT,
        ("path: /health/ready, port: admin", "path: /health/ready, port: http", "readinessProbe"),
        ("path: /health/ready", "path: /health", "readinessProbe"),
        ("path: /health,", "path: /health/ready,", "livenessProbe"),
        ("failureThreshold: 3\n", "failureThreshold: 1\n", "only busy"),
        ("failureThreshold: 30\n", "failureThreshold: 3\n", "startupProbe"),
    ),
    *spoilt(
        "probes",
        "src/http/routes.rs",
        ('Route::page("/health/ready"', 'Route::page("/ready"', "readinessProbe"),
    ),
    *spoilt(
        "grace",
        RUNBOOK,
        ("(30 s) to end", "(25 s) to end", "up to 30 s"),
    ),
    *spoilt(
        "grace",
        CONFIG,
        ('grace = "20s"', 'grace = "10s"', "than a request"),
        ('notice = "10s"', 'notice = "2s"', "proxy"),
    ),
    *spoilt(
        "grace",
        DEPLOYMENT,
        ("GracePeriodSeconds: 40", "GracePeriodSeconds: 30", "killed after 30"),
        ("GracePeriodSeconds: 40", "GracePeriodSeconds: 400", "after 400"),
        ("maxUnavailable: 0", "maxUnavailable: 1", "takes pods away"),
        ("maxSurge: 25%", "maxSurge: 0", "takes pods away"),
        (
            "          args: [serve]\n",
            "          args: [serve]\n          lifecycle: {preStop: {sleep: {seconds: 5}}}\n",
            "preStop",
        ),
    ),
    *spoilt(
        "limits",
        RUNBOOK,
        ("it is 512 MiB", "it is 300 MiB", "does not say"),
    ),
    *spoilt(
        "limits",
        CONFIG,
        ('max_response_bytes = "1MiB"', 'max_response_bytes = "4MiB"', "at worst"),
        ("inline = 64", "inline = 128", "at worst"),
    ),
    *spoilt(
        "limits",
        DEPLOYMENT,
        ("memory: 1280Mi", "memory: 512Mi", "at worst"),
        ('cpu: "1"', 'cpu: "4"', "more cpu"),
    ),
    *spoilt(
        "limits",
        VALKEY_CONF,
        ("maxmemory 192mb", "maxmemory 500mb", "no room"),
        ("noeviction", "allkeys-lru", "forgets"),
    ),
    *spoilt(
        "limits",
        VALKEY,
        ("memory: 256Mi", "memory: 2Gi", "more memory"),
    ),
    *spoilt(
        "replicas",
        SCALER,
        ("maxReplicas: 12", "maxReplicas: 20", "replicas_hint"),
        ("kind: Deployment", "kind: StatefulSet", "scales"),
        ("Seconds: 300", "Seconds: 0", "lull"),
    ),
    *spoilt(
        "replicas",
        DEPLOYMENT,
        ("  minReadySeconds: 5\n", "  replicas: 3\n", "undoes"),
        ("kubernetes.io/hostname", "kubernetes.io/os", "not spread"),
    ),
    *spoilt(
        "replicas",
        BUDGET,
        ("maxUnavailable: 1", "maxUnavailable: 3", "drained"),
        ("maxUnavailable: 1", "maxUnavailable: 0", "drained"),
    ),
    *spoilt(
        "replicas",
        WITH_VALKEY,
        ('HINT, value: "12"', 'HINT, value: "3"', "production: repl"),
        ("BACKEND, value: valkey", "BACKEND, value: memory", "hint"),
    ),
    *spoilt(
        "replicas",
        "deploy/kubernetes/overlays/staging/smaller.yaml",
        ('value: "4"', 'value: "2"', "staging: repl"),
    ),
    *spoilt(
        "confined",
        DEPLOYMENT,
        ("runAsUser: 65532", "runAsUser: 0", "not root"),
        ("type: RuntimeDefault", "type: Unconfined", "seccomp"),
        ("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "root"),
        ("enableServiceLinks: false", "enableServiceLinks: true", "links"),
        (
            "allowPrivilegeEscalation: false",
            "allowPrivilegeEscalation: false\n            privileged: true",
            "no privileged",
        ),
    ),
    *spoilt(
        "confined",
        NAMESPACE,
        ("enforce: restricted", "enforce: baseline", "enforces"),
    ),
    *spoilt(
        "confined",
        ACCOUNT,
        ("Token: false", "Token: true", "no token"),
    ),
    *spoilt(
        "confined",
        VALKEY,
        ("drop: [ALL]", "drop: [NET_RAW]", "valkey lacks no cap"),
    ),
    *spoilt(
        "confined",
        PRODUCTION,
        ("    digest: sha256:", '    newTag: "1.0.0" # ', "digest"),
        ("name: blueprint-decoder\n", "name: decoder\n", "by digest"),
    ),
    *spoilt(
        "schema",
        NAMESPACE,
        ("roleRef", "rolRef", "ole[Rr]ef|rolRef"),
    ),
    *spoilt(
        "access",
        NAMESPACE,
        ("[configmaps, serviceaccounts, services]", "[configmaps, services]", "serviceaccounts"),
        ("resources: [networkpolicies]", 'resources: ["*"]', "networkpolicies"),
        ("[get, create, patch, list, watch]", "[get, create, patch]", "deployments"),
        ("verbs: [list]", "verbs: [list, delete]", "delete"),
        ("    resourceNames: [blueprint-decoder-smoke]\n", "", "'secrets'"),
        ("[prometheus-operated, alertmanager-operated]", "[prometheus-operated]", "alertmanager"),
        ("resources: [prometheusrules, servicemonitors]", "resources: [servicemonitors]", "ules"),
        ("name: deploy:production", "name: deploy:staging", "somebody else"),
        ("kind: User", "kind: Group", "somebody else"),
        ("kind: RoleBinding", "kind: ClusterRoleBinding", "more than rights"),
        ("kind: Namespace", "kind: Node", "0 namespaces"),
    ),
    *spoilt(
        "access",
        K8S + "access/staging.yaml",
        ("apiGroups: [policy]", "apiGroups: [policy, monitoring.coreos.com]", "coreos"),
        ("namespace: blueprint-decoder-staging", "namespace: blueprint-decoder", "staging: in"),
    ),
    *spoilt(
        "access",
        AUTHENTICATION,
        ("url: https://token.actions.githubusercontent.com", "url: https://x.dev", "issuer"),
        ("https://kubernetes.example.com", "sts", "not meant"),
        ("refs/heads/main", "refs/heads/other", "other jobs"),
        ("claims.repository", "claims.repository_owner", "other jobs"),
        ("claims.environment", "claims.sub", "other users"),
    ),
    *spoilt(
        "access",
        SERVICE,
        ("kind: Service\n", "kind: Secret\n", "secrets"),
    ),
    *spoilt(
        "secrets",
        "config/kustomization.yaml",
        (
            "configMapGenerator:",
            "secretGenerator:\n  - {name: tenants, literals: [a=b]}\n\nconfigMapGenerator:",
            "stands in the manifests",
        ),
    ),
    *spoilt(
        "secrets",
        GUIDE,
        ("--from-file=users.acl", "", "other Secrets"),
    ),
    *spoilt(
        "guide",
        GUIDE,
        ("value: [{name: blueprint-decoder-registry}]", "value: [{name: registry}]", "pulls with"),
        ("target: {kind: ServiceAccount}", "target: {kind: Service}", "pulls with"),
        ("ingressClassName", "ingressclassName", "the Ingress"),
        ("  namespace: blueprint-decoder\n", "  namespace: other\n", "another namespace"),
        ("                  name: http", "                  name: admin", "leads to no"),
        ('proxy-buffering: "off"', 'proxy-buffering: "on"', "keeps"),
        ("proxy-body-size: 16m", "proxy-body-size: 1m", "smaller"),
    ),
    *spoilt(
        "secrets",
        DEPLOYMENT,
        ("secretName: blueprint-decoder-tenants", "secretName: tenants", "nobody"),
        ("key: tenants.toml", "key: tenants", "nobody makes"),
        ("defaultMode: 0440", "defaultMode: 0444", "anyone may read"),
        (
            "tenants, readOnly: true",
            "tenants, subPath: tenants.toml, readOnly: true",
            "never changes",
        ),
    ),
    *spoilt(
        "secrets",
        WITH_VALKEY,
        (
            "PASSWORD_FILE, value: /etc/blueprint-decoder/valkey/password}",
            "PASSWORD, valueFrom: {secretKeyRef: {name: blueprint-decoder-valkey, key: password}}}",
            "in variables",
        ),
    ),
    *spoilt(
        "network",
        NETWORK,
        ("              - 169.254.0.0/16\n", "", "169.254.169.254"),
        ("              - 168.63.129.16/32\n", "", "168.63.129.16"),
        ("              - 10.0.0.0/8\n", "", "10.0.0.1"),
        ("- 100.64.0.0/10", "- 100.64.0.0/11", "100.100.100.200"),
        ("cidr: 2000::/3", "cidr: ::/0", "fe80"),
        ("              - 2002::/16\n", "", "2002::"),
        ("- 10.0.0.0/8", "- 140.0.0.0/8", "140.82.112.3 cannot"),
        ("port: 443", "port: 80", "more than 443"),
        ("  podSelector: {}", "  podSelector: {matchLabels: {a: b}}", "not denied"),
        ("port: admin", "port: http", "in come"),
        ("ingress-nginx", "default", "in come"),
        ("name: prometheus", "name: grafana", "in come"),
        ("k8s-app: kube-dns", "k8s-app: web", "out goes"),
    ),
    *spoilt(
        "network",
        VALKEY_NETWORK,
        ("  egress: []\n", "  egress: [{}]\n", "may call others"),
        ("port: 6379", "port: 6380", "out goes"),
    ),
    *spoilt(
        "network",
        "src/policy/registry.rs",
        ("Network::v4(198, 18, 0, 0, 15)", "Network::v4(9, 0, 0, 0, 8)", "9.0.0.0 can be reached"),
    ),
    *spoilt(
        "monitoring",
        "dashboards/kustomization.yaml",
        ("[service.json]", "[process.json]", "dashboards"),
    ),
    *spoilt(
        "monitoring",
        "deploy/kubernetes/components/monitoring/rules.yaml",
        ("alert: DecoderMemoryHigh", "alert: DecoderMemory High", "make.py"),
    ),
    *spoilt(
        "monitoring",
        SCRAPE,
        ("replacement: decoder", "replacement: blueprint-decoder", "the job is"),
        ("path: /metrics", "path: /metric", "is scraped"),
        ("interval: 15s", "interval: 60s", "interval is 60s"),
        ("scrapeTimeout: 10s", "scrapeTimeout: 5s", "scrapeTimeout is 5s"),
        ("sampleLimit: 20000", "sampleLimit: 100", "sampleLimit is 100"),
        ("component: admin\nspec", "component: none\nspec", "Services are scraped"),
    ),
    *spoilt(
        "monitoring",
        "deploy/prometheus/rules/process.yml",
        ("> 0.85", "> 0.86", "make.py"),
    ),
    *spoilt(
        "names",
        RUNBOOK,
        ("-c decoder", "-c app", "'app'"),
        ("deployment/blueprint-decoder", "deployment/decoder", "'decoder'"),
    ),
    *spoilt(
        "names",
        NAMESPACE,
        ("  name: blueprint-decoder\n", "  name: decoder\n", "there is .'decoder'"),
    ),
    *spoilt(
        "confined",
        PRODUCTION,
        ("namespace: blueprint-decoder\n", "namespace: decoder\n", "objects are in"),
    ),
    *spoilt(
        "names",
        "deploy/logs/kubernetes.yaml",
        ("name=blueprint-decoder", "name=decoder", "logs"),
    ),
    *spoilt(
        "image",
        "Dockerfile",
        ("USER 65532:65532", "USER nonroot", "USER"),
        ("USER 65532:65532\n", "", "USER"),
        ("EXPOSE 8080 8081", "EXPOSE 8080/tcp 9090/tcp", "exposed"),
        ('["/usr/bin/blueprint-decoder"]', "/usr/bin/blueprint-decoder", "args"),
        ("EXPOSE", "STOPSIGNAL SIGKILL\nEXPOSE", "ends by"),
    ),
    *spoilt(
        "running",
        CONFIG,
        ('notice = "10s"', 'notice = "1s"', "had no time"),
    ),
    *spoilt(
        "running",
        DEPLOYMENT,
        ("args: [serve]", "args: [server]", "does not start"),
    ),
    *spoilt(
        "running",
        WITH_VALKEY,
        ("valkey/password}", "valkey-ca/ca.crt}", "not shared"),
    ),
    *spoilt(
        "running",
        VALKEY_CONF,
        ("appendonly yes", "appendonly maybe", "refused"),
        ("tls.key", "tls.crt", "refused"),
    ),
]
