"""How the preset ai-edge starts: its variables with their defaults, what it demands, and what has no effect."""

from __future__ import annotations

import re
from contextlib import closing, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from headgate.config.declarations import Layer
from headgate.config.loader import LoadResult, load
from headgate.config.preset import preset_source, preset_text
from headgate.config.resolve import ResolvedConfig
from headgate.telemetry.collector import collector_of
from tests.acceptance.edge import AT_ONCE, PRESET, SECRET, edge, refused, token, upstreams
from tests.acceptance.gateway import Gateway, environment, headgate, mint
from tests.acceptance.stub import Stub
from tests.control.driver import until
from tests.control.issuer import ScriptedIssuer, SigningKey
from tests.stores.redis.servers import RedisServer

# As the description prints it.
README = {
    "SERVER_PORT": "8080",
    "REDIS_URL": "redis://localhost:6379",
    "AUTH_TYPE": "both",
    "JWT_SECRET": "your-secret-key",
    "OIDC_ISSUER": "https://example.com",
    "RATELIMIT_ALGORITHM": "token_bucket",
    "RATELIMIT_BUCKET_SIZE": "100",
    "RATELIMIT_REFILL_RATE": "10",
    "LOG_LEVEL": "info",
}
ISSUER = {"OIDC_ISSUER": "https://login.example.com"}


def loaded(**environ: str) -> LoadResult:
    layer = Layer(preset_source(PRESET), preset_text(PRESET), own=False)
    return load([], environ={"JWT_SECRET": SECRET} | environ, layers=[layer])


def config_of(**environ: str) -> ResolvedConfig:
    result = loaded(**environ)
    assert result.config is not None, [str(problem) for problem in result.problems]
    return result.config


def said(result: LoadResult) -> list[str]:
    return [str(problem) for problem in (*result.problems, *result.notices)]


# -- as a process ---------------------------------------------------------------------------------------------------


def test_the_environment_of_the_description_starts_it(tmp_path: Path, redis: RedisServer) -> None:
    """S4-01: with a secret of 15 characters, and an issuer that is not there; on a free port instead of 8080"""
    with Stub("chat") as stub:
        env = README | {"REDIS_URL": f"redis://localhost:{redis.port}", "OIDC_ISSUER": "http://127.0.0.1:1"}
        del env["SERVER_PORT"]
        env |= upstreams("chat", stub)
        with Gateway(tmp_path, PRESET, env=env, port_variable="SERVER_PORT", options=AT_ONCE) as it:
            assert it.get("/health").json["status"] == "healthy"
            with pytest.warns(UserWarning, match="HMAC key is 15 bytes long"):
                mine = mint(README["JWT_SECRET"], sub="ada")
            answer = it.get("/v1/chat/x", bearer=mine)
            assert (answer.status, answer.headers["x-ratelimit-limit"]) == (200, "100")
            eve = SigningKey("one", "RS256").sign(iss="http://127.0.0.1:1", aud="x", sub="eve")
            refused(it.get("/v1/chat/x", bearer=eve), 503, "Service Unavailable")
            assert "your-secret-key" not in it.stderr
            assert "JWT_SECRET" in it.stderr


@pytest.mark.parametrize(
    ("env", "missing"),
    [
        ({}, "JWT_SECRET"),
        ({"AUTH_TYPE": "jwt"}, "JWT_SECRET"),
        ({"AUTH_TYPE": "both", **ISSUER}, "JWT_SECRET"),
        ({"AUTH_TYPE": "both", "JWT_SECRET": SECRET}, "OIDC_ISSUER"),
        ({"AUTH_TYPE": "oidc"}, "OIDC_ISSUER"),
    ],
)
def test_what_is_demanded_is_named_in_one_sentence(env: dict[str, str], missing: str) -> None:
    """S4-03"""
    layer = Layer(preset_source(PRESET), preset_text(PRESET), own=False)
    result = load([], environ=env, layers=[layer])
    assert result.config is None
    assert len(result.problems) == 1
    assert f"{missing} is not set, and the gateway cannot start without it" in said(result)[0]


