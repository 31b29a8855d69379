"""The preset ai-microservices as its description has it: services, ids, breakers, own endpoints, errors, metrics, logs.

One gateway with two workers, a real Redis and all variables at their defaults, but where things are. The numbers in
docstrings are those of the cases of the description.
"""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.acceptance.ai_services import BREAKERS, SERVICES, Named, Scene, caller, scene
from tests.acceptance.gateway import Answer
from tests.control.driver import until
from tests.stores.redis.servers import RedisServer

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
CHAT = "/api/v1/chat/messages"


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, redis: RedisServer) -> Iterator[tuple[Scene, Answer]]:
    """A gateway, and what it said first of its health."""
    plugin = tmp_path_factory.mktemp("gateway")
    (plugin / "broken.py").write_text(
        "from headgate.plugin import Plugin\n\n\nclass Broken(Plugin):\n"
        "    def on_request(self, request):\n        raise RuntimeError('a secret of the inside')\n"
    )
    routes = [{"name": "broken", "match": {"path": "/broken"}, "plugins": [{"module": "broken", "class": "Broken"}]}]
    # Nothing is away because this machine is slow.
    patient = [{"name": name, "timeout": 60} for name in ("redis", "qdrant")]
    file = {"services": [{"name": "search-service", "routes": routes}], "health": {"dependencies": patient}}
    with scene(plugin, redis, file, ready=False) as made:
        first = until(lambda: _health(made), "the first answer")
        made.gateway.wait_ready()
        yield made, first


def _health(made: Scene) -> Answer | None:
    """Return the first answer of a whole gateway; a slow machine may have one of another before."""
    assert made.gateway.process.poll() is None, made.gateway.stderr
    try:
        answer = made.gateway.get("/health")
    except OSError:
        return None
    checks = set(answer.json.get("checks", {}).values())
    assert checks <= {"ok", "unknown"}, "nothing is away"
    return answer if answer.json["status"] == "healthy" and checks == {"ok"} else None


@pytest.fixture(scope="module")
def running(begun: tuple[Scene, Answer]) -> Scene:
    return begun[0]


