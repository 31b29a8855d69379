"""The preset sandbox as its description has it: routes, credentials, own endpoints, errors, CORS, metrics, logs.

One gateway with a real Redis and all variables at their defaults, but where things are and how many requests may pass.
The numbers in docstrings are those of the cases of the description.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from time import monotonic
from typing import Any

import pytest

from tests.acceptance.gateway import Answer, mint
from tests.acceptance.sandbox import SECRET, SERVICES, Scene, caller, scene
from tests.acceptance.stub import Wanted
from tests.control.driver import until
from tests.stores.redis.servers import RedisServer

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
LOGIN = "/api/v1/auth/login"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, redis: RedisServer) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("gateway"), redis, env={"RATE_LIMIT_REQUESTS": "100000"}) as made:
        yield made


@pytest.fixture(scope="module")
def key(running: Scene) -> str:
    """An API key, made as an operator makes one."""
    made = running.gateway.command("keys", "create", "--preset", "sandbox", "--owner", "ann")
    key = made.stdout.strip()
    assert key.startswith("sk-")
    until(lambda: running.gateway.get("/api/v1/auth/x", {"X-API-Key": key}).status == 200, "the key is known")
    return key


def line_of(running: Scene, request_id: str) -> dict[str, Any]:
    """Return the line of the access log on a request, which is written behind its answer."""
    lines = running.gateway.access_log
    return until(lambda: next((each for each in lines() if each["request_id"] == request_id), None), "its line")


def refused(answer: Answer, text: str) -> None:
    assert (answer.status, answer.json) == (401, {"error": text})
    assert "www-authenticate" in answer.headers


# -- routes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_is_reached_by_its_path_and_the_prefix_is_taken_off(running: Scene, service: str) -> None:
    """S3-04, S3-05: all methods, the query and the body stay."""
    for method in METHODS:
        sent = {"a": 1} if method in ("POST", "PUT", "PATCH") else None
        told = running.send(method, f"/api/v1/{service}/v2/things?q=a%26b&q=2", sent).json
        assert (told["stub"], told["method"], told["path"]) == (f"{service}-0", method, "/v2/things")
        assert told["query"] == [["q", "a&b"], ["q", "2"]]
        assert told["body"] == ('{"a": 1}' if sent else "")
    assert running.send("GET", f"/api/v1/{service}").json["path"] == "/"
    assert running.send("GET", f"/api/v1/{service}/").json["path"] == "/"


def test_a_large_body_goes_on_whole(running: Scene) -> None:
    body = bytes(range(256)) * 48 * 1024
    assert running.send("POST", "/api/v1/llm/x", body, {"X-Stub-Body": "kept"}).text == "kept"
    assert running.stub("llm").seen[-1].body == body


def test_a_path_that_no_service_has_is_404(running: Scene) -> None:
    """S3-31, and a name that only begins as one does; who shows no credential is asked for one, as for any path."""
    for path in ("/api/v1/nope/x", "/api/v1/authority/x", "/nope"):
        answer = running.send("GET", path)
        assert (answer.status, answer.json) == (404, {"detail": "Service not found"})
        for shown in ({}, {"Authorization": "Bearer nonsense"}):
            stranger = running.gateway.get(path, {"Origin": "https://a.example", **shown})
            message = "Invalid or expired token" if shown else "Authentication required"
            assert (stranger.status, stranger.json) == (401, {"error": message})
            assert "Bearer" in stranger.headers["www-authenticate"]
            assert stranger.headers["access-control-allow-origin"] == "*"
    wrong = running.send("TRACE", "/api/v1/auth/x")
    assert (wrong.status, wrong.json) == (405, {"detail": "Method Not Allowed"})


def test_what_services_are_told_of_the_client(running: Scene) -> None:
    """Hop-by-hop fields stay behind; a forged X-Forwarded-For is not passed on."""
    sent = {"X-Forwarded-For": "203.0.113.9", "Connection": "X-Hop", "X-Hop": "1", "X-Own": "1"}
    seen = running.send("GET", "/api/v1/auth/x", None, sent).json["headers"]
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert seen["x-forwarded-proto"] == "http"
    assert seen["x-forwarded-host"] == f"127.0.0.1:{running.gateway.port}"
    assert "x-hop" not in seen
    assert seen["x-own"] == "1"


def test_each_request_has_an_id_and_a_time_it_took(running: Scene) -> None:
    """X-Request-ID is made, or kept as it was sent, and goes to the service; X-Process-Time is in seconds."""
    answer = running.send("GET", "/api/v1/auth/x")
    assert UUID.fullmatch(answer.headers["x-request-id"])
    assert answer.json["headers"]["x-request-id"] == answer.headers["x-request-id"]
    kept = running.send("GET", "/api/v1/auth/x", None, {"X-Request-ID": "of-mine"})
    assert kept.headers["x-request-id"] == kept.json["headers"]["x-request-id"] == "of-mine"
    for told in (answer, running.gateway.get("/health"), running.gateway.get("/nope"), running.gateway.get("/docs")):
        assert float(told.headers["x-process-time"]) > 0


def test_answers_of_services_come_as_they_are(running: Scene) -> None:
    """Their status, their headers, their body; an error of theirs is no failure of the gateway."""
    wanted = {"X-Stub-Status": "500", "X-Stub-Type": "text/plain", "X-Stub-Body": "own words"}
    answer = running.send("GET", "/api/v1/sms/x", None, wanted | {"X-Stub-Headers": '{"X-Own": "1"}'})
    assert (answer.status, answer.text, answer.headers["x-own"]) == (500, "own words", "1")
    stub = running.stub("llm")
    stub.answer = Wanted(type="text/event-stream", body=b"data: 1\n\ndata: 2\n\n")
    try:
        assert running.send("GET", "/api/v1/llm/x").body == stub.answer.body
    finally:
        stub.answer = Wanted()


# -- who asks ------------------------------------------------------------------------------------------------------


def test_a_token_or_a_key_is_needed(running: Scene, key: str) -> None:
    """S3-06, S3-08, S3-09, S3-10: what is wrong is 401 with a word on it; a user is the claim sub."""
    get, path = running.gateway.get, "/api/v1/auth/me"
    assert get(path, bearer=caller()).status == 200
    assert get(path, {"X-API-Key": key}).status == 200
    refused(get(path), "Authentication required")
    refused(get(path, {"Authorization": "Basic YTpi"}), "Invalid authorization header format")
    refused(get(path, {"Authorization": caller()}), "Invalid authorization header format")
    refused(get(path, bearer=mint(SECRET, sub="a", expires=-1)), "Invalid or expired token")
    refused(get(path, bearer=mint("another secret, as long as the other one", sub="a")), "Invalid or expired token")
    refused(get(path, bearer="garbage"), "Invalid or expired token")
    refused(get(path, {"X-API-Key": "sk-" + "x" * 40}), "Invalid API key")
    refused(get(path, {"X-API-Key": "no key at all"}), "Invalid API key")
    refused(get("/api/v1/sms/x", bearer=key), "Invalid or expired token")


@pytest.mark.parametrize("wrong", ["Bearer garbage", "Bearer a.b.c", "Basic YTpi", "nonsense"])
def test_a_wrong_authorization_is_never_passed_over_for_a_good_key(running: Scene, key: str, wrong: str) -> None:
    """S3-11."""
    assert running.gateway.get("/api/v1/auth/x", {"Authorization": wrong, "X-API-Key": key}).status == 401
    seen = len(running.stub("auth").seen)
    assert running.gateway.get("/api/v1/auth/x", {"Authorization": wrong}).status == 401
    assert len(running.stub("auth").seen) == seen


def test_a_revoked_key_counts_no_longer(running: Scene) -> None:
    made = json.loads(running.gateway.command("keys", "create", "--preset", "sandbox", "--json").stdout)
    shown = {"X-API-Key": made["key"]}
    until(lambda: running.gateway.get("/api/v1/auth/x", shown).status == 200, "the key is known")
    assert running.gateway.command("keys", "revoke", made["id"], "--preset", "sandbox").returncode == 0
    until(lambda: running.gateway.get("/api/v1/auth/x", shown).status == 401, "it is not any more")


@pytest.mark.parametrize("path", [LOGIN, "/api/v1/auth/register"])
def test_who_has_no_credential_yet_gets_one(running: Scene, path: str) -> None:
    """S3-07."""
    told = running.gateway.ask("POST", path, {"user": "ann"}).json
    assert (told["path"], told["body"]) == (path.removeprefix("/api/v1/auth"), '{"user": "ann"}')
    assert running.gateway.ask("POST", f"{path}-not", {}).status == 401


@pytest.mark.parametrize(
    "path", ["/health", "/metrics", "/docs", "/redoc", "/openapi.json", "/api/v1/openapi.json", "/ready"]
)
def test_own_endpoints_are_open(running: Scene, path: str) -> None:
    """S3-12; the document that the page shows is open, too."""
    assert running.gateway.get(path).status == 200
    assert running.gateway.ask("POST", path).status == 405


# -- own endpoints -------------------------------------------------------------------------------------------------


def test_health_tells_of_the_gateway_its_services_and_its_breakers(running: Scene) -> None:
    """S3-13."""
    assert running.send("GET", "/api/v1/auth/x").status == 200
    health = until(
        lambda: (said := running.gateway.shown("/health"))["circuit_breakers"]["auth"]["last_success_time"] and said,
        "a call that went well is told",
    )
    assert set(health) == {"status", "timestamp", "version", "uptime", "services", "circuit_breakers"}
    assert (health["status"], health["version"]) == ("healthy", "1.0.0")
    assert ISO.fullmatch(health["timestamp"])
    assert re.fullmatch(r"(\d+ days?, )?\d+:\d\d:\d\d", health["uptime"])
    assert set(health["services"]) == {"overall_status", "services", "last_check"}
    assert set(health["services"]["services"]) == set(SERVICES)
    breaker = health["circuit_breakers"]["auth"]
    assert set(breaker) == {
        *("state", "failure_count", "success_count", "total_requests", "last_failure_time", "last_success_time")
    }
    assert breaker["state"] == "closed"
    assert breaker["total_requests"] >= breaker["success_count"] >= 1


def test_all_services_are_told_with_their_health(running: Scene) -> None:
    """S3-14: one entry for each, with the time of its last check; README: continuous health checks."""
    path = "/api/v1/services/health"
    until(
        lambda: all(each["response_time"] for each in running.gateway.shown(path)["services"].values()),
        "all are checked",
    )
    shown = running.gateway.shown(path)
    assert set(shown) == {"overall_status", "services", "last_check"}
    assert shown["overall_status"] == "healthy"
    assert ISO.fullmatch(shown["last_check"])
    for name in SERVICES:
        entry = shown["services"][name]
        assert set(entry) == {"service", "status", "response_time", "url"}
        assert (entry["service"], entry["status"], entry["url"]) == (name, "healthy", running.stub(name).url)
        assert running.stub(name).checks > 0


def test_all_services_are_told_with_their_instances(running: Scene) -> None:
    """S3-16."""
    shown = running.gateway.shown("/api/v1/services/status")
    assert set(shown) == set(SERVICES)
    for name in SERVICES:
        assert (shown[name]["total_instances"], shown[name]["healthy_instances"]) == (1, 1)
        (instance,) = shown[name]["instances"]
        assert set(instance) == {"url", "is_healthy", "response_time", "failure_count", "last_health_check"}
        assert (instance["url"], instance["is_healthy"], instance["failure_count"]) == (running.stub(name).url, True, 0)


def test_one_service_is_told_by_its_name(running: Scene) -> None:
    """S3-17, S3-18: its health, its metrics; a name that nothing has is 404, and makes no breaker."""
    entry = running.gateway.shown("/api/v1/services/auth/health")
    assert set(entry) == {"service", "status", "response_time", "url"}
    assert (entry["service"], entry["status"]) == ("auth", "healthy")
    metrics = running.gateway.shown("/api/v1/services/llm/metrics")
    assert set(metrics) == {"service", "circuit_breaker"}
    assert set(metrics["circuit_breaker"]) == {
        *("state", "failure_count", "success_count", "total_requests", "failure_rate")
    }
    for kind in ("health", "metrics"):
        unknown = running.gateway.get(f"/api/v1/services/nope/{kind}")
        assert (unknown.status, unknown.json) == (404, {"detail": "Service not found"})
    assert "nope" not in running.gateway.shown("/health")["circuit_breakers"]


def test_own_paths_are_found_before_those_of_services(running: Scene) -> None:
    for path in ("/api/v1/services/health", "/api/v1/services/auth/health"):
        assert running.gateway.get(path).status == 200
    assert not any("services" in each.path for name in SERVICES for each in running.stub(name).seen)


def test_the_documentation_names_what_is_answered(running: Scene) -> None:
    """README: API Documentation at /docs; nothing of it is fetched from elsewhere."""
    document = running.gateway.shown("/openapi.json")
    assert document["info"] == {"title": "Sandbox API Gateway", "version": "1.0.0"}
    wanted = {"/health", "/metrics", "/docs", "/api/v1/services/health", "/api/v1/services/{service}/metrics"}
    assert wanted <= set(document["paths"])
    assert set(document["paths"]["/api/v1/sms/{path}"]) == {"get", "head", *(each.lower() for each in METHODS)}
    assert document["paths"]["/api/v1/sms/{path}"]["get"]["parameters"][0]["name"] == "path"
    assert running.gateway.shown("/api/v1/openapi.json") == document
    for path in ("/docs", "/redoc"):
        page = running.gateway.get(path)
        assert page.headers["content-type"].startswith("text/html")
        assert "<title>Sandbox API Gateway</title>" in page.text
        assert "/api/v1/services/{service}/health" in page.text
        assert "http://" not in page.text
        assert "https://" not in page.text


def test_health_is_never_limited(running: Scene) -> None:
    """S3-49: hey -n 1000 -c 10 http://localhost:8080/health."""
    with ThreadPoolExecutor(10) as crowd:
        answers = list(crowd.map(lambda _: running.gateway.get("/health"), range(1000)))
    assert {each.status for each in answers} == {200}
    assert not any("x-ratelimit-limit" in each.headers for each in answers)