def test_without_what_is_demanded_it_does_not_start(tmp_path: Path) -> None:
    """S4-03"""
    env = {"AUTH_TYPE": "both", "REDIS_URL": "redis://redis:6379"}
    with Gateway(tmp_path, PRESET, env=env, port_variable="SERVER_PORT", ready=False) as it:
        assert it.ended() != 0
        lines = [line for line in it.stderr.splitlines() if "is not set" in line]
    assert len(lines) == 2
    assert "JWT_SECRET is not set" in lines[0]
    assert "OIDC_ISSUER is not set" in lines[1]


def test_everything_switched_off_and_a_service_of_a_file(tmp_path: Path) -> None:
    """S4-18, S4-29, S4-39, S4-42: no Redis, no metrics, no secret; tracing without an endpoint; warnings alone"""
    env = {
        "AUTH_TYPE": "mock",
        "JWT_SECRET": "",
        "RATELIMIT_ENABLED": "false",
        "METRICS_ENABLED": "no",
        "TRACING_ENABLED": "true",
        "LOG_LEVEL": "warn",
        "REDIS_URL": "redis://127.0.0.1:1",
        "REDIS_POOL_SIZE": "20",
    }
    with Stub("chat") as stub:
        own = {
            "services": [{"name": "chat", "url": stub.url}],
            # As the gateway of the description answered once.
            "errors": {"reasons": {"route_not_found": {"status": 502}}},
            "security_headers": {"override": False},
        }
        with edge(tmp_path, None, own, env=env) as it:
            anybody = {"Authorization": "anything", "X-Stub-Headers": '{"X-Frame-Options": "SAMEORIGIN"}'}
            answer = it.get("/v1/chat/x", anybody)
            assert (answer.status, answer.headers["x-frame-options"]) == (200, "SAMEORIGIN")
            assert not any(name.startswith("x-ratelimit") for name in answer.headers)
            assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[13]", stub.seen[0].headers["traceparent"])
            refused(it.get("/v1/chat/x"), 401, "Unauthorized")
            assert it.get("/ready").status == 200
            refused(it.get("/metrics"), 502, "Bad Gateway", "There is no service at this path.")
            it.wait_log("JAEGER_ENDPOINT is not set: spans are kept here and sent nowhere")
            it.wait_log("REDIS_POOL_SIZE has no effect")
            lines = until(lambda: (found := _requests(it))[1:] and found, "the lines of what was refused")
            # Two workers write, in any order; of what went well there is nothing.
            assert sorted((line["level"], line["fields"]["status"]) for line in lines) == [
                ("error", 502),
                ("warning", 401),
            ]
            # Nor of its own start.
            assert {line["level"].lower() for line in it.log()} == {"warning", "error"}
            # What SERVER_READ_TIMEOUT and SERVER_IDLE_TIMEOUT are read into; only clients with no time meet it.
            it.write(own | {"http": {"header_timeout": 0.1, "keepalive_timeout": 0.1}})
            it.reload()
            head = b"GET /health HTTP/1.1\r\n"
            until(lambda: _answered(it, head).startswith(b"HTTP/1.1 408 "), "whoever is slow is told so")
            until(lambda: _answered(it, head + b"Host: x\r\n\r\n").startswith(b"HTTP/1.1 200 "), "idle ones go")


def _answered(gateway: Gateway, request: bytes) -> bytes:
    """Return all that comes until the gateway closes; nothing where the test itself was too slow for it."""
    with gateway.connect() as connection, suppress(ConnectionError):
        connection.sendall(request)
        return b"".join(iter(partial(connection.recv, 65_536), b""))
    return b""


def _requests(gateway: Gateway) -> list[dict[str, Any]]:
    return [line for line in gateway.log() if "fields" in line]


