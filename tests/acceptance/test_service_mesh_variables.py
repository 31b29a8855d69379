"""The variables of the preset `service-mesh`, discovery, and what happens when the file changes under a mesh."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
import yaml

import headgate.config as headgate_config
from headgate.config.declarations import Layer, env_example
from headgate.config.loader import LoadResult, load
from headgate.config.preset import preset_source, preset_text
from headgate.policy.limit.quota import algorithm
from headgate.stores.memory import MemoryStore
from tests.acceptance.gateway import Gateway, headgate
from tests.acceptance.own_network import with_defaults
from tests.acceptance.stub import Stub
from tests.control.driver import CEILING, free_port, until
from tests.stores.contract import MINUTE, SECOND, START, group, passed
from tests.stores.redis.servers import RedisServer
from tests.wire.certificates import Authority

NAME = "service-mesh"
DESCRIBED = {
    "name": "api-gateway",
    "circuit_breaker": {"enabled": True, "threshold": 5, "timeout": 30},
    "rate_limit": {"enabled": True, "requests": 100, "window": 60},
    "routes": [
        {
            "name": "api-gateway-route",
            "match": {"path": "/api", "method": "GET"},
            "destinations": [{"service_name": "api-gateway", "weight": 100}],
        }
    ],
}
# Each variable that the description names, with its default; then those that came to it.
DEFAULTS = {
    "PORT": 8600,
    "DEBUG": False,
    "LOG_LEVEL": "INFO",
    "REDIS_HOST": "redis",
    "REDIS_PORT": 6379,
    "SERVICE_DISCOVERY_HOST": "service-discovery",
    "SERVICE_DISCOVERY_PORT": 8000,
    "CONFIG_FILE": "mesh_config.yaml",
    "TRACING_ENABLED": True,
    "METRICS_ENABLED": True,
    "CIRCUIT_BREAKER_ENABLED": True,
    "RATE_LIMIT_ENABLED": True,
    "MTLS_ENABLED": False,
    "CIRCUIT_BREAKER_THRESHOLD": 5,
    "CIRCUIT_BREAKER_TIMEOUT": 30,
    "RATE_LIMIT_REQUESTS": 100,
    "RATE_LIMIT_WINDOW": 60,
    "CORS_ORIGINS": "*",
    "CORS_METHODS": "GET,POST,PUT,DELETE,OPTIONS",
    "CORS_HEADERS": "*",
    "HEALTH_CHECK_INTERVAL": 30,
    "SERVICE_TTL": 60,
    "SERVICE_DISCOVERY_TYPE": "http",
    "RATE_LIMIT_STORE": "shared",
    "REQUEST_TIMEOUT": 10,
    "ROUTE_PREFIX": "segment",
    "COMPAT": False,
    "OTEL_EXPORTER_OTLP_ENDPOINT": None,
    "MTLS_CERT": None,
    "MTLS_KEY": None,
    "MTLS_CA": None,
}


def loaded(services: list[dict[str, Any]] | None = None, **env: str) -> LoadResult:
    """Load the preset with services of a user's file above it."""
    layers = [Layer(preset_source(NAME), preset_text(NAME), own=False)]
    layers += [Layer("own.yaml", json.dumps({"services": services or []}))]
    return load([], environ=env, layers=layers)


# -- what holds without a word of the user ---------------------------------------------------------------------------


def test_the_variables_and_their_defaults() -> None:
    source = loaded().source
    assert source is not None
    assert {name: variable.default for name, variable in source.env.items()} == DEFAULTS
    assert all(variable.help for variable in source.env.values())