# -- what goes wrong -----------------------------------------------------------------------------------------------


def test_what_goes_wrong_on_the_way_to_a_service_is_a_detail(running: Scene) -> None:
    """S3-30: an answer that is none is 502; nobody there and an open breaker are in test_sandbox_services."""
    answer = running.send("POST", "/api/v1/sms/x", {}, {"X-Stub-Close": "head"})
    assert (answer.status, answer.json) == (502, {"detail": "Bad gateway"})
    large = running.gateway.ask("POST", "/api/v1/sms/x", None, {"Content-Length": "99999999999"}, bearer=caller())
    assert (large.status, list(large.json)) == (413, ["detail"])


# -- browsers ------------------------------------------------------------------------------------------------------


def test_any_page_may_read_answers_by_default_and_none_sends_credentials(running: Scene) -> None:
    """S3-45: * is never sent with credentials."""
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "PUT"}
    preflight = running.gateway.ask(
        "OPTIONS", "/api/v1/auth/x", None, asked | {"Access-Control-Request-Headers": "X-A"}
    )
    assert preflight.status == 204
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert preflight.headers["access-control-allow-methods"] == "PUT"
    assert preflight.headers["access-control-allow-headers"].lower() == "x-a"
    assert "access-control-allow-credentials" not in preflight.headers


