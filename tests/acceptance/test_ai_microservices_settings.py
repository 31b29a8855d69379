"""The variables of the preset ai-microservices, and files that are laid over it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from headgate.config.declarations import Layer
from headgate.config.loader import load
from headgate.config.preset import preset_source, preset_text
from headgate.config.resolve import ResolvedConfig
from headgate.policy.breaker import OK
from tests.acceptance.ai_services import BREAKERS, PRESET, SERVICES, Scene, caller, scene
from tests.acceptance.gateway import Gateway, headgate
from tests.acceptance.stub import Stub
from tests.control.driver import until
from tests.policy.test_breaker import Rig
from tests.stores.redis.servers import RedisServer

DAY = 86400
SECRET = "s" * 32
BLOCK = """\
# Redis
REDIS_URL=redis://localhost:6379/0

# Qdrant
QDRANT_URL=http://localhost:6333

# Rate Limiting
RATE_LIMIT_PER_MINUTE=60
RATE_LIMIT_PER_HOUR=1000

# Circuit Breaker
CIRCUIT_BREAKER_FAILURE_THRESHOLD=5
CIRCUIT_BREAKER_TIMEOUT=60

# Service URLs
RECOMMENDATION_SERVICE_URL=http://recommender:8001
SEARCH_SERVICE_URL=http://search:8002
PRICING_SERVICE_URL=http://pricing:8003
CHATBOT_SERVICE_URL=http://chatbot:8004
FRAUD_SERVICE_URL=http://fraud:8005
FORECAST_SERVICE_URL=http://forecasting:8006
VISION_SERVICE_URL=http://vision:8007

# Logging
LOG_LEVEL=INFO
LOG_JSON=true
"""
LAYERS = [Layer(preset_source(PRESET), preset_text(PRESET), own=False)]


def resolved(**environ: str) -> ResolvedConfig:
    """Return what holds in this environment."""
    found = load([], environ=environ, layers=LAYERS)
    assert found.problems == []
    assert found.config is not None
    return found.config


# -- what holds where nobody says anything -------------------------------------------------------------------------


def test_the_defaults_of_the_description() -> None:
    """S2-01: all that the description gives a value, without a single variable, and without a warning."""
    assert load([], environ={}, layers=LAYERS).notices == []
    config = resolved()
    assert [each.address for each in config.listeners] == ["0.0.0.0:8080"]
    assert (config.store.type, config.store.url, config.store.timeout) == ("redis", ["redis://localhost:6379/0"], 1)
    assert [each.url for each in config.health.dependencies] == [
        "redis://localhost:6379/0",
        "http://localhost:6333/healthz",
    ]
    assert [(each.type, each.requests, each.window, each.key) for each in config.limits] == [
        ("token_bucket", 60, 60, ["identity"]),
        ("token_bucket", 1000, 3600, ["identity"]),
    ]
    assert [each.name for each in config.services] == BREAKERS
    assert [each.endpoints[0].name for each in config.services] == [
        *("recommender:8001", "search:8002", "pricing:8003", "chatbot:8004", "fraud:8005", "forecasting:8006"),
        "vision:8007",
    ]
    for service in config.services:
        breaker = service.breaker
        assert breaker is not None
        assert (breaker.threshold, breaker.success_threshold, breaker.timeout, breaker.window_size) == (5, 2, 60, 100)
        assert breaker.jitter == 0
    for route in config.routes:
        assert (route.retry.attempts, route.retry.backoff.base, route.retry.backoff.max) == (3, 0.1, 10)
        assert (route.timeout.connect, route.timeout.response, route.max_body) == (5, 30, 10 * 1024 * 1024)
        assert route.auth.mode == "none"
    assert (config.telemetry.level, config.telemetry.access_log.level) == ("info", "info")
    assert config.telemetry.access_log.format == "json"


def test_the_example_of_the_variables_is_the_one_that_the_preset_makes(tmp_path: Path) -> None:
    shown = headgate(tmp_path, "preset", "show", PRESET, "--env")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout == Path(f"headgate/config/presets/{PRESET}.env.example").read_text()
    for name in (*VARIABLES, *(f"{each.variable}_SERVICE_URL" for each in SERVICES)):
        assert f"\n#{name}=" in shown.stdout


def test_the_block_of_variables_of_the_description_is_taken_as_it_stands(tmp_path: Path) -> None:
    """S2-01: as a file `.env`, comments and all."""
    (tmp_path / ".env").write_text(BLOCK)
    checked = headgate(tmp_path, "check", "--preset", PRESET)
    assert (checked.returncode, checked.stdout) == (0, "ok: 7 services, 14 routes, 0 warnings\n"), checked.stderr
    named = dict(line.split("=", 1) for line in BLOCK.splitlines() if "=" in line)
    assert named.keys() <= load([], environ={}, layers=LAYERS).origins.variables.table.keys()
    assert resolved(**named) == resolved()


def test_a_breaker_as_the_description_has_it_lets_one_trial_through_at_once() -> None:
    """S2-23: five failures among a hundred calls, sixty seconds, two successes, by a clock of the test's own."""
    settings = _breaker(resolved())
    names = ("threshold", "window_size", "timeout", "success_threshold", "trials", "jitter")
    rig = Rig(**{name: getattr(settings, name) for name in names})
    assert rig.calls("xxxx.x") == "ccccco"
    rig.now += 59_900_000
    assert not rig.call(OK)
    rig.now += 200_000
    trial = rig.breaker.admit(rig.now)
    assert trial >= 0
    assert [rig.call(OK) for _ in range(3)] == [False] * 3
    rig.breaker.settle(trial, OK, rig.now)
    assert rig.state() == "half_open"
    assert rig.call(OK)
    assert rig.state() == "closed"