def test_the_described_file_as_it_stands_and_the_defaults_of_everything() -> None:
    """S0-01: nothing but that file and the default port; where its service runs, the registry knows."""
    result = loaded([DESCRIBED])
    assert result.config is not None, result.problems
    assert result.notices == []
    (listener,) = result.config.listeners
    assert (listener.address, listener.tls) == ("0.0.0.0:8600", None)
    (service,) = result.config.services
    assert service.breaker is not None
    assert (service.breaker.threshold, service.breaker.timeout, service.breaker.success_threshold) == (5, 30, 1)
    assert (service.breaker.jitter, "5xx" in service.breaker.failures) == (0, False)
    assert service.rate_limit is not None
    assert (service.rate_limit.requests, service.rate_limit.window, service.rate_limit.key) == (100, 60, ["service"])
    assert service.discovery is not None
    assert (service.discovery.host, service.discovery.port) == ("service-discovery", 8000)
    assert set(service.discovery.paths) == {"/services", "/api/v1/services"}
    assert (service.discovery.interval, service.discovery.timeout) == (10, 5)
    # Of the statuses that instances may have, healthy, unhealthy, unknown, warning and error.
    assert {"unhealthy", "error"} <= set(service.discovery.unhealthy)
    assert {"healthy", "unknown", "warning"}.isdisjoint(service.discovery.unhealthy)
    assert result.config.routes[0].timeout.total == 10
    assert result.config.store.type == "shared"
    assert result.config.telemetry.level == "info"


def test_the_described_file_alone_serves_at_the_described_port(tmp_path: Path) -> None:
    """S0-01, S0-04: the file as it is printed, no variable, nobody else in the network."""
    described = yaml.safe_dump({"services": [DESCRIBED]})
    answer = with_defaults(tmp_path, NAME, 8600, "/api/v1/health", described)
    assert (answer.status, answer.json["service"]) == (200, "service-mesh")
    assert (answer.json["circuit_breakers"], answer.json["rate_limiters"]) == (1, 1)


def test_nothing_at_all_serves(tmp_path: Path) -> None:
    """S0-03: as a container without a file does."""
    answer = with_defaults(tmp_path, NAME, 8600, "/api/v1/health")
    assert (answer.status, answer.json["circuit_breakers"]) == (200, 0)


def test_the_example_of_variables_is_current() -> None:
    file = Path(headgate_config.__file__).with_name("presets") / f"{NAME}.env.example"
    assert file.read_text() == env_example(preset_text(NAME), preset_source(NAME))


def test_a_hundred_in_any_minute() -> None:
    """S0-29: sliding, and no minute of a calendar."""
    config = loaded([DESCRIBED]).config
    assert config is not None
    assert config.services[0].rate_limit is not None
    counter = algorithm(config.services[0].rate_limit, None)
    assert counter is not None
    store, limit = MemoryStore(10, 1), group(counter)
    assert passed(store, limit, 100) == 100
    assert passed(store, limit, 1, START + 59 * SECOND) == 0
    assert passed(store, limit, 1, START + 61 * SECOND) == 1
    # And exact for more than a few.
    more = algorithm(loaded([{"name": "a"}], RATE_LIMIT_REQUESTS="500").config.services[0].rate_limit, None)  # type: ignore[union-attr, arg-type]
    assert more is not None
    store, limit = MemoryStore(10, 1), group(more)
    assert passed(store, limit, 400, START) == 400
    assert passed(store, limit, 200, START + 30 * SECOND) == 100
    assert passed(store, limit, 500, START + MINUTE + SECOND) == 400


@pytest.mark.parametrize(
    ("services", "said"),
    [
        ([DESCRIBED, DESCRIBED], 'the service "api-gateway" stands here twice'),
        ([{"name": "a", "routes": [{"name": "r"}, {"name": "r"}]}], 'the route "r" stands here twice'),
        ([{"name": "a", "circuit_breaker": {"threshold": 0}}], "between 1 and 1000000, got the number 0"),
        ([{"name": "a", "rate_limit": {"window": -1}}], "above 0 and at most 31622400, got the number -1"),
        ([{"name": "a", "unknown": 1}], "unknown"),
    ],
)
def test_a_file_that_is_wrong(services: list[dict[str, Any]], said: str) -> None:
    """S0-36."""
    result = loaded(services)
    assert result.config is None
    assert any(said in f"{problem.path} {problem.message}" for problem in result.problems), result.problems