def test_oidc_alone_and_spans_for_a_collector(tmp_path: Path) -> None:
    """S4-16, S4-38: Jaeger's old address means OTLP at the same host; the context goes on, with a span of its own"""
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    issuer = ScriptedIssuer()
    issuer.keys = [SigningKey("one", "RS256")]
    env = {"AUTH_TYPE": "oidc", "OIDC_ISSUER": issuer.url, "RATELIMIT_ENABLED": "false", "TRACING_ENABLED": "true"}
    with closing(issuer), Stub("chat") as stub, Stub("collector") as collector:
        env |= upstreams("chat", stub)
        env |= {"JAEGER_ENDPOINT": f"{collector.url}/v1/traces", "METRICS_PATH": "/internal/m"}
        with edge(tmp_path, None, env=env) as it:
            refused(it.get("/v1/chat/x", bearer=token()), 401, "Unauthorized")
            eve = issuer.keys[0].sign(iss=issuer.url, aud="anybody", sub="eve")
            assert it.get("/v1/chat/x", {"traceparent": parent, "baggage": "a=1"}, bearer=eve).status == 200
            passed = stub.seen[0].headers
            assert passed["traceparent"].startswith("00-0af7651916cd43dd8448eb211c80319c-")
            assert passed["traceparent"] != parent
            assert passed["baggage"] == "a=1"
            until(lambda: any(b"GET /v1/chat" in each.body for each in collector.seen), "spans arrive")
            assert {each.path for each in collector.seen} == {"/v1/traces"}
            assert b"ai-api-gateway" in collector.seen[0].body
            assert it.get("/metrics").status == 404
            refusals = [({"reason": "invalid_token", "auth_type": "oidc"}, 1.0)]
            until(
                lambda: it.metrics("/internal/m", public=True).get("auth_failures_total") == refusals, "it is counted"
            )


# -- variables ------------------------------------------------------------------------------------------------------


def _of(config: ResolvedConfig, path: str) -> Any:
    found: Any = config
    for part in path.split("."):
        found = found[int(part)] if part.isdigit() else getattr(found, part)
    return found


CHAT = {"UPSTREAM_CHAT_URLS": "http://10.0.0.1:1,http://10.0.0.2:1"}


@cache
def by_default() -> ResolvedConfig:
    return config_of(**CHAT)


@pytest.mark.parametrize(
    ("variable", "where", "default", "text", "value"),
    [
        ("SERVER_PORT", "listeners.0.address", "0.0.0.0:8080", "9000", "0.0.0.0:9000"),
        ("SERVER_READ_TIMEOUT", "http.header_timeout", 30, "1m30s", 90),
        ("SERVER_READ_TIMEOUT", "http.body_timeout", 30, "500ms", 0.5),
        ("SERVER_WRITE_TIMEOUT", "http.write_timeout", 30, "5s", 5),
        ("SERVER_IDLE_TIMEOUT", "http.keepalive_timeout", 120, "2m", 120),
        ("TRUSTED_PROXIES", "forwarding.trust", [], "10.0.0.0/8, fd00::/8", ["10.0.0.0/8", "fd00::/8"]),
        ("REDIS_URL", "store.url", ["redis://localhost:6379"], "rediss://:x@r:1/2", ["rediss://:x@r:1/2"]),
        ("REDIS_DIAL_TIMEOUT", "store.connect_timeout", 5, "1s", 1),
        ("REDIS_READ_TIMEOUT", "store.timeout", 3, "100ms", 0.1),
        ("RATELIMIT_KEY_PREFIX", "store.prefix", "ratelimit:", "gw:", "gw:"),
        ("RATELIMIT_BUCKET_SIZE", "limits.0.burst", 100, "7", 7),
        ("RATELIMIT_REFILL_RATE", "limits.0.requests", 10, "3", 3),
        ("RATELIMIT_ALGORITHM", "limits.0.type", "token_bucket", "LEAKY_BUCKET", "leaky_bucket"),
        ("PROXY_TIMEOUT", "routes.0.timeout.response", 30, "2s", 2),
        ("PROXY_MAX_IDLE_CONNS", "services.0.pool.max_idle", 100, "5", 5),
        ("PROXY_IDLE_CONN_TIMEOUT", "services.0.pool.idle_timeout", 90, "10s", 10),
        ("PROXY_LOAD_BALANCER", "services.0.balancer.type", "round_robin", "least_connections", "least_connections"),
        ("PROXY_LOAD_BALANCER", "services.0.balancer.type", "round_robin", "weighted", "weighted"),
        ("PROXY_LOAD_BALANCER", "services.0.balancer.type", "round_robin", "adaptive", "peak_ewma"),
        ("LOG_LEVEL", "telemetry.level", "info", "warn", "warning"),
        ("LOG_LEVEL", "telemetry.level", "info", "DEBUG", "debug"),
        ("LOG_LEVEL", "telemetry.access_log.level", "info", "error", "error"),
        ("LOG_LEVEL", "telemetry.access_log.level", "info", "debug", "info"),
        ("METRICS_ENABLED", "telemetry.metrics.enabled", True, "false", False),
        ("METRICS_PATH", "surface.2.path", "/metrics", "/m", "/m"),
        ("TRACING_ENABLED", "telemetry.tracing.enabled", False, "1", True),
    ],
)
def test_variables_and_their_defaults(variable: str, where: str, default: Any, text: str, value: Any) -> None:
    assert _of(by_default(), where) == default
    assert _of(config_of(**CHAT, **{variable: text}), where) == value