# -- what each variable changes ------------------------------------------------------------------------------------


def _breaker(config: ResolvedConfig) -> Any:
    return config.services[0].breaker


def _route(config: ResolvedConfig) -> Any:
    return next(each for each in config.routes if each.name == "search-service")


def _export(config: ResolvedConfig) -> Any:
    return config.telemetry.tracing.export


Looked = Callable[[ResolvedConfig], Any]
SET: Mapping[str, tuple[str, Looked, Any]] = {
    "GATEWAY_HOST": ("127.0.0.1", lambda config: config.listeners[0].address, "127.0.0.1:8080"),
    "GATEWAY_PORT": ("9090", lambda config: config.listeners[0].address, "0.0.0.0:9090"),
    "PORT": ("9091", lambda config: config.listeners[0].address, "0.0.0.0:9091"),
    "WORKERS": ("4", lambda config: config.workers, 4),
    "WEB_CONCURRENCY": ("8", lambda config: config.workers, 8),
    "API_V1_PREFIX": ("/v1", lambda config: _route(config).settings.match.path.prefix, "/v1/search"),
    "ALLOWED_ORIGINS": ("https://a.example,https://b.example", lambda config: len(_route(config).cors.origins), 2),
    "TRUSTED_PROXIES": ("10.0.0.0/8", lambda config: config.forwarding.trust, ["10.0.0.0/8"]),
    "REDIS_URL": ("redis://cache:6380/1", lambda config: config.store.url, ["redis://cache:6380/1"]),
    "QDRANT_URL": ("http://q:1", lambda config: config.health.dependencies[1].url, "http://q:1/healthz"),
    "RATE_LIMIT_ENABLED": ("false", lambda config: config.limits, ()),
    "RATE_LIMIT_PER_MINUTE": ("120", lambda config: config.limits[0].requests, 120),
    "RATE_LIMIT_PER_HOUR": ("5000", lambda config: config.limits[1].requests, 5000),
    "RATE_LIMIT_PER_DAY": ("10000", lambda config: (config.limits[2].requests, config.limits[2].window), (10000, DAY)),
    "RATE_LIMIT_ALGORITHM": ("fixed_window", lambda config: config.limits[0].type, "fixed_window"),
    "CIRCUIT_BREAKER_FAILURE_THRESHOLD": ("7", lambda config: _breaker(config).threshold, 7),
    "CB_FAILURE_THRESHOLD": ("8", lambda config: _breaker(config).threshold, 8),
    "CIRCUIT_BREAKER_SUCCESS_THRESHOLD": ("3", lambda config: _breaker(config).success_threshold, 3),
    "CB_SUCCESS_THRESHOLD": ("4", lambda config: _breaker(config).success_threshold, 4),
    "CIRCUIT_BREAKER_TIMEOUT": ("90", lambda config: _breaker(config).timeout, 90),
    "CIRCUIT_BREAKER_TIMEOUT_SECONDS": ("91", lambda config: _breaker(config).timeout, 91),
    "CB_TIMEOUT": ("1m30s", lambda config: _breaker(config).timeout, 90),
    "CIRCUIT_BREAKER_WINDOW_SIZE": ("50", lambda config: _breaker(config).window_size, 50),
    "CB_WINDOW_SIZE": ("51", lambda config: _breaker(config).window_size, 51),
    "RETRY_MAX_RETRIES": ("0", lambda config: _route(config).retry.attempts, 0),
    "RETRY_BASE_DELAY": ("0.5", lambda config: _route(config).retry.backoff.base, 0.5),
    "RETRY_MAX_DELAY": ("20", lambda config: _route(config).retry.backoff.max, 20),
    "TIMEOUT_CONNECT": ("1", lambda config: _route(config).timeout.connect, 1),
    "TIMEOUT_READ": ("2m", lambda config: _route(config).timeout.response, 120),
    "BACKEND_SERVICE_URL": ("http://backend:8000", lambda config: config.services[-1].endpoints[0].port, 8000),
    "SECRET_KEY": (SECRET, lambda config: (_route(config).auth.mode, len(config.identity.jwt)), ("optional", 1)),
    "LOG_LEVEL": ("WARNING", lambda config: {config.telemetry.level, config.telemetry.access_log.level}, {"warning"}),
    "LOG_JSON": ("false", lambda config: config.telemetry.access_log.format, "console"),
    "OTEL_EXPORTER_OTLP_ENDPOINT": (
        "http://collector:4318",
        lambda config: _export(config).endpoint,
        "http://collector:4318",
    ),
}  # fmt: skip
ALIASES = {"PORT", "WEB_CONCURRENCY", "CIRCUIT_BREAKER_TIMEOUT_SECONDS"} | {each for each in SET if each[:3] == "CB_"}
VARIABLES = [each for each in SET if each not in ALIASES]