def test_cors_metrics_and_log_lines_are_there_whatever_is_refused(running: Scene) -> None:
    """S3-51: on 200, 401, 404 and 502 alike; 429 and 503 are in the other files."""
    wanted = {200: "/api/v1/auth/x", 401: "/api/v1/sms/x", 404: "/nope", 502: "/api/v1/llm/x"}
    for status, path in wanted.items():
        token = None if status == 401 else caller()
        fields = {"Origin": "https://a.example", "X-Request-ID": f"seen-{status}", "X-Stub-Close": "head"}
        if status == 200:
            del fields["X-Stub-Close"]
        answer = running.gateway.ask("POST", path, b"", fields, bearer=token)
        assert answer.status == status
        assert answer.headers["access-control-allow-origin"] == "*"
        line = line_of(running, f"seen-{status}")
        assert line["response"]["status_code"] == status
        running.until_counted("api_gateway_requests_total", method="POST", status_code=str(status))


# -- metrics -------------------------------------------------------------------------------------------------------


def test_requests_are_counted_by_method_endpoint_and_status(running: Scene) -> None:
    """S3-38, S3-39, S3-40: the status is called status_code; `endpoint` is a pattern, never what a client sent."""
    for number in range(3):
        assert running.send("PATCH", f"/api/v1/auth/users/{number}").status == 200
    labels = {"method": "PATCH", "endpoint": "/api/v1/auth"}
    running.until_counted("api_gateway_requests_total", 3, status_code="200", **labels)
    assert running.counted("api_gateway_request_duration_seconds_count", **labels) >= 3
    assert running.counted("api_gateway_request_duration_seconds_bucket", le="+Inf", **labels) >= 3
    shown = running.gateway.metrics(public=True)
    for found, _ in shown["api_gateway_requests_total"]:
        assert set(found) == {"method", "endpoint", "status_code"}
        assert found["endpoint"] != "/metrics", "who asks for the metrics is not counted in them"
    assert all(set(found) == {"method", "endpoint"} for found, _ in shown["api_gateway_request_duration_seconds_count"])
    running.until_counted("api_gateway_requests_total", endpoint="/health", status_code="200")