def test_the_rest_of_the_variables() -> None:
    issuer = {"AUTH_TYPE": "oidc", **ISSUER}
    assert config_of(**issuer).identity.jwt[0].audience == ["*"]
    assert config_of(**issuer, OIDC_CLIENT_ID="gateway").identity.jwt[0].audience == ["gateway"]
    assert [each.name for each in config_of().identity.jwt] == ["jwt"]
    assert [each.name for each in config_of(**issuer).identity.jwt] == ["oidc"]
    assert [each.name for each in config_of(AUTH_TYPE="both", **ISSUER).identity.jwt] == ["jwt", "oidc"]
    mock = config_of(AUTH_TYPE="mock").identity
    assert (mock.jwt, mock.stand_in and mock.stand_in.id) == ([], "mock-user-id")
    sliding = config_of(RATELIMIT_ALGORITHM="sliding_window", RATELIMIT_WINDOW_SIZE="30s").limits[0]
    assert (sliding.type, sliding.requests, sliding.window, sliding.burst) == ("sliding_window", 100, 30, None)
    off = config_of(RATELIMIT_ENABLED="off")
    assert (off.limits, off.store.type, off.health.dependencies) == ((), "shared", [])
    export = config_of(
        TRACING_ENABLED="true", JAEGER_ENDPOINT="http://jaeger:14268/api/traces"
    ).telemetry.tracing.export
    assert export is not None
    assert export.service_name == "ai-api-gateway"
    assert collector_of(export.endpoint, export.protocol).url == "http://jaeger:4318/v1/traces"


def test_secrets_may_stand_in_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    result = loaded(JWT_SECRET="", JWT_SECRET_FILE=str(tmp_path / "secret"))
    assert result.config is not None
    assert result.config.identity.jwt[0].secret == SECRET


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("SERVER_PORT", "http"),
        ("SERVER_READ_TIMEOUT", "soon"),
        ("AUTH_TYPE", "basic"),
        ("RATELIMIT_ALGORITHM", "fixed"),
        ("RATELIMIT_BUCKET_SIZE", "many"),
        ("REDIS_POOL_SIZE", "x"),
        ("PROXY_LOAD_BALANCER", "ring"),
        ("UPSTREAM_CHAT_HEALTH_INTERVAL", "x"),
        ("TRACING_ENABLED", "maybe"),
        ("JAEGER_ENDPOINT", "jaeger"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_a_value_that_is_none_is_an_error_and_never_the_default(variable: str, text: str) -> None:
    environ = {"UPSTREAM_CHAT_HEALTH_PATH": "/health", **CHAT, variable: text}
    result = loaded(**environ)
    assert result.config is None
    assert any(line.startswith(f"environment: error: {variable}: expected") for line in said(result)), said(result)


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("REDIS_MAX_RETRIES", "3"),
        ("REDIS_POOL_SIZE", "10"),
        ("REDIS_MIN_IDLE_CONNS", "5"),
        ("REDIS_WRITE_TIMEOUT", "3s"),
        ("REDIS_POOL_TIMEOUT", "4s"),
        ("REDIS_IDLE_TIMEOUT", "5m"),
        ("OIDC_CLIENT_SECRET", "hush"),
    ],
)
def test_variables_without_effect_are_read_and_say_so(variable: str, text: str) -> None:
    result = loaded(**{variable: text})
    assert result.config is not None
    assert [line for line in said(result) if "has no effect" in line] == [
        line for line in said(result) if line.startswith(f"environment: warning: {variable} has no effect: ")
    ]
    assert any(variable in line for line in said(result))