@pytest.mark.parametrize("text", ["", "services: []\n", "telemetry: {}\n"])
def test_a_file_without_services_is_none(tmp_path: Path, text: str) -> None:
    """No file is well, and so are others on the command line; one that was emptied by mistake takes no service away."""
    (tmp_path / "mesh_config.yaml").write_text(text)
    refused = headgate(tmp_path, "check", "--preset", NAME)
    assert (refused.returncode, "mesh_config.yaml: error: it has no services" in refused.stderr) == (1, True)


def test_a_destination_that_no_file_lists_is_a_warning() -> None:
    result = loaded([{"name": "a", "routes": [{"name": "r", "destinations": [{"service_name": "elsewhere"}]}]}])
    assert result.config is not None
    assert [each.name for each in result.config.services] == ["a", "elsewhere"]
    assert 'no service is called "elsewhere"' in result.notices[0].message


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", "eight"),
        ("TRACING_ENABLED", "perhaps"),
        ("LOG_LEVEL", "LOUD"),
        ("RATE_LIMIT_WINDOW", "soon"),
        ("CIRCUIT_BREAKER_THRESHOLD", "5.5"),
        ("SERVICE_DISCOVERY_PORT", "http"),
    ],
)
def test_a_variable_that_cannot_be_read_stops_the_start(tmp_path: Path, name: str, text: str) -> None:
    result = loaded(None, **{name: text})
    assert result.config is None
    assert result.problems[0].message.startswith(f"{name}: expected")


def test_levels_of_the_log() -> None:
    levels = {"DEBUG": "debug", "info": "info", "Warning": "warning", "ERROR": "error", "CRITICAL": "error"}
    for said, level in levels.items():
        config = loaded(LOG_LEVEL=said).config
        assert config is not None
        assert config.telemetry.level == level
    debugging = loaded(LOG_LEVEL="ERROR", DEBUG="True").config
    assert debugging is not None
    assert debugging.telemetry.level == "debug"


def test_each_variable_says_what_it_is_called_by() -> None:
    config = loaded(
        [DESCRIBED, {"name": "a"}],
        PORT="9000",
        SERVICE_DISCOVERY_TYPE="REGISTRY",
        SERVICE_TTL="1m30s",
        HEALTH_CHECK_INTERVAL="3",
        REQUEST_TIMEOUT="2.5",
        CIRCUIT_BREAKER_THRESHOLD="7",
        CIRCUIT_BREAKER_TIMEOUT="8",
        RATE_LIMIT_REQUESTS="9",
        RATE_LIMIT_WINDOW="11",
        RATE_LIMIT_STORE="redis",
        REDIS_HOST="cache",
        REDIS_PORT="6390",
        CORS_ORIGINS='["https://a.example"]',
        METRICS_ENABLED="no",
    ).config
    assert config is not None
    assert config.listeners[0].address == "0.0.0.0:9000"
    described, plain = config.services
    assert (described.discovery.type, plain.discovery.type) == ("registry", "registry")
    assert (config.registrations.ttl, config.registrations.check_interval) == (90, 3)
    assert config.routes[0].timeout.total == 2.5
    assert plain.breaker is not None
    assert (plain.breaker.threshold, plain.breaker.timeout) == (7, 8)
    assert plain.rate_limit is not None
    assert (plain.rate_limit.requests, plain.rate_limit.window) == (9, 11)
    assert (config.store.url, config.store.timeout) == (["redis://cache:6390"], 1)
    assert config.cors is not None
    assert config.cors.origins == ["https://a.example"]
    assert not config.telemetry.metrics.enabled


def test_spans_may_be_sent_to_a_collector() -> None:
    quiet, sending = loaded().config, loaded(OTEL_EXPORTER_OTLP_ENDPOINT="http://collector:4318").config
    assert quiet is not None
    assert sending is not None
    assert quiet.telemetry.tracing.export is None
    assert sending.telemetry.tracing.export is not None
    assert sending.telemetry.tracing.export.endpoint == "http://collector:4318"


def test_a_file_that_is_named_has_to_be_there(tmp_path: Path) -> None:
    told = headgate(tmp_path, "run", "--preset", NAME, env={"CONFIG_FILE": "none.yaml"})
    assert told.returncode == 1
    assert "there is no such file: none.yaml" in told.stderr


