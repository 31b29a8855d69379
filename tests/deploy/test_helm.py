"""The chart, rendered by Helm itself, and the plain manifests made from it; each object is held to its schema."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml

from headgate.cli.main import main
from headgate.config.preset import preset_names, preset_text
from headgate.control.run import RunOptions
from scripts.render_manifests import CHART, FOLDER, manifests, rendered

KUBERNETES = ("1.25", "1.29", "1.33", "1.37")
EVERYTHING: dict[str, Any] = {
    "config": {"redis": {"url": "redis://redis:6379"}, "upstreams": {"chat-v2": {"urls": ["http://a", "http://b"]}}},
    "configuration": {"services": [{"name": "own", "url": "http://own:80"}]},
    "autoscaling": {"targetMemoryUtilizationPercentage": 80},
    "discovery": {"kubernetes": True},
    "env": [{"name": "ENVIRONMENT", "value": "production"}],
    "imagePullSecrets": [{"name": "registry"}],
    "ingress": {
        "enabled": True,
        "className": "envoy",
        "annotations": {"a": "b"},
        "hosts": ["api.example.com"],
        "tls": [{"hosts": ["api.example.com"], "secretName": "tls"}],
    },
    "networkPolicy": {
        "enabled": True,
        "from": [{"namespaceSelector": {}}],
        "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "redis"}}}]}],
    },
    "nodeSelector": {"disk": "ssd"},
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "edge"},
    "priorityClassName": "high",
    "service": {"annotations": {"a": "b"}, "type": "LoadBalancer"},
    "serviceAccount": {"annotations": {"a": "b"}},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "state": {"existingClaim": "state"},
    "tolerations": [{"key": "a", "operator": "Exists"}],
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}}
    ],
}


def one(values: dict[str, Any], kind: str, suffix: str = "") -> dict[str, Any]:
    """Return the only object of a kind that the chart makes, whose name ends so."""
    objects = [each for every in rendered(values).values() for each in every]
    found = [each for each in objects if each["kind"] == kind and each["metadata"]["name"] == f"ai-api-gateway{suffix}"]
    assert len(found) == 1, (kind, [each["kind"] for each in objects])
    return found[0]


def container(values: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = one(values, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    return made


def secret(values: dict[str, Any]) -> dict[str, str]:
    data = one(values, "Secret")["data"]
    return {name: base64.b64decode(text).decode() for name, text in data.items()}


def variables(values: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = one(values, "ConfigMap", "-env")["data"]
    return found


def values_of(preset: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CHART / "values" / f"{preset}.yaml").read_text())
    return found


def test_helm_finds_nothing_wrong() -> None:
    for values in ({}, EVERYTHING):
        found = helm_python.lint(str(CHART), values)
        assert found["errors"] == []
        # It would like a picture.
        assert [each["error"] for each in found["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_each_object_is_what_kubernetes_takes(version: str, values: dict[str, Any]) -> None:
    for objects in rendered(values).values():
        for each in objects:
            # The Prometheus Operator brings its own kinds; the shape of this one is held to below.
            if each["kind"] != "ServiceMonitor":
                kubernetes_validate.validate(each, version, strict=True)


def test_what_is_asked_for_in_full_is_all_there() -> None:
    kinds = {each["kind"] for objects in rendered(EVERYTHING).values() for each in objects}
    assert kinds == {
        *("ConfigMap", "Deployment", "HorizontalPodAutoscaler", "Ingress", "NetworkPolicy", "Pod"),
        *("PodDisruptionBudget", "Role", "RoleBinding", "Secret", "Service", "ServiceAccount", "ServiceMonitor"),
    }
    pod = one(EVERYTHING, "Deployment")["spec"]["template"]["spec"]
    for key in ("nodeSelector", "tolerations", "topologySpreadConstraints", "priorityClassName", "imagePullSecrets"):
        assert pod[key] == EVERYTHING[key]
    assert pod["automountServiceAccountToken"] is True
    assert {"name": "state", "persistentVolumeClaim": {"claimName": "state"}} in pod["volumes"]


def test_what_is_said_by_halves_is_still_what_kubernetes_takes() -> None:
    # The API server refuses an autoscaler whose most is below its least, and an Ingress without any rule.
    scaled = one({"replicaCount": 20}, "HorizontalPodAutoscaler")["spec"]
    assert (scaled["minReplicas"], scaled["maxReplicas"]) == (20, 20)
    (rule,) = one({"ingress": {"enabled": True}}, "Ingress")["spec"]["rules"]
    assert list(rule) == ["http"]
    several = one({"ingress": {"enabled": True, "hosts": ["a.example", "b.example"]}}, "Ingress")["spec"]["rules"]
    assert [each["host"] for each in several] == ["a.example", "b.example"]


def test_helm_install_with_the_two_values_of_the_description() -> None:
    """S4-45: helm install ai-api-gateway --set config.auth.jwtSecret=your-secret --set config.redis.url=..."""
    values = {"config": {"auth": {"jwtSecret": "your-secret"}, "redis": {"url": "redis://redis-service:6379"}}}
    kept = secret(values)
    assert kept["JWT_SECRET"] == "your-secret"
    assert kept["REDIS_URL"] == "redis://redis-service:6379"
    assert len(kept["HEADGATE_ADMIN_TOKEN"]) >= 32
    made = container(values)
    assert {"secretRef": {"name": "ai-api-gateway"}} in made["envFrom"]
    assert {"configMapRef": {"name": "ai-api-gateway-env"}} in made["envFrom"]
    assert variables(values) == {"AUTH_TYPE": "jwt", "SERVER_PORT": "8080"}
    assert made["livenessProbe"]["httpGet"] == {"path": "/health", "port": "http", "scheme": "HTTP"}
    assert made["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "http", "scheme": "HTTP"}
    assert one(values, "Service")["spec"]["ports"] == [{"name": "http", "port": 80, "targetPort": "http"}]
    scaled = one(values, "HorizontalPodAutoscaler")["spec"]
    assert (scaled["minReplicas"], scaled["maxReplicas"]) == (2, 10)
    assert scaled["metrics"][0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 80}


@pytest.mark.parametrize(
    ("values", "name", "value"),
    [
        ({"secrets": {"jwtSecret": "one-secret"}}, "JWT_SECRET", "one-secret"),
        (
            {"secrets": {"jwtSecret": "one-secret"}, "config": {"auth": {"jwtSecret": "other"}}},
            "JWT_SECRET",
            "one-secret",
        ),
        ({"secrets": {"jwtSecretKey": 12345678}}, "JWT_SECRET_KEY", "12345678"),
        ({"secrets": {"oidcClientSecret": "one-secret"}}, "OIDC_CLIENT_SECRET", "one-secret"),
        ({"config": {"auth": {"oidcClientSecret": "one-secret"}}}, "OIDC_CLIENT_SECRET", "one-secret"),
        ({"secrets": {"adminToken": "a" * 20}}, "HEADGATE_ADMIN_TOKEN", "a" * 20),
        ({"secrets": {"keyPepper": "a" * 20}}, "HEADGATE_KEY_PEPPER", "a" * 20),
        ({"secrets": {"variables": {"DATABASE_URL": "postgresql://x"}}}, "DATABASE_URL", "postgresql://x"),
    ],
)
def test_secrets_go_into_the_secret_alone(values: dict[str, Any], name: str, value: str) -> None:
    assert secret(values)[name] == value
    elsewhere = [every for file, every in rendered(values).items() if file != "secret.yaml"]
    assert value not in json.dumps(elsewhere)


def test_a_secret_of_ones_own_takes_the_place_of_the_charts() -> None:
    values = {"secrets": {"existingSecret": "mine"}, "serviceMonitor": {"enabled": True}}
    assert "secret.yaml" not in rendered(values)
    assert {"secretRef": {"name": "mine"}} in container(values)["envFrom"]
    (endpoint,) = one(values, "ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["authorization"]["credentials"] == {"name": "mine", "key": "HEADGATE_ADMIN_TOKEN"}


WORDS = {
    ("server", "port"): ("SERVER_PORT", 9090),
    ("server", "readTimeout"): ("SERVER_READ_TIMEOUT", "31s"),
    ("server", "writeTimeout"): ("SERVER_WRITE_TIMEOUT", "32s"),
    ("server", "idleTimeout"): ("SERVER_IDLE_TIMEOUT", "33s"),
    ("redis", "maxRetries"): ("REDIS_MAX_RETRIES", 0),
    ("redis", "poolSize"): ("REDIS_POOL_SIZE", 11),
    ("redis", "minIdleConns"): ("REDIS_MIN_IDLE_CONNS", 6),
    ("redis", "dialTimeout"): ("REDIS_DIAL_TIMEOUT", "6s"),
    ("redis", "readTimeout"): ("REDIS_READ_TIMEOUT", "4s"),
    ("redis", "writeTimeout"): ("REDIS_WRITE_TIMEOUT", "4s"),
    ("redis", "poolTimeout"): ("REDIS_POOL_TIMEOUT", "5s"),
    ("redis", "idleTimeout"): ("REDIS_IDLE_TIMEOUT", "6m"),
    ("auth", "type"): ("AUTH_TYPE", "both"),
    ("auth", "oidcIssuer"): ("OIDC_ISSUER", "https://issuer.example.com"),
    ("auth", "oidcClientID"): ("OIDC_CLIENT_ID", "gateway"),
    ("rateLimit", "enabled"): ("RATELIMIT_ENABLED", False),
    ("rateLimit", "algorithm"): ("RATELIMIT_ALGORITHM", "leaky_bucket"),
    ("rateLimit", "bucketSize"): ("RATELIMIT_BUCKET_SIZE", 1_000_000),
    ("rateLimit", "refillRate"): ("RATELIMIT_REFILL_RATE", 0.5),
    ("rateLimit", "windowSize"): ("RATELIMIT_WINDOW_SIZE", "61s"),
    ("rateLimit", "keyPrefix"): ("RATELIMIT_KEY_PREFIX", "gw:"),
    ("proxy", "loadBalancer"): ("PROXY_LOAD_BALANCER", "weighted"),
    ("proxy", "timeout"): ("PROXY_TIMEOUT", "31s"),
    ("proxy", "maxIdleConns"): ("PROXY_MAX_IDLE_CONNS", 101),
    ("proxy", "idleConnTimeout"): ("PROXY_IDLE_CONN_TIMEOUT", "91s"),
    ("observability", "logLevel"): ("LOG_LEVEL", "debug"),
    ("observability", "tracingEnabled"): ("TRACING_ENABLED", True),
    ("observability", "jaegerEndpoint"): ("JAEGER_ENDPOINT", "http://jaeger:4318/v1/traces"),
    ("observability", "metricsEnabled"): ("METRICS_ENABLED", True),
    ("observability", "metricsPath"): ("METRICS_PATH", "/m"),
}


def test_each_word_of_config_becomes_a_variable_that_the_preset_reads() -> None:
    config: dict[str, dict[str, object]] = {}
    for (part, key), (_, value) in WORDS.items():
        config.setdefault(part, {})[key] = value
    health = {"path": "/health", "interval": "500ms", "timeout": 2}
    upstream = {"urls": ["http://a", "http://b"], "weights": [3, 1], "health": health}
    found = variables({"config": {**config, "upstreams": {"chat-v2": upstream}}})
    written = {True: "true", False: "false"}
    expected = {
        name: written.get(value, str(value)) if isinstance(value, bool) else str(value)
        for name, value in WORDS.values()
    }
    assert found == expected | {
        "UPSTREAM_CHAT_V2_URLS": "http://a,http://b",
        "UPSTREAM_CHAT_V2_WEIGHTS": "3,1",
        "UPSTREAM_CHAT_V2_HEALTH_PATH": "/health",
        "UPSTREAM_CHAT_V2_HEALTH_INTERVAL": "500ms",
        "UPSTREAM_CHAT_V2_HEALTH_TIMEOUT": "2",
    }
    declared = yaml.safe_load(preset_text("ai-edge"))["env"]
    assert set(expected) <= set(declared)
    # All that there is to say, but for where to listen and what is secret, is in the table above.
    said = yaml.safe_load((CHART / "values.yaml").read_text())["config"]
    unsaid = {(part, key) for part, keys in said.items() if part != "upstreams" for key in keys} - set(WORDS)
    assert unsaid == {("server", "host"), ("redis", "url"), ("auth", "jwtSecret"), ("auth", "oidcClientSecret")}


def test_the_chart_takes_each_choice_of_the_preset() -> None:
    declared = yaml.safe_load(preset_text("ai-edge"))["env"]
    for (part, key), (variable, _) in WORDS.items():
        for choice in declared[variable].get("values", ()):
            assert variables({"config": {part: {key: choice}}})[variable] == choice


@pytest.mark.parametrize(
    "values", [{"conifg": {}}, {"config": {"auth": {"jwtSecert": "x"}}}, {"config": {"auth": {"type": "basic"}}}]
)
def test_a_value_under_a_wrong_name_is_an_error(values: dict[str, Any]) -> None:
    with pytest.raises(helm_python.HelmError):
        rendered(values)


def test_the_schema_of_the_values_knows_each_of_them() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())

    def same(values: dict[str, Any], known: dict[str, Any], place: str) -> None:
        if known.get("additionalProperties") is False:
            assert set(values) == set(known["properties"]) - {"global"}, place
            for key, value in values.items():
                if isinstance(value, dict):
                    same(value, known["properties"][key], f"{place}.{key}")

    same(yaml.safe_load((CHART / "values.yaml").read_text()), schema, "")


def test_what_changes_the_variables_rolls_the_pods_and_what_is_made_by_chance_does_not() -> None:
    def checksum(values: dict[str, Any]) -> str:
        metadata = one(values, "Deployment")["spec"]["template"]["metadata"]
        return str(metadata["annotations"]["checksum/variables"])

    assert checksum({}) == checksum({})
    assert secret({})["HEADGATE_ADMIN_TOKEN"] != secret({})["HEADGATE_ADMIN_TOKEN"]
    assert (
        len({checksum({}), checksum({"config": {"server": {"port": 81}}}), checksum({"secrets": {"jwtSecret": "x"}})})
        == 3
    )
    # A document of one's own is reloaded, so it rolls nothing.
    assert checksum({"configuration": {"services": []}}) == checksum({})


def test_the_pod_may_do_nothing_but_serve() -> None:
    pod = one({}, "Deployment")["spec"]["template"]["spec"]
    made = pod["containers"][0]
    assert made["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, 1000)
    assert pod["automountServiceAccountToken"] is False
    mounted = {each["mountPath"] for each in made["volumeMounts"]}
    assert mounted == {"/var/lib/headgate", "/run/headgate", "/tmp"}
    said = {each["name"]: each.get("value") for each in made["env"]}
    assert (said["HEADGATE_STATE_DIR"], said["XDG_RUNTIME_DIR"]) == ("/var/lib/headgate", "/run/headgate")


def test_it_may_end_as_slowly_as_it_drains() -> None:
    values = {"shutdown": {"grace": 7, "timeout": 50}}
    pod = one(values, "Deployment")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 67
    arguments = " ".join(pod["containers"][0]["args"])
    assert "--set shutdown.grace=7 --set shutdown.timeout=50" in arguments


def test_a_document_of_ones_own_is_laid_over_the_preset_and_mounted_as_a_folder() -> None:
    document = {"services": [{"name": "own", "url": "http://own:80"}]}
    values = {"configuration": document}
    assert yaml.safe_load(one(values, "ConfigMap")["data"]["headgate.yaml"]) == document
    made = container(values)
    assert made["args"][:4] == ["run", "/etc/headgate/own/headgate.yaml", "--preset", "ai-edge"]
    (mount,) = [each for each in made["volumeMounts"] if each["name"] == "configuration"]
    assert mount == {"name": "configuration", "mountPath": "/etc/headgate/own", "readOnly": True}
    assert container({"existingConfigMap": "theirs", "preset": ""})["args"][:3] == [
        *("run", "/etc/headgate/own/headgate.yaml", "--host")
    ]


def test_the_command_line_is_one_that_the_command_takes() -> None:
    from headgate.cli import run
    from headgate.cli.arguments import Namespace, Parser

    parser = Parser(prog="headgate run", description="")
    run.add_arguments(parser)
    read = parser.parse_args(container(EVERYTHING)["args"][1:], namespace=Namespace())
    assert (read.host, read.port, read.admin, read.workers) == ("0.0.0.0", 8080, "0.0.0.0:8081", "auto")
    assert RunOptions(paths=(), host=read.host, port=read.port).settings()[0][1] == '"0.0.0.0:8080"'


@pytest.mark.parametrize("preset", preset_names())
def test_each_preset_has_values_that_render(preset: str) -> None:
    values = values_of(preset)
    made = container(values)
    assert made["args"][1:3] == ["--preset", preset]
    for objects in rendered(values).values():
        for each in objects:
            kubernetes_validate.validate(each, KUBERNETES[-1], strict=True)


@pytest.mark.parametrize("preset", preset_names())
def test_each_preset_answers_where_the_pods_are_asked(
    preset: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("JWT_SECRET", "JWT_SECRET_KEY"):
        monkeypatch.setenv(name, "x" * 32)
    assert main(["routes", "--preset", preset, "--json"]) == 0
    own = {each["path"].removeprefix("exact ") for each in json.loads(capsys.readouterr().out) if each["own"]}
    made = container(values_of(preset))
    asked = {made[f"{kind}Probe"]["httpGet"]["path"] for kind in ("liveness", "readiness", "startup")}
    assert asked <= own


def test_the_values_of_sandbox_are_those_it_had() -> None:
    values = values_of("sandbox") | {"secrets": {"jwtSecretKey": "s" * 32}}
    assert secret(values)["JWT_SECRET_KEY"] == "s" * 32
    scaled = one(values, "HorizontalPodAutoscaler")["spec"]
    targets = [each["resource"]["target"]["averageUtilization"] for each in scaled["metrics"]]
    assert (scaled["minReplicas"], scaled["maxReplicas"], targets) == (3, 10, [70, 80])
    assert one(values, "PodDisruptionBudget")["spec"]["minAvailable"] == 2
    assert one(values, "Service")["spec"]["ports"][0]["port"] == 8080
    fixed = values | {"autoscaling": {"enabled": False}, "env": [{"name": "RATE_LIMIT_REQUESTS", "value": "200"}]}
    assert one(fixed, "Deployment")["spec"]["replicas"] == 3
    assert {"name": "RATE_LIMIT_REQUESTS", "value": "200"} in container(fixed)["env"]


def test_the_service_monitor_finds_the_admin_service_alone() -> None:
    monitor = one(EVERYTHING, "ServiceMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    assert wanted <= one(EVERYTHING, "Service", "-admin")["metadata"]["labels"].items()
    assert not wanted <= one(EVERYTHING, "Service")["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["path"], endpoint["interval"]) == ("admin", "/metrics", "15s")


def test_the_network_policy_says_who_may_come_in_and_leave() -> None:
    closed = one({"networkPolicy": {"enabled": True}}, "NetworkPolicy")["spec"]
    assert closed["policyTypes"] == ["Ingress"]
    public, admin = closed["ingress"]
    assert public == {"ports": [{"protocol": "TCP", "port": "http"}]}
    assert admin["from"] == [{"podSelector": {}}]
    spec = one(EVERYTHING, "NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["ingress"][0]["from"] == [{"namespaceSelector": {}}]
    assert [each["port"] for each in spec["egress"][0]["ports"]] == [53, 53]


def test_the_plain_manifests_are_current_and_say_nothing_of_helm() -> None:
    texts = manifests()
    for file, text in texts.items():
        assert (FOLDER / file).read_text() == text, "run scripts/render_manifests.py"
        assert "helm.sh" not in text
    assert {path.name for path in FOLDER.glob("*.yaml")} == {*texts, "values.yaml"}
    for file in set(texts) - {"kustomization.yaml", "servicemonitor.yaml"}:
        for each in yaml.safe_load_all(texts[file]):
            kubernetes_validate.validate(each, KUBERNETES[-1], strict=True)
            assert "namespace" not in each["metadata"]
    listed = yaml.safe_load(texts["kustomization.yaml"])["resources"]
    assert set(listed) == set(texts) - {"kustomization.yaml", "servicemonitor.yaml"}


def test_notes_say_where_to_look() -> None:
    with helm_python.Chart.load(Path(CHART)) as chart:
        notes = chart.render({}, name="ai-api-gateway", namespace="edge")["ai-api-gateway/templates/NOTES.txt"]
    assert "with the preset ai-edge" in notes
    assert "kubectl --namespace edge rollout status deployment/ai-api-gateway" in notes
    assert "config.redis.url is not set" in notes