def test_services_of_the_environment(tmp_path: Path) -> None:
    """S4-11"""
    env = environment(tmp_path) | {
        "JWT_SECRET": SECRET,
        "UPSTREAM_AI_AGENTS_URLS": "http://a:1,http://b:1",
        "UPSTREAM_AI_AGENTS_WEIGHTS": "3,1",
        "UPSTREAM_AI_AGENTS_HEALTH_PATH": "/up",
        "UPSTREAM_AI_AGENTS_HEALTH_TIMEOUT": "1s",
        **CHAT,
    }
    told = headgate(tmp_path, "routes", "--preset", PRESET, env=env)
    assert "/v1/ai-agents" in told.stdout
    config = config_of(**{name: text for name, text in env.items() if name.startswith("UPSTREAM")})
    agents, chat = config.services
    assert (agents.name, chat.name) == ("ai-agents", "chat")
    assert agents.health is not None
    assert (agents.health.path, agents.health.interval, agents.health.timeout) == ("/up", 10, 1)
    assert chat.health is None
    # A file may say more of such a service; where it runs says the variable, which goes before files.
    own = tmp_path / "own.yaml"
    own.write_text("services: [{name: chat, url: 'http://elsewhere:1', timeout: {response: 7}}]")
    explained = headgate(
        tmp_path, "check", str(own), "--preset", PRESET, "--explain", env={"JWT_SECRET": SECRET, **CHAT}
    )
    assert "services[chat].discovery.urls: UPSTREAM_CHAT_URLS" in explained.stdout
    assert "elsewhere" not in explained.stdout
    assert re.search(r"services\[chat\]\.timeout\.response: 7 +# .*own\.yaml:1:", explained.stdout)
    wrong = loaded(**CHAT, UPSTREAM_CHAT_WEIGHTS="1,2,3")
    assert any("UPSTREAM_CHAT" in line for line in said(wrong)), said(wrong)


def test_a_file_of_variables_is_enough(tmp_path: Path) -> None:
    """`.env` of the working directory, services in it, too; what is set goes before it"""
    with Stub("chat") as stub:
        lines = ["AUTH_TYPE=jwt", "JWT_SECRET=overruled", "RATELIMIT_ENABLED=false", f"UPSTREAM_CHAT_URLS={stub.url}"]
        (tmp_path / ".env").write_text("\n".join(lines))
        with edge(tmp_path, None) as it:
            assert it.get("/v1/chat/x", bearer=token()).json["stub"] == "chat"


def test_it_shows_what_it_reads(tmp_path: Path) -> None:
    shown = headgate(tmp_path, "preset", "show", PRESET, "--env")
    for variable in README:
        assert f"{variable}=" in shown.stdout
    explained = headgate(tmp_path, "check", "--preset", PRESET, "--explain", env={"JWT_SECRET": SECRET, **CHAT})
    assert explained.returncode == 0, explained.stderr
    assert "${PROXY_TIMEOUT} = 30" in explained.stdout
    assert SECRET not in explained.stdout