def test_what_is_going_on_is_counted_and_is_over_when_the_client_leaves(running: Scene) -> None:
    """S3-41."""
    stub, failed = running.stub("llm"), running.breaker("llm")["failure_count"]
    with stub.holding():
        with closing(running.gateway.connect()) as waiting:
            request = f"GET /api/v1/llm/slow HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {caller()}\r\n\r\n"
            waiting.sendall(request.encode())
            until(lambda: running.counted("api_gateway_active_requests") == 1, "it is under way")
        # Whoever asks for the metrics is no request that is going on.
        until(lambda: running.counted("api_gateway_active_requests") == 0, "it is over")
    assert [labels for labels, _ in running.gateway.metrics(public=True)["api_gateway_active_requests"]] == [{}]
    assert running.breaker("llm")["failure_count"] == failed


def test_calls_of_services_are_counted_and_the_gateways_own_are_not(running: Scene) -> None:
    """S3-42."""
    assert running.send("DELETE", "/api/v1/sms/x", None, {"X-Stub-Status": "404"}).status == 404
    labels = {"service": "sms", "method": "DELETE"}
    running.until_counted("api_gateway_service_requests_total", 1, status_code="404", **labels)
    assert running.counted("api_gateway_service_request_duration_seconds_count", **labels) >= 1
    shown = running.gateway.metrics(public=True)
    names = {found["service"] for found, _ in shown["api_gateway_service_requests_total"]}
    assert names <= set(SERVICES)
    assert all(
        set(found) == {"service", "method", "status_code"} for found, _ in shown["api_gateway_service_requests_total"]
    )
    states = {found["service"]: value for found, value in shown["api_gateway_circuit_breaker_state"]}
    assert states == dict.fromkeys(SERVICES, 0)