def test_mutual_tls_wants_its_files(tmp_path: Path) -> None:
    told = headgate(tmp_path, "run", "--preset", NAME, env={"MTLS_ENABLED": "True"})
    assert told.returncode == 1
    for name in ("MTLS_CERT", "MTLS_KEY", "MTLS_CA"):
        assert f"{name} is not set" in told.stderr


# -- everything switched off -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    with Stub("one") as one:
        yield one


@pytest.fixture(scope="module")
def off(tmp_path_factory: pytest.TempPathFactory, stub: Stub) -> Iterator[Gateway]:
    env = {
        "TRACING_ENABLED": "False",
        "METRICS_ENABLED": "False",
        "CIRCUIT_BREAKER_ENABLED": "False",
        "RATE_LIMIT_ENABLED": "False",
        "COMPAT": "True",
        "ROUTE_PREFIX": "text",
        "CORS_ORIGINS": "https://one.example,https://two.example",
        "CORS_METHODS": "GET,PUT",
        "CORS_HEADERS": "X-One",
        "DEBUG": "True",
    }
    few = {"enabled": True, "requests": 2, "window": 60}
    services = [
        {**DESCRIBED, "url": stub.url, "rate_limit": few},
        {"name": "away", "url": "http://127.0.0.1:1", "circuit_breaker": {"enabled": True, "threshold": 2}},
    ]
    with Gateway(tmp_path_factory.mktemp("off"), NAME, {"services": services}, env=env) as gateway:
        yield gateway


def test_what_is_switched_off_is_off_for_all_whatever_they_say(off: Gateway) -> None:
    """S0-45, S0-46."""
    assert [off.get("/api").status for _ in range(4)] == [200] * 4
    assert {off.ask("POST", "/api/v1/proxy/away/x").status for _ in range(4)} == {500}
    health = off.shown("/api/v1/health")
    assert health["features"] == dict.fromkeys(
        ("tracing_enabled", "metrics_enabled", "circuit_breaker_enabled", "rate_limit_enabled", "mtls_enabled"), False
    )
    assert (health["circuit_breakers"], health["rate_limiters"]) == (0, 0)
    for name in ("spans", "metrics"):
        assert off.shown(f"/api/v1/telemetry/{name}") == []
    for name in ("circuit-breakers", "rate-limiters"):
        assert off.shown(f"/api/v1/telemetry/{name}") == {}
    assert isinstance(off.shown("/api/v1/telemetry/logs"), list)
    assert off.shown("/api/v1/config/services/away")["circuit_breaker"] == {"enabled": False}


def test_as_the_original_did_it(off: Gateway) -> None:
    """S0-15 and S0-49, the other way."""
    assert off.get("/apiary").status == 200
    answer = off.ask("POST", "/api/v1/proxy/away/x")
    assert (answer.status, answer.json) == (500, {"error": "Internal server error"})
    # S0-09, the other way.
    for path in ("/api", "/api/v1/proxy/api-gateway/x"):
        method = "GET" if path == "/api" else "POST"
        for type_, body, told in (
            ("text/plain", "hi", '{"text": "hi"}'),
            ("text/plain", "", "null"),
            ("application/json", '{"a": 1}', '{"a": 1}'),
        ):
            answer = off.ask(method, path, headers={"X-Stub-Type": type_, "X-Stub-Body": body})
            assert (answer.status, answer.headers["content-type"], answer.text) == (200, "application/json", told)
    assert off.shown("/api/v1/health")["service"] == "service-mesh"


def test_origins_of_web_pages(off: Gateway) -> None:
    asked = {"Origin": "https://one.example", "Access-Control-Request-Method": "PUT"}
    answer = off.ask("OPTIONS", "/api", headers=asked)
    assert answer.headers["access-control-allow-origin"] == "https://one.example"
    assert answer.headers["access-control-allow-methods"].replace(" ", "") == "GET,PUT"
    assert answer.headers["access-control-allow-headers"].lower() == "x-one"
    assert "access-control-allow-origin" not in off.get("/api", {"Origin": "https://evil.example"}).headers