@pytest.mark.parametrize("name", SET)
def test_each_variable_changes_what_it_says(name: str) -> None:
    """S2-17 and its kind; the older spellings mean the same."""
    value, look, expected = SET[name]
    assert look(resolved(**{name: value})) == expected


@pytest.mark.parametrize("named", SERVICES, ids=lambda each: each.variable)
def test_each_service_has_its_url_and_its_secret(named: Any) -> None:
    """Several URLs with commas between them are several instances."""
    urls = {f"{named.variable}_SERVICE_URL": "http://a:1,http://b:2"}
    config = resolved(**urls, **{f"SERVICE_AUTH_SECRET_{named.variable}": "tell-nobody"})
    service = next(each for each in config.services if each.name == named.breaker)
    assert [each.name for each in service.endpoints] == ["a:1", "b:2"]
    told = {each.service: each.headers.request.set for each in config.routes if each.headers is not None}
    assert told.pop(named.breaker) == {"X-Service-Auth": "tell-nobody"}
    assert not any(told.values())


def test_how_tokens_are_looked_at() -> None:
    secret = {"SECRET_KEY": "s" * 64}
    assert resolved(**secret, JWT_ALGORITHM="hs512").identity.jwt[0].algorithms == ["HS512"]
    assert resolved(**secret).identity.jwt[0].algorithms == ["HS256"]
    assert resolved(**secret, ACCESS_TOKEN_EXPIRE_MINUTES="30").identity.jwt[0].max_age == 1800
    assert resolved(**secret).identity.jwt[0].max_age == 0
    assert _route(resolved(**secret, AUTH_REQUIRED="true")).auth.mode == "required"


def test_credentials_go_along_to_pages_that_are_named() -> None:
    for origins, credentials in (("https://a.example", True), ("*", False)):
        found = load([], environ={"ALLOWED_ORIGINS": origins}, layers=LAYERS)
        assert (found.problems, found.notices) == ([], [])
        assert _route(resolved(ALLOWED_ORIGINS=origins)).cors.credentials is credentials


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAY_PORT", "eighty"),
        ("RATE_LIMIT_PER_MINUTE", "many"),
        ("CIRCUIT_BREAKER_TIMEOUT", "soon"),
        ("QDRANT_URL", "nowhere"),
        ("LOG_LEVEL", "loud"),
        ("LOG_JSON", "perhaps"),
        ("RATE_LIMIT_ALGORITHM", "guessing"),
    ],
)
def test_what_cannot_be_read_is_an_error_that_names_the_variable(name: str, value: str) -> None:
    problems = load([], environ={name: value}, layers=LAYERS).problems
    assert [str(each).count(name) for each in problems] == [1]
    assert value not in str(problems[0])