def test_metrics_are_what_prometheus_reads(running: Scene) -> None:
    answer = running.gateway.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "# TYPE api_gateway_requests_total counter" in answer.text
    assert "# TYPE api_gateway_request_duration_seconds histogram" in answer.text
    assert "# TYPE api_gateway_active_requests gauge" in answer.text


# -- logs ----------------------------------------------------------------------------------------------------------


def test_each_request_is_one_line_and_no_credential_stands_in_it(running: Scene, key: str) -> None:
    """S3-46: what was asked, answered, and which service was called."""
    token = caller(sub="ada")
    fields = {"X-Request-ID": "logged-1", "User-Agent": "a test", "Cookie": "session=of-a-browser"}
    began = monotonic()
    assert running.gateway.ask("POST", "/api/v1/sms/send?to=1", {}, fields, bearer=token).status == 200
    line = line_of(running, "logged-1")
    waited = monotonic() - began
    assert (line["event"], line["level"]) == ("response", "info")
    datetime.fromisoformat(line["timestamp"])
    asked, told, call = line["request"], line["response"], line["service_call"]
    assert (asked["method"], asked["path"], asked["client_ip"]) == ("POST", "/api/v1/sms/send", "127.0.0.1")
    assert (asked["user"], asked["user_agent"]) == ("ada", "a test")
    assert told["status_code"] == 200
    # Seconds: of milliseconds there would be more than went by.
    assert 0 < told["process_time"] <= waited
    assert (call["service"], call["instance"], call["attempts"]) == ("sms", running.stub("sms").address, 1)
    whole = running.gateway.stdout + running.gateway.stderr
    assert all(secret not in whole for secret in (token, key, SECRET, "of-a-browser"))


def test_the_level_of_a_line_is_that_of_its_status(running: Scene) -> None:
    for number, (status, level) in enumerate({200: "info", 404: "warning", 503: "error"}.items()):
        fields = {"X-Stub-Status": str(status), "X-Request-ID": f"level-{number}"}
        running.send("GET", "/api/v1/auth/x", None, fields)
        line = line_of(running, f"level-{number}")
        assert line["level"] == level


def test_many_clients_at_once_are_answered_each(running: Scene) -> None:
    gate = threading.Barrier(8)

    def ask(number: int) -> str:
        gate.wait()
        return str(running.send("GET", f"/api/v1/auth/{number}").json["path"])

    with ThreadPoolExecutor(8) as crowd:
        assert list(crowd.map(ask, range(8))) == [f"/{number}" for number in range(8)]