def test_everything_is_logged(off: Gateway) -> None:
    assert off.tell("GET", "/api/v1/config").status in (200, 403)
    config = loaded(DEBUG="True").config
    assert config is not None
    assert config.telemetry.level == "debug"


# -- a mesh with other numbers, a registry and Redis -----------------------------------------------------------------


class Other:
    """A gateway of other numbers; `registry` lists instances at the path of its own, and knows no other."""

    def __init__(self, folder: Path, redis: RedisServer) -> None:
        self.one, self.two, self.registry = Stub("one"), Stub("two"), Stub("registry")
        self.listed: list[dict[str, Any]] = [
            self.instance("a-1", self.one, status="healthy"),
            self.instance("a-2", self.two, status="unhealthy"),
        ]
        self.publish()
        self.file = folder / "mesh.json"
        self.services: list[dict[str, Any]] = [
            {**DESCRIBED, "url": self.one.url},
            {
                "name": "svc-a",
                "rate_limit": {"enabled": False},
                "routes": [
                    {"name": "r", "match": {"path": "/r"}, "destinations": [{"service_name": "unlisted"}]},
                ],
            },
            {"name": "limited", "url": self.one.url},
            # Open for so short a time that nobody need wait for a trial.
            {
                "name": "unsteady",
                "url": self.two.url,
                "rate_limit": {"enabled": False},
                "circuit_breaker": {"timeout": 0.05},
            },
            {"name": "slow", "url": self.one.url, "timeout": {"total": 0.1}},
        ]
        self.write()
        env = {
            "CONFIG_FILE": "mesh.json",
            "SERVICE_DISCOVERY_HOST": "127.0.0.1",
            "SERVICE_DISCOVERY_PORT": str(self.registry.port),
            "CIRCUIT_BREAKER_THRESHOLD": "2",
            "CIRCUIT_BREAKER_TIMEOUT": "1h",
            "RATE_LIMIT_REQUESTS": "60",
            "RATE_LIMIT_WINDOW": "1h",
            "RATE_LIMIT_STORE": "redis",
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(redis.port),
            "REQUEST_TIMEOUT": "60",
        }
        settings = ("discovery.interval=0.1", "store.timeout=10", "store.connect_timeout=60")
        options = [word for each in settings for word in ("--set", each)]
        self.gateway = Gateway(folder, NAME, env=env, options=options)

    @staticmethod
    def instance(id_: str, stub: Stub, name: str = "svc-a", status: str = "healthy") -> dict[str, Any]:
        return {"id": id_, "name": name, "host": "127.0.0.1", "port": stub.port, "status": status, "metadata": {}}

    def publish(self, status: int = 200) -> None:
        self.registry.answer.status = status
        self.registry.answer.body = json.dumps(self.listed).encode()

    def write(self, text: str = "") -> None:
        """Replace the file, by the services or by this text."""
        fresh = self.file.with_suffix(".fresh")
        fresh.write_text(text or json.dumps({"services": self.services}))
        fresh.replace(self.file)

    def found(self, service: str) -> int:
        """Count the instances that the gateway knows of a service."""
        listed = self.gateway.tell("GET", "/api/v1/discovery").json["services"]
        return next((each["endpoints"] for each in listed if each["service"] == service), 0)

    def close(self) -> None:
        self.gateway.close()
        for stub in (self.one, self.two, self.registry):
            stub.close()


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, redis: RedisServer) -> Iterator[Other]:
    made = Other(tmp_path_factory.mktemp("other"), redis)
    try:
        yield made
    finally:
        made.close()


def test_the_numbers_of_services_that_say_nothing(other: Other) -> None:
    """S0-31: what the file says wins."""
    shown = {each["name"]: each for each in other.gateway.shown("/api/v1/config/services")}
    assert shown["limited"]["circuit_breaker"].items() >= {"threshold": 2, "timeout": 3600}.items()
    assert shown["limited"]["rate_limit"] == {"enabled": True, "requests": 60, "window": 3600}
    assert shown["api-gateway"]["circuit_breaker"].items() >= {"threshold": 5, "timeout": 30}.items()
    assert shown["api-gateway"]["rate_limit"] == {"enabled": True, "requests": 100, "window": 60}


