"""The preset ai-edge at work: its endpoints, its services below /v1, who may ask, its errors, metrics and log."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest

from tests.acceptance.edge import MOMENT, SECRET, edge, refused, secure, token, upstreams
from tests.acceptance.gateway import Answer, Gateway, mint
from tests.acceptance.stub import Stub
from tests.control.driver import until
from tests.control.issuer import ScriptedIssuer, SigningKey
from tests.stores.redis.servers import RedisServer

LIMITS = {"RATELIMIT_BUCKET_SIZE": "100000", "RATELIMIT_REFILL_RATE": "1000"}


@pytest.fixture(scope="module")
def chat() -> Iterator[Stub]:
    with Stub("chat") as stub:
        yield stub


@pytest.fixture(scope="module")
def issuer() -> Iterator[ScriptedIssuer]:
    made = ScriptedIssuer()
    made.keys = [SigningKey("one", "RS256")]
    yield made
    made.close()


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, redis: RedisServer, chat: Stub, issuer: ScriptedIssuer
) -> Iterator[Gateway]:
    own = {
        "identity": {"forward": {"X-User": "id", "X-Email": "claims.email", "X-Roles": "roles"}},
        "services": [
            {"name": "files", "url": f"{chat.url}/base"},
            {"name": "away", "url": "http://127.0.0.1:1"},
            {"name": "slow", "url": chat.url, "timeout": {"response": 0.1}},
            {"name": "reports", "url": chat.url, "auth": {"roles": "admin"}},
        ],
    }
    env = {
        "AUTH_TYPE": "both",
        "OIDC_ISSUER": issuer.url,
        "OIDC_CLIENT_ID": "gateway",
        **LIMITS,
        **upstreams("chat", chat),
        "TRUSTED_PROXIES": "127.0.0.1",
    }
    # Keys are fetched anew at once, and not after half a minute.
    keys = ("--set", "identity.jwt.oidc.discovery.cooldown=1")
    options = ("--set", "shutdown.grace=0", "--set", "workers=1", *keys)
    with edge(tmp_path_factory.mktemp("edge"), redis, own, env=env, options=options) as running:
        yield running


@pytest.fixture(autouse=True)
def fresh(chat: Stub) -> None:
    chat.forget()


def asked(gateway: Gateway, path: str, method: str = "GET", body: object = None, **headers: str) -> Answer:
    fields = {"Authorization": f"Bearer {token()}"} | {name.replace("_", "-"): each for name, each in headers.items()}
    return gateway.ask(method, path, body, fields)


# -- own endpoints --------------------------------------------------------------------------------------------------


def test_health(gateway: Gateway) -> None:
    """S4-02, S4-04: the four fields of the API specification, open to everybody."""
    answer = gateway.get("/health")
    assert answer.status == 200
    assert set(answer.json) == {"status", "timestamp", "version", "uptime"}
    assert answer.json["status"] == "healthy"
    assert MOMENT.fullmatch(answer.json["timestamp"])
    assert isinstance(answer.json["uptime"], int)
    assert re.match(r"\d+\.\d+", answer.json["version"])
    secure(answer)
    assert gateway.ask("HEAD", "/health").status == 200
    refused(gateway.ask("POST", "/health"), 405, "Method Not Allowed")


def test_ready(gateway: Gateway) -> None:
    """S4-05, the first half; the other one is in test_ai_edge_limits."""
    answer = until(lambda: (said := gateway.get("/ready")).status == 200 and said, "Redis was seen")
    assert isinstance(answer, Answer)
    assert answer.json == {"status": "ready"}
    secure(answer)


def test_metrics_are_open_text(gateway: Gateway) -> None:
    """S4-06"""
    answer = gateway.get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert "x-ratelimit-limit" in answer.headers


# -- services -------------------------------------------------------------------------------------------------------


def test_a_path_goes_on_without_its_prefix_and_with_its_query(gateway: Gateway, chat: Stub) -> None:
    """S4-07"""
    answer = asked(gateway, "/v1/chat/models/7?limit=5&q=a%26b")
    assert answer.status == 200
    assert chat.seen[0].target == "/models/7?limit=5&q=a%26b"
    assert answer.json["method"] == "GET"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
def test_any_method_goes_on_with_its_body(gateway: Gateway, chat: Stub, method: str) -> None:
    """S4-08"""
    body = {"n": 1} if method in ("POST", "PUT", "PATCH") else None
    assert asked(gateway, "/v1/chat/x", method, body).status == 200
    assert chat.seen[0].method == method
    assert body is None or chat.seen[0].json == body


def test_a_large_body_goes_on_whole(gateway: Gateway, chat: Stub) -> None:
    body = bytes(range(256)) * 48 * 1024
    assert gateway.ask("PUT", "/v1/chat/x", body, {"X-Stub-Body": "kept"}, bearer=token()).text == "kept"
    assert chat.seen[0].body == body


@pytest.mark.parametrize("path", ["/v1/chat", "/v1/chat/"])
def test_no_rest_is_the_root(gateway: Gateway, chat: Stub, path: str) -> None:
    """S4-09"""
    assert asked(gateway, path).status == 200
    assert chat.seen[0].target == "/"


def test_a_service_of_a_file_gets_the_same_route(gateway: Gateway, chat: Stub) -> None:
    """S4-11: a file and a variable, together; the path of a URL is put before the rest."""
    assert asked(gateway, "/v1/files/a/b?c=d").status == 200
    assert chat.seen[0].target == "/base/a/b?c=d"


def test_an_unknown_service(gateway: Gateway) -> None:
    """S4-10: 404 (502 in the old code; errors.reasons.route_not_found.status brings that back)"""
    refused(asked(gateway, "/v1/nobody/x"), 404, "Not Found", "There is no service at this path.")
    for path in ("/v1", "/nothing", "/v1/chatty"):
        refused(asked(gateway, path), 404, "Not Found")


def test_a_bad_path(gateway: Gateway) -> None:
    """S4-12"""
    for path in ("/v1/chat/../../etc/passwd%00", "/v1/chat/%zz", "/v1/chat/a%2Fb"):
        refused(asked(gateway, path), 400, "Bad Request")


def test_headers_and_status_pass_both_ways(gateway: Gateway, chat: Stub) -> None:
    answer = asked(gateway, "/v1/chat/x", X_Mine="1", X_Stub_Status="418", X_Stub_Headers='{"X-Theirs": "2"}')
    assert (answer.status, answer.headers["x-theirs"]) == (418, "2")
    assert chat.seen[0].headers["x-mine"] == "1"
    assert chat.seen[0].headers["x-forwarded-for"] == "127.0.0.1"


def test_events_pass_as_they_come(gateway: Gateway) -> None:
    answer = asked(gateway, "/v1/chat/x", X_Stub_Type="text/event-stream", X_Stub_Body="data: 1")
    assert (answer.headers["content-type"], answer.body) == ("text/event-stream", b"data: 1")


def test_failures_of_a_service(gateway: Gateway, chat: Stub) -> None:
    """S4-35"""
    refused(asked(gateway, "/v1/away/x"), 502, "Bad Gateway")
    refused(asked(gateway, "/v1/chat/x", X_Stub_Close="head"), 502, "Bad Gateway")
    with chat.holding():
        refused(asked(gateway, "/v1/slow/x"), 504, "Gateway Timeout")
    with pytest.raises(Exception, match="IncompleteRead"):
        asked(gateway, "/v1/chat/x", X_Stub_Close="body")


# -- who may ask ----------------------------------------------------------------------------------------------------


def test_without_a_token(gateway: Gateway, chat: Stub) -> None:
    """S4-14"""
    answer = refused(gateway.get("/v1/chat/x"), 401, "Unauthorized", "Authentication is required.")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert chat.seen == []


def _signed(algorithm: str, key: Any = SECRET, **claims: Any) -> str:
    return jwt.encode({"user_id": "ada", "exp": int(time.time()) + 3600, **claims}, key, algorithm=algorithm)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_tokens_of_the_secret(gateway: Gateway, algorithm: str) -> None:
    """S4-13"""
    assert gateway.get("/v1/chat/x", bearer=_signed(algorithm)).status == 200


def test_bearer_may_be_left_out(gateway: Gateway) -> None:
    assert gateway.get("/v1/chat/x", {"Authorization": token()}).status == 200
    assert gateway.get("/v1/chat/x", {"Authorization": f"bearer {token()}"}).status == 200


@pytest.mark.parametrize(
    "wrong",
    [
        jwt.encode({"user_id": "ada", "exp": 9999999999}, "", algorithm="none"),
        mint(SECRET, user_id="ada", expires=-1),
        mint(SECRET, user_id="ada", nbf=int(time.time()) + 3000),
        mint(SECRET[::-1], user_id="ada"),
        jwt.encode({"user_id": "ada"}, SECRET, algorithm="HS256"),
        SigningKey(None, "RS256").sign(user_id="ada"),
        token()[:-4],
        "nonsense",
    ],
    ids=["none", "expired", "not yet", "other secret", "no end", "RS256", "cut", "nonsense"],
)
def test_tokens_that_are_refused(gateway: Gateway, chat: Stub, wrong: str) -> None:
    """S4-13"""
    answer = refused(gateway.get("/v1/chat/x", bearer=wrong), 401, "Unauthorized")
    assert "expired" in answer.json["message"] or "credentials" in answer.json["message"]
    assert chat.seen == []


def test_tokens_of_the_issuer(gateway: Gateway, issuer: ScriptedIssuer) -> None:
    """S4-16, S4-17: RS256, by the audience that OIDC_CLIENT_ID says; and either kind is accepted"""
    good = issuer.keys[0].sign(iss=issuer.url, aud=["gateway", "other"], sub="eve")
    assert gateway.get("/v1/chat/x", bearer=good).status == 200
    assert gateway.get("/v1/chat/x", bearer=token()).status == 200
    for claims in ({"iss": issuer.url, "aud": "other"}, {"iss": "https://else.example", "aud": "gateway"}):
        refused(gateway.get("/v1/chat/x", bearer=issuer.keys[0].sign(sub="eve", **claims)), 401, "Unauthorized")


def test_new_keys_of_the_issuer_are_found_without_a_restart(gateway: Gateway, issuer: ScriptedIssuer) -> None:
    """S4-15"""
    claims = {"iss": issuer.url, "aud": "gateway", "sub": "eve"}
    old, new = issuer.keys[0], SigningKey("two", "RS256")
    assert gateway.get("/v1/chat/x", bearer=old.sign(**claims)).status == 200
    issuer.keys = [new]
    until(lambda: gateway.get("/v1/chat/x", bearer=new.sign(**claims)).status == 200, "the new key is known")
    refused(gateway.get("/v1/chat/x", bearer=old.sign(**claims)), 401, "Unauthorized")


def test_who_asks_is_known_to_policies_services_and_the_log(gateway: Gateway, chat: Stub) -> None:
    """S4-19: user_id before sub; email and roles, too"""
    ada = mint(SECRET, user_id="ada", sub="other", email="a@b.c", roles=["admin", "dev"])
    assert gateway.get("/v1/reports/who", {"X-User": "forged"}, bearer=ada).status == 200
    told = chat.seen[0].headers
    assert (told["x-user"], told["x-email"], set(told["x-roles"].split(","))) == ("ada", "a@b.c", {"admin", "dev"})
    refused(gateway.get("/v1/reports/who", bearer=mint(SECRET, sub="bob")), 403, "Forbidden")
    lines = until(lambda: (found := logged(gateway, "/v1/reports/who"))[1:] and found, "both lines")
    assert isinstance(lines, list)
    assert [line["fields"]["user"] for line in lines] == ["ada", "bob"]
    assert lines[1]["fields"]["error"] == "forbidden"


# -- what it tells --------------------------------------------------------------------------------------------------


def logged(gateway: Gateway, path: str) -> list[dict[str, Any]]:
    return [line for line in gateway.log() if line.get("fields", {}).get("path") == path]


def test_the_log_is_json_on_standard_error(gateway: Gateway) -> None:
    """S4-40: structured logging"""
    asked(gateway, "/v1/chat/log?limit=5&token=x", User_Agent="curl/8", X_Stub_Body="four")
    line: Any = until(lambda: (found := logged(gateway, "/v1/chat/log")) and found[0], "the line")
    assert (line["level"], line["message"]) == ("info", "Request completed")
    assert MOMENT.fullmatch(line["timestamp"])
    fields = line["fields"]
    wanted = {"method": "GET", "query": "limit=5&token=***", "status": 200, "ip": "127.0.0.1", "user_agent": "curl/8"}
    assert wanted.items() <= fields.items()
    assert (fields["bytes_in"], fields["bytes_out"], fields["upstream"]) == (0, 4, "chat")
    assert fields["latency_ms"] > 0
    assert fields["request_id"]
    # All of its fields are there where a client says less, too.
    gateway.get("/v1/chat/bare")
    bare: Any = until(lambda: (found := logged(gateway, "/v1/chat/bare")) and found[0], "the other line")
    assert (bare["level"], bare["fields"]["status"]) == ("warning", 401)
    assert (bare["fields"]["query"], bare["fields"]["user_agent"]) == ("", "")
    assert SECRET not in gateway.stderr


def test_behind_an_ingress_callers_are_known_by_the_address_that_it_saw(gateway: Gateway) -> None:
    """TRUSTED_PROXIES: what stands before the last address that is not trusted is hearsay, and is not believed."""
    left = []
    for client in ("203.0.113.7", "203.0.113.7", "203.0.113.8"):
        answer = gateway.get("/v1/chat/far", {"X-Forwarded-For": f"203.0.113.9, {client}"})
        left.append(int(answer.headers["x-ratelimit-remaining"]))
    # The budget of an address is its own; what is refilled meanwhile is a part of one.
    assert left[0] == left[2] == int(LIMITS["RATELIMIT_BUCKET_SIZE"]) - 1
    lines = until(lambda: (found := logged(gateway, "/v1/chat/far"))[2:] and found, "the lines")
    assert isinstance(lines, list)
    assert sorted(line["fields"]["ip"] for line in lines) == ["203.0.113.7", "203.0.113.7", "203.0.113.8"]


def test_every_answer_has_the_security_headers(gateway: Gateway) -> None:
    """S4-41: the gateway's own values win over those of a service"""
    theirs = json.dumps({"X-Frame-Options": "SAMEORIGIN", "Content-Security-Policy": "default-src *"})
    secure(asked(gateway, "/v1/chat/x", X_Stub_Headers=theirs))
    secure(gateway.get("/metrics"))