def test_a_token_cannot_be_required_without_the_secret_it_is_checked_with(tmp_path: Path) -> None:
    started = headgate(tmp_path, "run", "--preset", PRESET, env={"AUTH_REQUIRED": "1", "GATEWAY_PORT": "1"})
    assert started.returncode == 1
    assert "SECRET_KEY is not set, and the gateway cannot start without it" in started.stderr


def test_nothing_secret_is_shown(tmp_path: Path) -> None:
    """Secrets may come from files; what results is shown without them."""
    (tmp_path / "key").write_text("secret-in-a-file-0123456789abcdef\n")
    env = {
        "SECRET_KEY_FILE": str(tmp_path / "key"),
        "SERVICE_AUTH_SECRET_VISION": "secret-of-vision",
        "REDIS_URL": "redis://:secret-of-redis@cache:6379/0",
        "AUTH_REQUIRED": "true",
    }
    shown = headgate(tmp_path, "check", "--preset", PRESET, "--explain", env=env)
    assert shown.returncode == 0, shown.stderr
    assert "X-Service-Auth" in shown.stdout
    assert "secret-" not in shown.stdout + shown.stderr


# -- alone, with a file of one's own, and with others ----------------------------------------------------------------


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scene, Stub, Stub]]:
    """Neither Redis nor Qdrant is there; `.env` says what the environment does not; two services of the user's own."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / ".env").write_text("LOG_JSON=false\nLOG_LEVEL=WARNING\nRATE_LIMIT_PER_HOUR=7\nRATE_LIMIT_PER_MINUTE=1\n")
    with Stub("one") as one, Stub("two") as two:
        services = [
            {"name": "embeddings", "endpoints": [one.url, two.url]},
            {"name": "search-service", "circuit_breaker": {"threshold": 3, "timeout": 30}},
            {"name": "pricing-service", "url": one.url},
        ]
        env = {
            "QDRANT_URL": "http://127.0.0.1:1",
            # Empty is not set; one that is would go before the file.
            "PRICING_SERVICE_URL": "",
            "RATE_LIMIT_PER_MINUTE": "1000",
            "ALLOWED_ORIGINS": "https://a.example",
        }
        with scene(folder, None, {"services": services}, env=env, ready=False) as made:
            until(lambda: _answers(made.gateway), "it answers")
            yield made, one, two


def _answers(gateway: Gateway) -> bool:
    assert gateway.process.poll() is None, gateway.stderr
    try:
        return gateway.get("/health/live").status == 200
    except OSError:
        return False


def test_without_redis_and_qdrant_it_is_degraded_and_serves(alone: tuple[Scene, Stub, Stub]) -> None:
    running = alone[0]
    away = {"redis": "error", "qdrant": "error"}
    health = until(lambda: (said := running.gateway.shown("/health")).get("checks") == away and said, "both are missed")
    assert (health["status"], health["service"]) == ("degraded", "api_gateway")
    ready = running.gateway.get("/health/ready")
    assert (ready.status, ready.json) == (503, {"status": "not_ready", "reason": "dependency"})
    assert running.send("GET", "/api/v1/chat/x").status == 200


def test_all_metrics_are_named_before_anything_is_counted(alone: tuple[Scene, Stub, Stub]) -> None:
    told = alone[0].gateway.get("/metrics").text
    for name, kind in {
        "http_requests_total": "counter",
        "http_request_duration_seconds": "histogram",
        "http_request_errors_total": "counter",
        "circuit_breaker_state": "gauge",
        "rate_limit_exceeded_total": "counter",
        "service_up": "gauge",
    }.items():
        assert f"# TYPE {name} {kind}\n" in told


def test_the_hour_counts_too_and_without_redis(alone: tuple[Scene, Stub, Stub]) -> None:
    """The environment wins over .env: 1000 a minute; seven an hour are from there. Who waits is told the right time."""
    running, mine, began = alone[0], caller(), time.monotonic()
    answers = [running.send("GET", "/api/v1/chat/x", None, mine) for _ in range(8)]
    assert [each.status for each in answers] == [200] * 7 + [429]
    assert answers[0].headers["x-ratelimit-limit-minute"] == "1000"
    refused = answers[-1]
    assert refused.headers["x-ratelimit-remaining-hour"] == "0"
    assert 3600 / 7 - (time.monotonic() - began) <= int(refused.headers["retry-after"]) <= 3600 / 7 + 1
    assert refused.json["detail"]["retry_after"] == int(refused.headers["retry-after"])


def test_an_address_cannot_be_made_up(alone: tuple[Scene, Stub, Stub]) -> None:
    """Of several X-Forwarded-For the one counts that the trusted balancer saw, never the first that a client wrote."""
    running = alone[0]
    left = [
        running.gateway.get("/api/v1/chat/x", {"X-Forwarded-For": f"203.0.113.{number}, 198.51.100.77"}).headers[
            "x-ratelimit-remaining-hour"
        ]
        for number in range(3)
    ]
    assert left == ["6", "5", "4"]


def test_services_of_ones_own_get_what_the_others_have(alone: tuple[Scene, Stub, Stub]) -> None:
    running, one, two = alone
    for _ in range(8):
        answer = running.send("POST", "/api/v1/embeddings/text", b"", {"Authorization": "x"})
        assert (answer.status, answer.json["path"], answer.headers["x-proxied-by"]) == (200, "/text", "api-gateway")
    assert one.seen
    assert two.seen
    assert "authorization" not in one.seen[0].headers
    assert running.send("DELETE", "/api/v1/embeddings/text").status == 405
    assert "embeddings" in running.breakers()
    one.answer.close = "head"
    try:
        assert running.send("GET", "/api/v1/embeddings/text").json["stub"] == "two"
    finally:
        one.forget()


def test_a_service_of_the_preset_can_be_said_otherwise(alone: tuple[Scene, Stub, Stub]) -> None:
    """S2-25: one service's breaker changes, or its address, and nothing else."""
    running = alone[0]
    assert running.send("GET", "/api/v1/pricing/x").json["stub"] == "one"
    assert running.send("GET", "/api/v1/search/x").json["stub"] == "search-service"
    breakers = running.breakers()
    assert [breakers[name]["threshold"] for name in ("search-service", "fraud-service")] == [3, 5]
    assert [breakers[name]["timeout"] for name in ("search-service", "fraud-service")] == [30, 60]
    assert breakers["search-service"]["success_threshold"] == 2