def test_limits_may_be_counted_in_redis(other: Other, redis: RedisServer) -> None:
    statuses = [other.gateway.ask("POST", "/api/v1/proxy/limited/x").status for _ in range(61)]
    assert statuses == [200] * 60 + [429]
    assert redis.call("DBSIZE") > 0


def test_a_breaker_tries_again(other: Other) -> None:
    """S0-26: a trial that goes well closes it, one that fails opens it anew."""
    statuses: list[int] = []

    def ask() -> int:
        statuses.append(other.gateway.ask("POST", "/api/v1/proxy/unsteady/x").status)
        return statuses[-1]

    def opened() -> float:
        told = other.gateway.metrics().get("headgate_breaker_transitions_total", [])
        return sum(value for labels, value in told if (labels["service"], labels["to"]) == ("unsteady", "open"))

    def state() -> str:
        said: str = other.gateway.shown("/api/v1/telemetry/circuit-breakers")["unsteady"]["state"]
        return said

    other.two.forget()
    other.two.answer.close = "head"
    assert [ask(), ask()] == [502, 502]
    until(lambda: ask() == 502 and statuses.count(502) >= 4, "two trials")
    # What is refused is told another status, and nobody else.
    assert set(statuses) <= {502, 503}
    assert len(other.two.seen) == statuses.count(502)
    until(lambda: opened() == statuses.count(502) - 1, "each trial opened it anew")
    other.two.answer.close = ""
    until(lambda: ask() == 200, "a trial goes well")
    until(lambda: state() == "closed", "it is closed")


def test_nothing_takes_longer_than_it_may(other: Other) -> None:
    """S0-49: a service that says nothing."""
    with other.one.holding():
        answer = other.gateway.ask("POST", "/api/v1/proxy/slow/x")
    assert (answer.status, list(answer.json)) == (504, ["error"])


def test_instances_are_found(other: Other) -> None:
    """S0-47: those that are well get requests; a registry may list them at either path."""
    other.one.forget()
    other.two.forget()

    def reached() -> str | None:
        told: str | None = other.gateway.ask("POST", "/api/v1/proxy/svc-a/x").json.get("stub")
        return told

    until(reached, "workers know the first one")
    assert {reached() for _ in range(6)} == {"one"}
    assert {seen.path for seen in other.registry.seen} == {"/api/v1/services"}
    other.listed[1]["status"] = "healthy"
    other.publish()
    until(lambda: reached() == "two", "the second one")
    other.listed += [other.instance("b-1", other.two, "unlisted", status="unknown")]
    other.publish()
    # A service that only a destination names.
    until(lambda: other.found("unlisted") == 1, "it is found")
    until(lambda: other.gateway.get("/r").json.get("stub") == "two", "workers know it")


def test_the_last_instances_stay_while_the_registry_is_away(other: Other) -> None:
    """S0-48."""
    asked = len(other.registry.seen)
    other.publish(status=500)
    until(lambda: len(other.registry.seen) > asked + 2, "it was asked")
    assert other.gateway.ask("POST", "/api/v1/proxy/svc-a/x").status == 200
    other.publish()


def test_a_changed_file_counts_at_once_and_no_request_is_lost(other: Other) -> None:
    """S0-37."""
    assert other.gateway.get("/fresh").status == 404
    other.services[2]["routes"] = [{"name": "fresh", "match": {"path": "/fresh"}}]
    other.services[2]["rate_limit"] = {"enabled": False}
    other.write()
    statuses = set()

    def taken() -> bool:
        statuses.add(other.gateway.ask("POST", "/api/v1/proxy/svc-a/x").status)
        return other.gateway.get("/fresh").status == 200

    until(taken, "the new route")
    assert statuses == {200}
    assert "fresh" in [each["name"] for each in other.gateway.shown("/api/v1/config/routes")]
    assert other.gateway.shown("/api/v1/config/services/limited")["rate_limit"] == {"enabled": False}