def series(gateway: Gateway, name: str, **labels: str) -> float:
    found = gateway.metrics(public=True).get(name, [])
    return sum(value for known, value in found if labels.items() <= known.items())


def test_metrics_have_the_names_and_labels_that_dashboards_ask_for(gateway: Gateway) -> None:
    """S4-36, S4-37: the five of the description, and what each is counted by"""

    def counted() -> list[float]:
        return [
            series(gateway, "http_requests_total", method="GET", path="/v1/chat", status="200"),
            series(gateway, "http_requests_total", method="GET", path="/health", status="200"),
            series(gateway, "http_requests_total", method="GET", path="", status="404"),
            series(gateway, "http_request_duration_seconds_count", method="GET", path="/v1/chat", status="200"),
            series(gateway, "upstream_requests_total", upstream="chat", status="200"),
            series(gateway, "upstream_requests_total", upstream="away", status="error"),
            series(gateway, "upstream_request_duration_seconds_count", upstream="chat", status="200"),
            series(gateway, "auth_failures_total", reason="missing_token", auth_type="both"),
            series(gateway, "auth_failures_total", reason="invalid_token", auth_type="both"),
        ]

    before = counted()
    asked(gateway, "/v1/chat/a/b")
    gateway.get("/health")
    gateway.get("/metrics")
    gateway.get("/nowhere")
    asked(gateway, "/v1/away/x", "POST", {})
    gateway.get("/v1/chat/x")
    gateway.get("/v1/chat/x", bearer="nonsense")
    gateway.get("/v1/chat/x", {"Authorization": "Basic Og=="})
    gateway.get("/v1/chat/x", {"Authorization": ""})
    # Nobody was reached, so it was tried once more.
    wanted = [1, 1, 1, 1, 1, 2, 1, 2, 2]
    until(lambda: [now - then for now, then in zip(counted(), before, strict=True)] == wanted, "all is counted")
    shown = gateway.get("/metrics").text
    bucket = r'http_request_duration_seconds_bucket\{method="GET",path="/v1/chat",status="200",le="\+Inf"\} \d+'
    assert re.search(bucket, shown)
    assert not re.search(r'path="/v1/chat/', shown)
    assert 'upstream="headgate' not in shown


def test_a_trace_goes_on_untouched_where_tracing_is_off(gateway: Gateway, chat: Stub) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    asked(gateway, "/v1/chat/x", traceparent=parent, baggage="a=1")
    assert (chat.seen[0].headers["traceparent"], chat.seen[0].headers["baggage"]) == (parent, "a=1")


def test_explain_says_where_a_request_would_go(gateway: Gateway) -> None:
    shown = ("-H", f"Authorization: {token()}")
    told = gateway.command("explain", "--preset", "ai-edge", "GET", "/v1/chat/models", *shown)
    assert told.returncode == 0, told.stderr
    assert "sent to chat" in told.stdout