def echoed(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer
    told: dict[str, Any] = answer.json
    return told


# -- services ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", SERVICES, ids=lambda each: each.breaker)
def test_each_service_is_reached_by_its_path(running: Scene, named: Named) -> None:
    """S2-03, S2-05: the prefix is taken off, the query and the body stay, the methods are those of the route."""
    for path in (f"/api/v1/{named.path}", f"/ai/{named.later}"):
        for method in named.methods:
            told = echoed(
                running.send(method, f"{path}/user/1?k=5&q=a%26b", {"user": "1"} if method != "GET" else None)
            )
            assert (told["stub"], told["method"], told["path"]) == (named.breaker, method, "/user/1")
            assert told["query"] == [["k", "5"], ["q", "a&b"]]
            assert told["body"] == ('{"user": "1"}' if method != "GET" else "")
        assert echoed(running.send("POST", path, b""))["path"] == "/"
        for method in {"PUT", "PATCH", "DELETE"} - set(named.methods):
            answer = running.send(method, f"{path}/1")
            assert (answer.status, answer.json["error"]["type"]) == (405, "method_not_allowed")
            assert answer.headers["allow"] == ", ".join(sorted(named.methods))


def test_bodies_pass_unchanged_in_both_directions(running: Scene) -> None:
    """S2-07: a large image goes up, binary comes back, and the upstream's own headers stay."""
    image = b"\x89PNG\r\n" + bytes(range(256)) * 32768
    headers = {"Content-Type": "multipart/form-data; boundary=x", "X-Stub-Type": "application/octet-stream"}
    more = {"X-Stub-Body": "ok", "X-Stub-Headers": json.dumps({"X-Model": "v7", "Cache-Control": "no-store"})}
    answer = running.send("POST", "/api/v1/vision/classify", image, headers | more)
    assert (answer.status, answer.body, answer.headers["x-model"]) == (200, b"ok", "v7")
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == ("application/octet-stream", "no-store")
    seen = running.stubs["vision-service"].seen[-1]
    assert seen.body == image
    assert seen.headers["content-type"] == "multipart/form-data; boundary=x"


def test_what_is_too_large_or_malformed_is_refused(running: Scene) -> None:
    """More than 10 MiB is 413, header fields of more than 8 KiB are 400, and so is a path that climbs out."""
    with socket.create_connection(("127.0.0.1", running.gateway.port)) as raw:
        raw.sendall(b"POST /api/v1/chat/x HTTP/1.1\r\nHost: x\r\nContent-Length: 10485761\r\n\r\n")
        assert raw.recv(65536).startswith(b"HTTP/1.1 413 ")
    large = {f"X-Large-{number}": "a" * 2000 for number in range(5)}
    assert running.send("GET", CHAT, None, large).status == 400
    assert running.send("GET", "/../etc/passwd").status == 400
    assert running.send("GET", "/api/v1/chat/%00").status == 400


def test_unknown_paths_are_not_found(running: Scene) -> None:
    answer = running.send("GET", "/api/v1/nope/x")
    assert (answer.status, answer.json["error"]["type"]) == (404, "not_found")
    assert answer.json["error"]["correlation_id"] == answer.headers["x-correlation-id"]


# -- correlation ids, and other header fields ------------------------------------------------------------------------


def test_one_correlation_id_flows_through_the_whole_system(running: Scene) -> None:
    """S2-09: to the service, in the answer, in the log and in error bodies."""
    ours = {"X-Correlation-ID": "abc-123-def"}
    answer = running.send("POST", CHAT, b"", ours)
    assert answer.headers["x-correlation-id"] == "abc-123-def"
    assert running.stubs["chatbot-service"].seen[-1].headers["x-correlation-id"] == "abc-123-def"
    line = running.logged("abc-123-def")
    assert (line["method"], line["path"], line["status_code"]) == ("POST", CHAT, 200)
    assert running.send("GET", "/nope", None, ours).json["error"]["correlation_id"] == "abc-123-def"


def test_a_correlation_id_is_made_where_none_is_provided(running: Scene) -> None:
    """Every request gets a unique one; one that is malformed is replaced."""
    made = [running.send("GET", CHAT).headers["x-correlation-id"] for _ in range(3)]
    assert len(set(made)) == 3
    assert all(UUID.fullmatch(each) for each in made)
    for malformed in ("with blanks in it", "x" * 129, "<script>"):
        answer = running.send("GET", CHAT, None, {"X-Correlation-ID": malformed})
        made = [answer.headers["x-correlation-id"]]
        assert UUID.fullmatch(made[0])
        assert running.stubs["chatbot-service"].seen[-1].headers["x-correlation-id"] == made[0]


def test_services_are_told_of_the_trace_and_of_no_credential(running: Scene) -> None:
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    answer = running.send("GET", CHAT, None, {"Authorization": "Bearer x", "traceparent": parent})
    seen = running.stubs["chatbot-service"].seen[-1].headers
    assert seen["traceparent"].split("-")[1] == "4bf92f3577b34da6a3ce929d0e0e4736" == answer.headers["x-trace-id"]
    assert seen["traceparent"] != parent
    assert "authorization" not in seen
    assert "x-service-auth" not in seen


def test_answers_say_who_passed_them_on_and_how_long_it_took(running: Scene) -> None:
    answer = running.send("GET", CHAT, None, {"X-Stub-Delay": "0.02"})
    assert answer.headers["x-proxied-by"] == "api-gateway"
    assert re.fullmatch(r"\d+\.\d\dms", answer.headers["x-response-time"])
    assert float(answer.headers["x-response-time"].removesuffix("ms")) >= 20
    assert float(answer.headers["x-process-time"]) >= 0.02
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-trace-id"])
    own = running.gateway.get("/health").headers
    assert "x-process-time" in own
    assert "x-correlation-id" in own


def test_security_headers_are_set(running: Scene) -> None:
    for path in (CHAT, "/health", "/nope"):
        headers = running.send("GET", path).headers
        assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")


# -- own endpoints -----------------------------------------------------------------------------------------------------


def test_health(running: Scene) -> None:
    """S2-31."""
    health = until(
        lambda: (said := running.gateway.shown("/health")).get("checks", {}).get("qdrant") == "ok" and said, "the looks"
    )
    assert set(health) == {"status", "timestamp", "service", "checks"}
    assert health["service"] == "api_gateway"
    assert health["checks"] == {"redis": "ok", "qdrant": "ok"}
    assert ISO.fullmatch(health["timestamp"])
    assert abs(datetime.fromisoformat(health["timestamp"]).timestamp() - time.time()) < 60
    assert running.stubs["qdrant"].seen[0].path == "/healthz"


def test_the_first_words_are_that_all_is_well(begun: tuple[Scene, Answer]) -> None:
    """Who waits for the gateway reads of no check that nobody has made (how long it waits: control/surface/part.py)."""
    first = begun[1].json
    assert (first["status"], first["checks"]) == ("healthy", {"redis": "ok", "qdrant": "ok"})


def test_health_in_other_forms(running: Scene) -> None:
    assert running.gateway.shown("/health/live") == {"status": "alive"}
    assert running.gateway.shown("/health/ready") == {"status": "ready"}
    assert running.gateway.get("/ready").status == 200
    ready = until(lambda: (said := running.gateway.shown("/readiness"))["status"] == "ok" and said, "the looks")
    assert set(ready["services"]) == {"redis", "qdrant"}
    assert all(each["status"] == "ok" and each["latency_ms"] > 0 for each in ready["services"].values())


def test_the_state_of_all_breakers(running: Scene) -> None:
    """S2-27: all seven are listed, used or not, and every worker says the same."""
    for _ in range(42):
        running.send("GET", "/api/v1/pricing/quote")
    calls = len(running.stubs["pricing-service"].seen)
    expected = {"state": "closed", "failure_count": 0, "recent_failures": 0, "total_calls": calls}
    said = until(
        lambda: (found := running.breakers())["pricing-service"]["total_calls"] == calls and found, "all are counted"
    )
    assert calls >= 42
    assert expected.items() <= said["pricing-service"].items()
    assert set(said) == set(BREAKERS)
    assert all(running.breakers()["pricing-service"]["total_calls"] == calls for _ in range(6))
    wrapped = running.gateway.shown("/api/v1/circuit-breakers")
    assert set(wrapped) == {"circuit_breakers", "proxy_circuits", "timestamp"}
    assert {"name", "success_count", "last_failure_time"} <= set(wrapped["circuit_breakers"]["pricing-service"])
    assert wrapped["proxy_circuits"].keys() == wrapped["circuit_breakers"].keys() == said.keys()


def test_the_list_of_routes(running: Scene) -> None:
    routes = running.gateway.shown("/routes")["routes"]
    paths = {each["match"]["path"] for each in routes}
    assert paths >= {f"/api/v1/{each.path}" for each in SERVICES} | {f"/ai/{each.later}" for each in SERVICES}


def test_own_endpoints_are_never_limited(running: Scene) -> None:
    """S2-19."""
    mine = caller()
    for path in ("/health", "/metrics", "/circuit-breakers"):
        asked = [running.gateway.get(path, mine) for _ in range(70)]
        assert {each.status for each in asked} == {200}


# -- errors ------------------------------------------------------------------------------------------------------------


def test_a_fault_inside_tells_nothing_of_the_inside(running: Scene) -> None:
    """S2-37."""
    answer = running.send("GET", "/broken/x", None, {"X-Correlation-ID": "abc-123"})
    assert (answer.status, answer.headers["content-type"]) == (500, "application/json")
    assert answer.json == {
        "error": {
            "type": "internal_server_error",
            "message": "An unexpected error occurred",
            "correlation_id": "abc-123",
        }
    }
    assert answer.headers["x-correlation-id"] == "abc-123"


def test_errors_of_services_pass_unchanged(running: Scene) -> None:
    wanted = {"X-Stub-Status": "422", "X-Stub-Body": '{"detail":"no such model"}'}
    answer = running.send("POST", "/api/v1/fraud/check", {}, wanted)
    assert (answer.status, answer.json) == (422, {"detail": "no such model"})


# -- metrics -----------------------------------------------------------------------------------------------------------


def test_metrics_for_prometheus(running: Scene) -> None:
    """S2-33: the endpoint is the path of the route, never the path that was asked for."""
    answer = running.gateway.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    running.send("POST", "/api/v1/vision/classify/secret-name", b"")
    running.until_counted("http_requests_total", method="POST", endpoint="/api/v1/vision", status="200")
    shown = running.gateway.metrics(public=True)
    assert {tuple(found) for found, _ in shown["http_requests_total"]} == {("method", "endpoint", "status")}
    assert {tuple(found) for found, _ in shown["http_request_duration_seconds_count"]} == {("method", "endpoint")}
    assert running.counted("http_request_duration_seconds_bucket", endpoint="/api/v1/vision", le="+Inf") >= 1
    assert b"secret-name" not in running.gateway.get("/metrics").body
    for line in (
        b"# HELP http_request_errors_total Requests answered with a status of 400 or above.\n",
        b"# TYPE http_request_errors_total counter\n",
        b"# HELP gateway_circuit_breaker_state 1 for the state that a circuit breaker is in, 0 for the others.\n",
        b"# TYPE circuit_breaker_state gauge\n",
        b"# TYPE http_request_duration_seconds histogram\n",
    ):
        assert line in answer.body


def test_errors_are_counted(running: Scene) -> None:
    before = running.counted("http_request_errors_total")
    running.send("GET", "/nope")
    running.send("POST", "/api/v1/forecast/x", b"", {"X-Stub-Status": "500"})
    running.until_counted("http_request_errors_total", least=before + 2)
    running.until_counted("http_request_errors_total", endpoint="/api/v1/forecast", status="500")
    assert running.counted("http_request_errors_total", status="200") == 0


def test_what_is_counted_of_services(running: Scene) -> None:
    running.send("GET", "/api/v1/search/x")
    running.until_counted("gateway_proxy_requests_total", service="search-service", method="GET", status="success")
    running.until_counted("gateway_proxy_request_duration_seconds_count", service="search-service", method="GET")
    assert running.counted("service_up", service_name="search-service") == 1
    running.fail("/api/v1/search/x", 1)
    running.until_counted("gateway_proxy_requests_total", service="search-service", method="POST", status="error")
    # What the gateway answers itself is no call of a service.
    assert running.send("GET", "/routes").status == 200
    for name, series in running.gateway.metrics(public=True).items():
        if name.startswith("gateway_proxy_"):
            assert {labels["service"] for labels, _ in series} <= set(BREAKERS), name


# -- logs --------------------------------------------------------------------------------------------------------------


def test_each_request_is_a_line_of_json(running: Scene) -> None:
    """The fields of the description, under these names; S2-39: refusals are logged, too."""
    running.send("POST", "/api/v1/recommendations", {}, {"X-Correlation-ID": "line-1"})
    running.send("GET", "/nope", None, {"X-Correlation-ID": "line-2"})
    line, refused = running.logged("line-1"), running.logged("line-2")
    assert ISO.fullmatch(line["timestamp"])
    expected = {
        "level": "INFO",
        "message": "Request completed",
        "correlation_id": "line-1",
        "method": "POST",
        "path": "/api/v1/recommendations",
        "status_code": 200,
    }
    assert expected.items() <= line.items()
    assert isinstance(line["duration_ms"], float)
    assert (refused["level"], refused["status_code"]) == ("WARNING", 404)