def test_a_broken_file_changes_nothing(other: Other) -> None:
    """S0-38."""
    good = other.file.read_text()
    other.write('{"services": [{"name": "x", "nothing": 1}]}')
    answer = other.gateway.tell("POST", "/api/v1/reload")
    assert answer.status != 200
    assert "nothing" in answer.text
    assert other.gateway.get("/fresh").status == 200
    other.write(good)
    other.gateway.reload()


# -- a mesh that is the registry, over mutual TLS --------------------------------------------------------------------


def test_instances_register_and_tls_is_mutual(tmp_path: Path, stub: Stub) -> None:
    stub.forget()
    authority = Authority(tmp_path)
    certificate, key = authority.issue("localhost", "127.0.0.1")
    env = {
        "MTLS_ENABLED": "1",
        "MTLS_CERT": certificate,
        "MTLS_KEY": key,
        "MTLS_CA": authority.path,
        "SERVICE_DISCOVERY_TYPE": "registry",
        "SERVICE_TTL": "1h",
        "HEALTH_CHECK_INTERVAL": "0.1",
    }
    with Gateway(tmp_path / "mesh", NAME, {"services": [DESCRIBED, {"name": "svc-a"}]}, env=env) as gateway:
        body = {"id": "a-1", "name": "svc-a", "host": "127.0.0.1", "port": stub.port}
        assert gateway.tell("POST", "/services", body).status == 201
        assert gateway.tell("POST", "/services", body).status == 200
        (listed,) = gateway.tell("GET", "/services").json
        assert {"id", "name", "host", "port", "status", "metadata"} <= set(listed)
        until(lambda: stub.checks, "it is checked at /health")
        until(lambda: gateway.tell("GET", "/services/a-1/health").json["status"] == "healthy", "it is well")

        context = ssl.create_default_context(cafile=authority.path)
        context.load_cert_chain(certificate, key)

        def ask(path: str, by: ssl.SSLContext, method: str = "GET") -> tuple[int, bytes]:
            connection = HTTPSConnection("127.0.0.1", gateway.port, timeout=CEILING, context=by)
            try:
                connection.request(method, path)
                answer = connection.getresponse()
                return answer.status, answer.read()
            finally:
                connection.close()

        def proxied() -> tuple[int, bytes]:
            return ask("/api/v1/proxy/svc-a/x", context, "POST")

        assert json.loads(ask("/api/v1/health", context)[1])["features"]["mtls_enabled"] is True
        until(lambda: proxied()[0] == 200, "the instance is known")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask("/api/v1/health", ssl.create_default_context(cafile=authority.path))

        assert gateway.tell("PUT", "/services/a-1", body | {"status": "unhealthy"}).status == 200
        assert gateway.tell("DELETE", "/services/a-1").status == 204
        assert gateway.tell("GET", "/services/a-1").status == 404
        until(lambda: proxied()[0] == 503, "nobody is left")


# -- a port, a file of variables ---------------------------------------------------------------------------------------


def test_variables_may_stand_in_a_file_and_the_environment_wins(tmp_path: Path) -> None:
    """S0-02."""
    port = free_port()
    (tmp_path / ".env").write_text(f"PORT={port}\nRATE_LIMIT_REQUESTS=7\nLOG_LEVEL=debug\n")
    with Gateway(
        tmp_path,
        NAME,
        {"services": [{"name": "a", "url": "http://127.0.0.1:1"}]},
        env={"LOG_LEVEL": "ERROR"},
        port_variable=None,
    ) as gateway:
        shown = gateway.shown("/api/v1/config/services/a")
        assert shown["rate_limit"]["requests"] == 7
        assert "is in force" not in gateway.stderr
        # The file that CONFIG_FILE names by default may come later.
        (tmp_path / "mesh_config.yaml").write_text("services: [{name: later, url: 'http://127.0.0.1:1'}]\n")
        until(lambda: len(gateway.shown("/api/v1/config/services")) == 2, "the file is read")
    told = headgate(tmp_path, "check", "--preset", NAME, "--explain")
    assert f"${{PORT}} = 0.0.0.0:{port}" in told.stdout
