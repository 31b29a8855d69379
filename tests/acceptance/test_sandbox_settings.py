"""The variables of the preset sandbox: each has its default, and changes what it says.

The numbers in docstrings are those of the cases of the description.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import jwt
import pytest

from headgate.config.resolve import ResolvedConfig, ResolvedRoute, ResolvedService
from tests.acceptance.gateway import Gateway, environment, headgate, mint
from tests.acceptance.sandbox import PRESET, SECRET, SERVICES, Scene, loaded, resolved, scene
from tests.control.driver import until
from tests.stores.redis.servers import RedisServer

Look = Callable[[ResolvedConfig], Any]


@cache
def by_default() -> ResolvedConfig:
    return resolved()


def auth(config: ResolvedConfig) -> ResolvedService:
    return config.services[0]


def route(config: ResolvedConfig, name: str = "auth") -> ResolvedRoute:
    return next(each for each in config.routes if each.name == name)


def own(config: ResolvedConfig, path: str) -> ResolvedRoute:
    return next(each for each in config.own_routes if each.name == f"own {path}")


def breaker(config: ResolvedConfig) -> Any:
    return auth(config).breaker


def cors(config: ResolvedConfig) -> Any:
    return config.cors


# Name: another value, what is looked at, what it is by default, what it is then.
VARIABLES: dict[str, tuple[str, Look, Any, Any]] = {
    "HOST": ("127.0.0.1", lambda c: c.listeners[0].address, "0.0.0.0:8080", "127.0.0.1:8080"),
    "PORT": ("9090", lambda c: c.listeners[0].address, "0.0.0.0:8080", "0.0.0.0:9090"),
    "WORKERS": ("3", lambda c: c.workers, "auto", 3),
    "TRUSTED_PROXIES": ("10.0.0.0/8,fd00::/8", lambda c: c.forwarding.trust, [], ["10.0.0.0/8", "fd00::/8"]),
    "REDIS_URL": (
        *("redis://r:1/2", lambda c: (c.store.url, c.store.timeout)),
        *((["redis://localhost:6379/0"], 1), (["redis://r:1/2"], 1)),
    ),
    "JWT_SECRET_KEY": ("x" * 40, lambda c: c.identity.jwt[0].secret, SECRET, "x" * 40),
    "JWT_ALGORITHM": ("hs384", lambda c: c.identity.jwt[0].algorithms, ["HS256"], ["HS384"]),
    "MANAGEMENT_AUTH_REQUIRED": (*("yes", lambda c: own(c, "/api/v1/services/health").auth.mode, "none", "required"),),
    "RATE_LIMIT_ENABLED": ("false", lambda c: (len(c.limits), c.store.type), (1, "redis"), (0, "shared")),
    "RATE_LIMIT_REQUESTS": ("7", lambda c: c.limits[0].requests, 100, 7),
    "RATE_LIMIT_WINDOW": ("5m", lambda c: c.limits[0].window, 60, 300),
    "CIRCUIT_BREAKER_ENABLED": ("false", lambda c: breaker(c) is None, False, True),
    "CIRCUIT_BREAKER_FAILURE_THRESHOLD": ("9", lambda c: breaker(c).threshold, 5, 9),
    "CIRCUIT_BREAKER_RECOVERY_TIMEOUT": ("7", lambda c: breaker(c).timeout, 60, 7),
    "CIRCUIT_BREAKER_TIMEOUT": ("8", lambda c: breaker(c).timeout, 60, 8),
    "CIRCUIT_BREAKER_EXPECTED_RECOVERY_TIME": (
        *("5", lambda c: c.errors.reasons["connect_refused"].retry_after, 30, 5),
    ),
    "AUTH_SERVICE_URL": (
        *("http://a:1,http://b:2", lambda c: [each.url for each in auth(c).endpoints]),
        *(["http://auth-service:8000"], ["http://a:1", "http://b:2"]),
    ),
    "SMS_SERVICE_URL": (
        *("http://s:1", lambda c: c.services[1].endpoints[0].url, "http://sms-service:8000", "http://s:1"),
    ),
    "LLM_SERVICE_URL": (
        *("http://l:1", lambda c: c.services[2].endpoints[0].url, "http://llm-service:8000", "http://l:1"),
    ),
    "AUTH_SERVICE_TIMEOUT": ("3", lambda c: route(c).timeout.response, 30, 3),
    "SMS_SERVICE_TIMEOUT": ("4", lambda c: route(c, "sms").timeout.response, 30, 4),
    "LLM_SERVICE_TIMEOUT": ("2m", lambda c: route(c, "llm").timeout.response, 30, 120),
    "DEFAULT_TIMEOUT": ("12", lambda c: {each.timeout.response for each in c.routes}, {30}, {12}),
    "MAX_TIMEOUT": ("600", lambda c: {each.timeout.head for each in c.routes}, {300}, {600}),
    "HEALTH_CHECK_INTERVAL": ("15", lambda c: {each.health.interval for each in c.services if each.health}, {30}, {15}),
    "HEALTH_CHECK_TIMEOUT": ("2", lambda c: {each.health.timeout for each in c.services if each.health}, {10}, {2}),
    "LOAD_BALANCING_STRATEGY": (
        *("LEAST_CONNECTIONS", lambda c: auth(c).balancer.type, "round_robin", "least_connections"),
    ),
    "CORS_ORIGINS": ('["https://a.example"]', lambda c: cors(c).origins, ["*"], ["https://a.example"]),
    "CORS_ALLOW_METHODS": ("GET, POST", lambda c: cors(c).methods, ["*"], ["GET", "POST"]),
    "CORS_ALLOW_HEADERS": ('["X-One"]', lambda c: cors(c).headers, ["*"], ["X-One"]),
    "METRICS_ENABLED": ("off", lambda c: c.telemetry.metrics.enabled, True, False),
    "METRICS_PATH": ("/prom", lambda c: c.surface[1].path, "/metrics", "/prom"),
    "DEBUG": ("1", lambda c: c.telemetry.level, "info", "debug"),
    "REQUEST_LOGGING_ENABLED": (
        *("false", lambda c: {"request", "response"} & c.telemetry.access_log.fields.keys()),
        *({"request", "response"}, {"response"}),
    ),
    "RESPONSE_LOGGING_ENABLED": (
        *("false", lambda c: {"request", "response"} & c.telemetry.access_log.fields.keys()),
        *({"request", "response"}, {"request"}),
    ),
    "APP_NAME": ("Mine", lambda c: c.surface[2].body["info"]["title"], "Sandbox API Gateway", "Mine"),
    "APP_VERSION": ("2.0", lambda c: c.surface[2].body["info"]["version"], "1.0.0", "2.0"),
}


@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_changes_what_it_says(name: str) -> None:
    """S3-01."""
    value, look, usual, then = VARIABLES[name]
    assert look(by_default()) == usual
    assert look(resolved(**{name: value})) == then


def test_every_variable_of_the_table_is_tried_here_and_has_a_word_of_help() -> None:
    table = loaded().origins.variables.table
    # The last one needs named origins to show.
    aliases = {alias for variable in table.values() for alias in variable.aliases}
    assert set(VARIABLES) - aliases == set(table) - {"CORS_ALLOW_CREDENTIALS"}
    assert all(variable.help for variable in table.values())


def test_what_no_limit_counts_is_no_place_to_guess_credentials() -> None:
    def exempt(**environ: str) -> list[tuple[str | None, str | None]]:
        return [(each.exact, each.prefix) for each in resolved(**environ).limits[0].exempt]

    assert exempt() == [("/metrics", None), (None, "/api/v1/services")]
    assert exempt(MANAGEMENT_AUTH_REQUIRED="true", METRICS_PATH="/") == [("/", None)]


def test_credentials_go_along_from_origins_that_are_named() -> None:
    """S3-45."""
    named = "https://a.example, https://b.example"
    assert cors(resolved()).credentials is False
    assert cors(resolved(CORS_ORIGINS=named)).credentials is True
    assert cors(resolved(CORS_ORIGINS=named, CORS_ALLOW_CREDENTIALS="false")).credentials is False
    assert cors(resolved(CORS_ORIGINS=f"*,{named}")).credentials is False


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("PORT", "http"),
            ("RATE_LIMIT_REQUESTS", "many"),
            ("RATE_LIMIT_WINDOW", "soon"),
            ("METRICS_ENABLED", "maybe"),
        ),
        *(("LOAD_BALANCING_STRATEGY", "fair"), ("JWT_ALGORITHM", "none"), ("CORS_ORIGINS", '["a')),
    ],
)
def test_a_value_that_cannot_be_read_is_an_error_that_names_its_variable(name: str, value: str) -> None:
    result = loaded(**{name: value})
    assert result.config is None
    (problem,) = result.problems
    assert name in str(problem)


def test_nothing_is_said_at_a_start_with_the_secret_alone() -> None:
    assert loaded().notices == []


def test_without_a_secret_it_does_not_start_and_one_sentence_says_so(tmp_path: Path) -> None:
    """JWT_SECRET_KEY is required; no secret of its own makes up for it."""
    told = headgate(tmp_path, "run", "--preset", PRESET)
    assert told.returncode != 0
    assert told.stderr.count("JWT_SECRET_KEY is not set") == 1
    assert "Traceback" not in told.stderr


def test_a_short_secret_is_taken_with_a_warning() -> None:
    """README: docker run -e JWT_SECRET_KEY="your-secret-key"."""
    result = loaded(JWT_SECRET_KEY="your-secret-key")
    assert result.config is not None
    (notice,) = result.notices
    assert "identity.jwt.secret" in str(notice)


def test_the_example_of_the_environment_is_the_one_that_is_printed(tmp_path: Path) -> None:
    """S3-01: cp .env.example .env."""
    shipped = Path(__file__).parents[2] / "headgate/config/presets/sandbox.env.example"
    told = headgate(tmp_path, "preset", "show", PRESET, "--env")
    assert told.stdout == shipped.read_text()
    for name in VARIABLES.keys() - {"CIRCUIT_BREAKER_TIMEOUT"}:
        assert f"{name}=" in told.stdout


LONGER = f"{SECRET}, and of sixty-four bytes"
CHOSEN = {
    "APP_NAME": "Own name",
    "APP_VERSION": "2.5.0",
    "METRICS_PATH": "/prom",
    "MANAGEMENT_AUTH_REQUIRED": "true",
    "JWT_ALGORITHM": "HS512",
    "DEBUG": "true",
    "REQUEST_LOGGING_ENABLED": "false",
    "CORS_ORIGINS": '["https://app.example"]',
    "CORS_ALLOW_METHODS": "GET,PUT",
    "CORS_ALLOW_HEADERS": "X-One",
    "RATE_LIMIT_WINDOW": "120",
    "HOST": "127.0.0.1",
}


def test_a_gateway_with_values_of_its_own_from_a_file_and_the_environment(tmp_path: Path, redis: RedisServer) -> None:
    """S3-01: .env is read; what the environment says goes before it; a secret may stand in a file."""
    (tmp_path / "secret").write_text(f"{LONGER}\n")
    lines = [f"{name}={value}" for name, value in CHOSEN.items()]
    (tmp_path / ".env").write_text("\n".join([*lines, "RATE_LIMIT_REQUESTS=7"]) + "\n")
    env = {"RATE_LIMIT_REQUESTS": "9", "JWT_SECRET_KEY": "", "JWT_SECRET_KEY_FILE": str(tmp_path / "secret")}
    with scene(tmp_path, redis, env=env, options=("--set", "shutdown.grace=3600")) as made:
        assert resolved().shutdown.grace > 0
        gateway = made.gateway
        # Of another algorithm: only HS512 counts.
        assert gateway.get("/api/v1/auth/x", bearer=mint(LONGER, sub="ann")).status == 401
        token = _signed_with_hs512()
        answer = gateway.get("/api/v1/auth/x", {"Origin": "https://app.example"}, bearer=token)
        assert answer.status == 200
        assert (answer.headers["x-ratelimit-limit"], answer.headers["x-ratelimit-window"]) == ("9", "120")
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert answer.headers["access-control-allow-credentials"] == "true"
        foreign = gateway.get("/api/v1/auth/x", {"Origin": "https://b.example"}, bearer=token)
        assert "access-control-allow-origin" not in foreign.headers
        asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "PUT"}
        preflight = gateway.ask("OPTIONS", "/api/v1/auth/x", None, asked)
        assert (preflight.status, preflight.headers["access-control-allow-methods"]) == (204, "GET, PUT")
        assert gateway.ask("OPTIONS", "/x", None, {**asked, "Origin": "https://b.example"}).status == 403
        assert (gateway.get("/metrics", bearer=token).status, gateway.get("/prom").status) == (404, 200)
        assert "Own name" in gateway.get("/docs").text
        assert gateway.shown("/openapi.json")["info"] == {"title": "Own name", "version": "2.5.0"}
        assert gateway.shown("/health")["version"] == "2.5.0"
        paths = ["health", "status", "auth/health", "auth/metrics"]
        assert {gateway.get(f"/api/v1/services/{path}").status for path in paths} == {401}
        assert {gateway.get(f"/api/v1/services/{path}", bearer=token).status for path in paths} == {200}
        line = until(lambda: next(iter(gateway.access_log()), None), "a line")
        assert "response" in line
        assert "request" not in line
        until(lambda: any(each["level"] == "DEBUG" for each in gateway.log()), "the log is written in full")
        assert LONGER not in gateway.stderr + gateway.stdout
        _is_not_ready_first(gateway)


def _is_not_ready_first(gateway: Gateway) -> None:
    """S3-47: while it stops, readiness goes first; here it stays so for an hour, which a second signal ends."""
    assert gateway.get("/ready").status == 200
    gateway.process.send_signal(signal.SIGTERM)
    until(lambda: gateway.get("/ready").status == 503, "it is not ready")
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.ended() == 128 + signal.SIGTERM


def _signed_with_hs512() -> str:
    claims = jwt.decode(mint(LONGER, sub="ann"), LONGER, ["HS256"])
    return jwt.encode(claims, LONGER, "HS512")


def test_what_can_be_switched_off(tmp_path: Path) -> None:
    """S3-50: METRICS_ENABLED=false is 404 with an error. RATE_LIMIT_ENABLED=false needs no Redis and tells nothing.

    At the end the gateway itself.
    """
    off = ("METRICS_ENABLED", "REQUEST_LOGGING_ENABLED", "RESPONSE_LOGGING_ENABLED", "CIRCUIT_BREAKER_ENABLED")
    with scene(tmp_path, None, env=dict.fromkeys((*off, "RATE_LIMIT_ENABLED"), "false")) as made:
        answer = made.gateway.get("/metrics")
        assert (answer.status, answer.json) == (404, {"error": "Metrics not enabled"})
        for _ in range(7):
            assert made.send("POST", "/api/v1/llm/x", {}, {"X-Stub-Close": "head"}).status == 502
        assert made.send("POST", "/api/v1/llm/x", {}).status == 200, "no breaker opens"
        answers = [made.gateway.get("/api/v1/auth/x", bearer=mint(SECRET, sub="one")) for _ in range(120)]
        assert {each.status for each in answers} == {200}
        assert not any(name.startswith("x-ratelimit") for each in answers for name in each.headers)
        assert "store of the limits" not in made.gateway.stderr
        health = until(lambda: (said := made.gateway.shown("/health")).get("services") and said, "the first answers")
        assert health["circuit_breakers"] == {}
        assert set(health["services"]["services"]) == set(SERVICES)
        assert made.gateway.access_log() == []
        _ends_in_order(made)


def _ends_in_order(made: Scene) -> None:
    """S3-47: what is under way is finished, no connection is taken any more, exit status 0."""
    slow = made.stub("sms")
    with ThreadPoolExecutor() as crowd, slow.holding():
        under_way = crowd.submit(made.send, "GET", "/api/v1/sms/slow")
        until(lambda: slow.seen, "it is under way")
        made.gateway.process.send_signal(signal.SIGTERM)
        until(lambda: _refuses(made), "no connection is taken")
        assert not under_way.done()
    assert under_way.result().status == 200
    assert made.gateway.ended() == 0
    assert "draining" in made.gateway.stderr


def _refuses(made: Scene) -> bool:
    try:
        made.gateway.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def test_the_merged_result_says_where_each_value_is_from(tmp_path: Path) -> None:
    own = tmp_path / "services.yaml"
    own.write_text(json.dumps({"services": [{"name": "new", "url": "http://new-service:8000"}]}))
    env = environment(tmp_path) | {"JWT_SECRET_KEY": SECRET, "RATE_LIMIT_REQUESTS": "12"}
    told = headgate(tmp_path, "check", str(own), "--preset", PRESET, "--explain", env=env)
    assert told.returncode == 0
    assert "preset sandbox" in told.stdout
    assert "/api/v1/new" in told.stdout
    assert SECRET not in told.stdout + told.stderr