def test_the_log_is_readable_and_holds_no_more_than_asked(alone: tuple[Scene, Stub, Stub]) -> None:
    running = alone[0]
    running.send("GET", "/api/v1/chat/fine")
    running.send("GET", "/not/there")
    until(lambda: "/not/there 404" in running.gateway.stdout, "the line")
    assert "/api/v1/chat/fine" not in running.gateway.stdout
    assert "{" not in running.gateway.stdout
    assert '"level": "INFO"' not in running.gateway.stderr.partition("is in force")[2]


def test_pages_may_read_answers_where_they_are_named(alone: tuple[Scene, Stub, Stub]) -> None:
    running = alone[0]
    answer = running.send("GET", "/api/v1/chat/x", None, {"Origin": "https://a.example"})
    assert answer.headers["access-control-allow-origin"] == "https://a.example"
    assert "X-Correlation-ID" in answer.headers["access-control-expose-headers"]
    foreign = running.send("GET", "/api/v1/chat/x", None, {"Origin": "https://b.example"})
    assert "access-control-allow-origin" not in foreign.headers


def test_two_gateways_on_one_redis_count_together(tmp_path: Path, redis: RedisServer) -> None:
    """S2-17, S2-41: 120 a minute over two gateways with two workers each, and not one more."""
    env = {"RATE_LIMIT_PER_MINUTE": "120", "RATE_LIMIT_PER_HOUR": "5000"}
    with scene(tmp_path / "a", redis, env=env) as one, scene(tmp_path / "b", redis, env=env) as two:
        began, mine = time.monotonic(), caller()
        first = answer = one.send("GET", "/api/v1/chat/x", None, mine)
        passed = 0
        while answer.status == 200:
            passed += 1
            # Two tokens come back each second.
            assert passed <= 121 + 2 * (time.monotonic() - began)
            answer = (one, two)[passed % 2].send("GET", "/api/v1/chat/x", None, mine)
        assert passed >= 120
        assert first.headers["x-ratelimit-limit-minute"] == "120"
        assert first.headers["x-ratelimit-limit-hour"] == "5000"
        assert (answer.status, answer.json["detail"]["limit_per_minute"]) == (429, 120)
