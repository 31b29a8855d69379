"""The preset `service-mesh` on its own file: every endpoint, both ways to a service, routes, errors and telemetry.

One gateway serves all of this module. A test that makes a breaker or a limit act has a service of its own for it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from tests.acceptance.gateway import Answer, Gateway
from tests.acceptance.stub import Stub
from tests.config.test_loader import SERVICE_MESH
from tests.control.driver import until

# The file of the description, letter by letter, but for the place where its service runs.
DESCRIBED = SERVICE_MESH.replace("  - name: api-gateway\n", "  - name: api-gateway\n    url: {a}\n", 1)
MORE = """\
  - name: svc-a
    url: {a}
    rate_limit: {{enabled: false}}
    routes:
      - {{name: exact, match: {{path: /exact$}}}}
      - {{name: beta, match: {{path: /env, headers: {{X-Env: beta}}}}, destinations: [{{service_name: svc-b}}]}}
      - {{name: stable, match: {{path: /env}}}}
      - {{name: first, match: {{path: /order}}}}
      - {{name: second, match: {{path: /order/deeper}}, destinations: [{{service_name: svc-b}}]}}
      - {{name: lower, match: {{path: /lower, method: get}}}}
      - {{name: keyed, match: {{path: /keyed, headers: {{X-Partner-Key: open sesame}}}}}}
      - name: all-to-a
        match: {{path: /zero}}
        destinations: [{{service_name: svc-a, weight: 100}}, {{service_name: svc-b, weight: 0}}]
      - name: halves
        match: {{path: /halves}}
        destinations: [{{service_name: svc-a}}, {{service_name: svc-b, weight: 100}}]
      - {{name: nobody, match: {{path: /nobody}}, destinations: []}}
      - {{name: nothing, match: {{path: /nothing}}, destinations: [{{service_name: svc-a, weight: 0}}]}}
      - name: shares
        match: {{path: /shares}}
        destinations: [{{service_name: svc-a, weight: 80}}, {{service_name: svc-b, weight: 20}}]
  - {{name: svc-b, url: "{b}", rate_limit: {{enabled: false}}}}
  - {{name: away, url: "http://127.0.0.1:1", circuit_breaker: {{enabled: true, threshold: 5, timeout: 30}}}}
  - {{name: unguarded, url: "http://127.0.0.1:1", circuit_breaker: {{enabled: false}}}}
  - {{name: unsteady, url: "{c}", rate_limit: {{enabled: false}}}}
  - {{name: few, url: "{a}", rate_limit: {{enabled: true, requests: 3, window: 3600}}}}
  - {{name: many, url: "{a}", rate_limit: {{enabled: true, requests: 100, window: 3600}}}}
  - {{name: free, url: "{a}", rate_limit: {{enabled: false, requests: 1, window: 60}}}}
  - {{name: watched, url: "{a}", rate_limit: {{enabled: true, requests: 50, window: 3600}}}}
  - {{name: plain, url: "{a}"}}
"""


class Mesh(NamedTuple):
    """A gateway and the services behind it; `c` is asked by nobody but the service `unsteady`."""

    gateway: Gateway
    a: Stub
    b: Stub
    c: Stub

    def named(self, service: str, path: str = "/x", method: str = "GET", **more: Any) -> Answer:
        """Ask a service by its name, in an envelope."""
        return self.gateway.ask(
            "POST", "/api/v1/proxy", {"service_name": service, "path": path, "method": method, **more}
        )

    def breaker(self, service: str) -> dict[str, Any]:
        found: dict[str, Any] = self.gateway.shown("/api/v1/telemetry/circuit-breakers")[service]
        return found


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    folder = tmp_path_factory.mktemp("mesh")
    with Stub("a") as a, Stub("b") as b, Stub("c") as c:
        text = (DESCRIBED + MORE).format(a=a.url, b=b.url, c=c.url)
        # The file that CONFIG_FILE names where nobody says otherwise, in the working directory.
        (folder / "mesh_config.yaml").write_text(text)
        with Gateway(folder, "service-mesh") as gateway:
            yield Mesh(gateway, a, b, c)


@pytest.fixture(autouse=True)
def fresh(mesh: Mesh) -> None:
    for stub in (mesh.a, mesh.b, mesh.c):
        stub.forget()


def is_moment(text: str) -> bool:
    """Tell whether this is a moment of this day or so, in ISO 8601."""
    return abs((datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()) < 86_400


# -- health and the start page -------------------------------------------------------------------------------------


def test_health(mesh: Mesh) -> None:
    """S0-04, S0-05."""
    mesh.named("svc-a")
    health = until(
        lambda: (said := mesh.gateway.shown("/api/v1/health"))["status"] == "healthy" and said, "all workers are there"
    )
    assert set(health) == {"status", "service", "version", "features", "circuit_breakers", "rate_limiters"}
    assert health["service"] == "service-mesh"
    assert re.fullmatch(r"\d+\.\d+\.\d+", health["version"])
    assert health["features"] == {
        "tracing_enabled": True,
        "metrics_enabled": True,
        "circuit_breaker_enabled": True,
        "rate_limit_enabled": True,
        "mtls_enabled": False,
    }
    # All services but the one that has switched it off.
    assert (health["circuit_breakers"], health["rate_limiters"]) == (10, 7)
    assert mesh.gateway.ask("HEAD", "/api/v1/health").status == 200
    assert mesh.gateway.ask("POST", "/api/v1/health").status == 405


def test_start_page_and_documentation(mesh: Mesh) -> None:
    said = mesh.gateway.shown("/")
    assert set(said) == {"service", "version", "description"}
    for path in ("/docs", "/redoc"):
        page = mesh.gateway.get(path)
        assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "/api/v1/telemetry/spans" in page.text
    listed = mesh.gateway.shown("/openapi.json")["paths"]
    assert set(listed) >= {
        "/api/v1/health",
        "/api/v1/proxy",
        "/api/v1/proxy/{service_name}/{path}",
        "/api/v1/config",
        "/api/v1/config/services",
        "/api/v1/config/services/{service_name}",
        "/api/v1/config/routes",
        *(f"/api/v1/telemetry/{name}" for name in ("spans", "metrics", "logs", "circuit-breakers", "rate-limiters")),
    }
    assert list(listed["/api/v1/proxy/{service_name}/{path}"]) == ["post"]


def test_every_answer_says_how_long_it_took(mesh: Mesh) -> None:
    answers = [
        mesh.gateway.get("/api/x"),
        mesh.gateway.get("/api/v1/health"),
        mesh.gateway.get("/api/v1/config"),
        mesh.gateway.get("/nowhere"),
        mesh.gateway.ask("POST", "/api/v1/proxy", {}),
        mesh.named("svc-a"),
        mesh.named("unknown"),
    ]
    assert [answer.status for answer in answers] == [200, 200, 200, 404, 422, 200, 404]
    for answer in answers:
        assert 0 <= float(answer.headers["x-process-time"]) < 60


def test_web_pages_of_all_origins_may_ask(mesh: Mesh) -> None:
    asked = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "PUT"}
    asked["Access-Control-Request-Headers"] = "X-Anything"
    answer = mesh.gateway.ask("OPTIONS", "/api/v1/proxy", headers=asked)
    assert answer.status in (200, 204)
    assert answer.headers["access-control-allow-origin"] == "*"
    assert {"GET", "POST", "PUT", "DELETE", "OPTIONS"} <= set(
        re.split(", ?", answer.headers["access-control-allow-methods"])
    )
    assert answer.headers["access-control-allow-headers"].lower() in ("*", "x-anything")
    assert mesh.gateway.get("/api/x", {"Origin": "https://a.example"}).headers["access-control-allow-origin"] == "*"


# -- a service by its name -----------------------------------------------------------------------------------------


def test_an_envelope_goes_to_the_service_it_names(mesh: Mesh) -> None:
    """S0-06, S0-07."""
    answer = mesh.named(
        "svc-b",
        "/items/7",
        "PUT",
        headers={"X-One": "1", "Accept-Language": "nl"},
        query_params={"q": "a&b", "empty": "", "é": "ü"},
        body={"k": [1, 2.5, "x"]},
    )
    assert answer.status == 200
    (seen,) = mesh.b.seen
    assert (seen.method, seen.path) == ("PUT", "/items/7")
    assert seen.query == [("q", "a&b"), ("empty", ""), ("é", "ü")]
    assert "q=a%26b" in seen.target
    assert (seen.headers["x-one"], seen.headers["accept-language"]) == ("1", "nl")
    assert (seen.headers["content-type"], seen.json) == ("application/json", {"k": [1, 2.5, "x"]})
    assert mesh.a.seen == []


@pytest.mark.parametrize("method", ["GET", "post", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_an_envelope_says_the_method(mesh: Mesh, method: str) -> None:
    assert mesh.named("svc-a", method=method).json["method"] == method.upper()


def test_an_envelope_needs_no_more_than_three_things(mesh: Mesh) -> None:
    """S0-06: headers and query_params are {} where they are left out, body is null."""
    assert mesh.named("svc-a", "/api/y").json["path"] == "/api/y"
    assert (mesh.a.seen[0].query, mesh.a.seen[0].body) == ([], b"")
    told = mesh.named("svc-a", headers={}, query_params={}, body=None).json
    assert (told["query"], told["body"]) == ([], "")


def test_the_path_of_an_envelope_is_written_as_people_write(mesh: Mesh) -> None:
    """JSON holds blanks and letters of any language; a query may stand behind the path, as in a URL."""
    seen = mesh.named("svc-a", "/an item/ü?x=1", query_params={"q": "a&b"}).json
    assert (seen["path"], seen["query"]) == ("/an%20item/%C3%BC", [["x", "1"], ["q", "a&b"]])
    assert mesh.named("svc-a", "/x#y").status == 400


def test_an_envelope_may_be_large(mesh: Mesh) -> None:
    sound = "x" * (4 << 20)
    assert mesh.named("svc-a", method="POST", body={"sound": sound}).status == 200
    assert mesh.a.seen[0].json == {"sound": sound}


@pytest.mark.parametrize(
    ("envelope", "missing"),
    [
        ({}, ["service_name", "path", "method"]),
        ({"service_name": "svc-a", "path": "/x"}, ["method"]),
        ({"path": "/x", "method": "GET"}, ["service_name"]),
        ({"service_name": "svc-a", "method": "GET"}, ["path"]),
        ({"service_name": 7, "path": "/x", "method": "GET"}, ["service_name"]),
        ({"service_name": "svc-a", "path": "/x", "method": "GET", "headers": {"a": 1}}, ["headers"]),
        ({"service_name": "svc-a", "path": "/x", "method": "GET", "query_params": []}, ["query_params"]),
        ({"service_name": "svc-a", "path": "/x", "method": "BREW"}, ["method"]),
    ],
)
def test_a_wrong_envelope_is_told_what_is_wrong(mesh: Mesh, envelope: Mapping[str, Any], missing: list[str]) -> None:
    """S0-08, S0-14."""
    answer = mesh.gateway.ask("POST", "/api/v1/proxy", envelope)
    assert answer.status == 422
    assert [each["loc"][-1] for each in answer.json["detail"]] == missing
    assert all({"loc", "msg", "type"} <= set(each) for each in answer.json["detail"])
    assert mesh.a.seen == []


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"x"', b"\xff"])
def test_no_json_is_no_envelope(mesh: Mesh, raw: bytes) -> None:
    """S0-08."""
    answer = mesh.gateway.ask("POST", "/api/v1/proxy", raw, {"Content-Type": "application/json"})
    assert answer.status == 422
    assert isinstance(answer.json["detail"], list)


def test_the_answer_is_that_of_the_service(mesh: Mesh) -> None:
    """S0-09: status, header fields and bytes as they are, whatever they are; no envelope around them."""
    image = bytes(range(256))
    for type_, body in (("text/plain", b"hi"), ("image/png", image), ("application/json", b'{"a": 1}')):
        mesh.a.answer.type, mesh.a.answer.body = type_, body
        answer = mesh.named("svc-a")
        assert (answer.status, answer.headers["content-type"], answer.body) == (200, type_, body)
    mesh.a.answer.headers = {"X-Own": "1"}
    mesh.a.answer.status = 418
    answer = mesh.named("svc-a")
    assert (answer.status, answer.headers["x-own"]) == (418, "1")
    mesh.a.forget()
    mesh.a.answer.status = 204
    answer = mesh.named("svc-a")
    assert (answer.status, answer.body) == (204, b"")
    mesh.a.forget()
    mesh.a.answer.type, mesh.a.answer.body = "text/event-stream", b"data: 1\n\ndata: 2\n\n"
    assert mesh.named("svc-a").body == b"data: 1\n\ndata: 2\n\n"


def test_a_path_names_the_service(mesh: Mesh) -> None:
    """S0-10: slashes, query, header fields but the connection's, and any body, go on as they came."""
    sent = {"X-One": "1", "Content-Type": "text/plain"}
    answer = mesh.gateway.ask("POST", "/api/v1/proxy/svc-a/deep/er/path?x=1&y=a%26b&x=2", b"no json", sent)
    assert answer.status == 200
    (seen,) = mesh.a.seen
    assert (seen.method, seen.path, seen.body) == ("POST", "/deep/er/path", b"no json")
    assert seen.query == [("x", "1"), ("y", "a&b"), ("x", "2")]
    assert (seen.headers["x-one"], seen.headers["content-type"]) == ("1", "text/plain")
    assert seen.headers["host"] == mesh.a.address


def test_the_service_of_the_path_wins_over_routes(mesh: Mesh) -> None:
    """S0-11: the route of /api leads to another service."""
    assert mesh.gateway.ask("POST", "/api/v1/proxy/svc-b/api/x").json["stub"] == "b"
    assert mesh.named("svc-b", "/api/x").json["stub"] == "b"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/api/v1/proxy", "/api/v1/proxy/svc-a/x"])
def test_the_proxy_api_takes_post_alone(mesh: Mesh, path: str, method: str) -> None:
    """S0-12."""
    answer = mesh.gateway.ask(method, path)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert mesh.a.seen == []


def test_an_unknown_service(mesh: Mesh) -> None:
    """S0-13."""
    for answer in (mesh.gateway.ask("POST", "/api/v1/proxy/unknown/x"), mesh.named("unknown")):
        assert (answer.status, answer.json) == (404, {"error": "Service not found"})
        assert answer.headers["content-type"] == "application/json"


# -- routes --------------------------------------------------------------------------------------------------------


def test_a_route_takes_whole_segments_and_its_method(mesh: Mesh) -> None:
    """S0-15."""
    assert mesh.gateway.get("/api/x").json["path"] == "/api/x"
    assert mesh.gateway.get("/api").json["path"] == "/api"
    for answer in (mesh.gateway.ask("POST", "/api/x"), mesh.gateway.get("/apiary")):
        assert (answer.status, answer.json) == (404, {"error": "Service not found"})


def test_a_dollar_ends_a_path(mesh: Mesh) -> None:
    """S0-16: and the method of a route is compared without case."""
    assert mesh.gateway.get("/exact").status == 200
    assert mesh.gateway.get("/exact/x").status == 404
    assert mesh.gateway.get("/lower").status == 200
    assert mesh.gateway.ask("POST", "/lower").status == 404


def test_a_route_asks_for_header_fields(mesh: Mesh) -> None:
    """S0-17."""
    assert mesh.gateway.get("/env", {"x-ENV": "beta"}).json["stub"] == "b"
    assert mesh.gateway.get("/env", {"X-Env": "gamma"}).json["stub"] == "a"
    assert mesh.gateway.get("/env").json["stub"] == "a"


def test_the_first_route_of_the_file_wins(mesh: Mesh) -> None:
    """S0-18."""
    assert mesh.gateway.get("/order/deeper").json["stub"] == "a"


def test_weights(mesh: Mesh) -> None:
    """S0-19, S0-20, S0-21."""
    assert {mesh.gateway.get("/zero").json["stub"] for _ in range(20)} == {"a"}
    # Each side of evenly shared requests is missed by all of forty once in 10^12 runs.
    assert {mesh.gateway.get("/halves").json["stub"] for _ in range(40)} == {"a", "b"}
    drawn = Counter(mesh.gateway.get("/shares").json["stub"] for _ in range(100))
    # Five deviations around 80.
    assert 60 <= drawn["a"] < 100
    # No target is no service.
    for path in ("/nobody", "/nothing"):
        answer = mesh.gateway.get(path)
        assert (answer.status, answer.json) == (404, {"error": "Service not found"})


# -- failures, breakers --------------------------------------------------------------------------------------------


def test_a_breaker_opens_and_is_shown(mesh: Mesh) -> None:
    """S0-22, S0-43, S0-49."""
    for _ in range(5):
        refused = mesh.gateway.ask("POST", "/api/v1/proxy/away/x")
        assert (refused.status, list(refused.json)) == (502, ["error"])
    until(lambda: mesh.gateway.ask("POST", "/api/v1/proxy/away/x").status == 503, "the breaker is open")
    answer = mesh.gateway.ask("POST", "/api/v1/proxy/away/x")
    assert answer.json == {"error": "Service unavailable"}
    shown = mesh.breaker("away")
    assert is_moment(shown.pop("last_failure_time"))
    assert shown == {"state": "open", "failure_count": 5, "threshold": 5, "timeout": 30}
    assert mesh.breaker("svc-a") == {
        "state": "closed",
        "failure_count": 0,
        "last_failure_time": None,
        "threshold": 5,
        "timeout": 30,
    }


def test_a_success_forgets_failures(mesh: Mesh) -> None:
    """S0-23."""
    for close in ("head", "head", "head", "head", "", "head", "head", "head", "head"):
        mesh.c.answer.close = close
        assert mesh.named("unsteady").status == (502 if close else 200)
        if not close:
            # A worker notes how a call went behind its answer, and the next one is another's.
            until(lambda: mesh.breaker("unsteady")["failure_count"] == 0, "failures are forgotten")
    assert until(lambda: (said := mesh.breaker("unsteady"))["failure_count"] == 4 and said, "all is counted")
    assert mesh.breaker("unsteady")["state"] == "closed"


def test_an_answer_is_no_failure(mesh: Mesh) -> None:
    """S0-24: a service that answers 500 is there; its answer passes unchanged."""
    mesh.b.answer.status, mesh.b.answer.body = 500, b'{"own": 1}'
    for _ in range(6):
        answer = mesh.named("svc-b")
        assert (answer.status, answer.json) == (500, {"own": 1})
    assert mesh.breaker("svc-b")["state"] == "closed"


def test_a_breaker_that_is_off_never_opens(mesh: Mesh) -> None:
    """S0-25."""
    assert [mesh.named("unguarded").status for _ in range(10)] == [502] * 10
    assert "unguarded" not in mesh.gateway.shown("/api/v1/telemetry/circuit-breakers")


# -- limits --------------------------------------------------------------------------------------------------------


def test_a_limit_is_that_of_the_service(mesh: Mesh) -> None:
    """S0-27: of two clients together the 101st in the window is refused, by either way."""
    addresses = [{"X-Forwarded-For": "10.0.0.1", "User-Agent": "one"}, {"User-Agent": "two"}]
    statuses = Counter(
        mesh.gateway.ask("POST", "/api/v1/proxy/many/x", headers=addresses[turn % 2]).status for turn in range(101)
    )
    assert statuses == {200: 100, 429: 1}
    assert mesh.named("many").status == 429


def test_what_a_refused_request_is_told(mesh: Mesh) -> None:
    """S0-28."""
    assert [mesh.named("few").headers["x-ratelimit-remaining"] for _ in range(3)] == ["2", "1", "0"]
    answer = mesh.named("few")
    assert (answer.status, answer.json) == (429, {"error": "Rate limit exceeded"})
    assert (answer.headers["x-ratelimit-limit"], answer.headers["x-ratelimit-remaining"]) == ("3", "0")
    # Seconds to go, and no moment.
    assert 0 <= int(answer.headers["x-ratelimit-reset"]) <= 3600


def test_a_limit_that_is_off(mesh: Mesh) -> None:
    """S0-30."""
    assert [mesh.named("free").status for _ in range(5)] == [200] * 5
    assert "free" not in mesh.gateway.shown("/api/v1/telemetry/rate-limiters")


def test_what_limits_have_left(mesh: Mesh) -> None:
    """S0-44."""
    mesh.named("plain")
    shown = until(
        lambda: (said := mesh.gateway.shown("/api/v1/telemetry/rate-limiters"))["plain"]["remaining"] == 99 and said,
        "the request is counted",
    )
    assert set(shown["plain"]) == {"requests", "window", "remaining", "reset"}
    assert (shown["plain"]["requests"], shown["plain"]["window"]) == (100, 60)
    assert 0 < shown["plain"]["reset"] <= 60


# -- configuration -------------------------------------------------------------------------------------------------


def test_the_configuration_is_shown(mesh: Mesh) -> None:
    """S0-32, S0-33."""
    whole = mesh.gateway.shown("/api/v1/config")
    services = mesh.gateway.shown("/api/v1/config/services")
    assert whole["services"] == services
    assert [each["name"] for each in services][:3] == ["api-gateway", "svc-a", "svc-b"]
    first = services[0]
    assert first["circuit_breaker"].items() >= {"enabled": True, "threshold": 5, "timeout": 30}.items()
    assert first["rate_limit"] == {"enabled": True, "requests": 100, "window": 60}
    assert [each["name"] for each in first["routes"]] == ["api-gateway-route"]


def test_one_service_is_shown(mesh: Mesh) -> None:
    """S0-34."""
    shown = mesh.gateway.shown("/api/v1/config/services/few")
    assert (shown["name"], shown["rate_limit"]["requests"]) == ("few", 3)
    missing = mesh.gateway.get("/api/v1/config/services/nobody")
    assert missing.status == 404
    assert missing.json == {"detail": "Service not found"}


def test_routes_are_shown(mesh: Mesh) -> None:
    """S0-35."""
    routes = mesh.gateway.shown("/api/v1/config/routes")
    assert [each["name"] for each in routes][:3] == ["api-gateway-route", "exact", "beta"]
    first = routes[0]
    assert first["match"] == {"path": "/api", "method": "GET", "headers": {}}
    assert first["destinations"] == [{"service_name": "api-gateway", "weight": 100}]
    assert routes[2]["match"]["headers"] == {"X-Env": "beta"}
    # Everybody may ask, and some names speak of what only some know.
    keyed = next(each for each in routes if each["name"] == "keyed")
    assert keyed["match"]["headers"] == {"X-Partner-Key": "***"}
    assert next(each for each in routes if each["name"] == "halves")["destinations"] == [
        {"service_name": "svc-a", "weight": 100},
        {"service_name": "svc-b", "weight": 100},
    ]


def test_a_service_that_says_nothing_has_the_defaults(mesh: Mesh) -> None:
    """S0-31, with the defaults of the variables."""
    shown = mesh.gateway.shown("/api/v1/config/services/plain")
    assert shown["circuit_breaker"].items() >= {"enabled": True, "threshold": 5, "timeout": 30}.items()
    assert shown["rate_limit"] == {"enabled": True, "requests": 100, "window": 60}


# -- telemetry -----------------------------------------------------------------------------------------------------


def proxied(mesh: Mesh, path: str, count: int) -> list[dict[str, Any]]:
    """Ask `count` times by envelope; return all spans of those traces, once they are there."""
    for _ in range(count):
        assert mesh.named("svc-a", path).status == 200

    def spans() -> list[dict[str, Any]] | None:
        listed = mesh.gateway.shown("/api/v1/telemetry/spans?limit=1000")
        traces = {span["trace_id"] for span in listed if span["tags"].get("path") == path}
        return [span for span in listed if span["trace_id"] in traces] if len(traces) == count else None

    return until(spans, "the spans")


def test_spans(mesh: Mesh) -> None:
    """S0-39: a request, and below it the call of the service."""
    spans = proxied(mesh, "/spans/of/three", 3)
    requests = [span for span in spans if span["parent_id"] is None]
    assert len(requests) == 3
    for span in spans:
        assert set(span) == {
            "id",
            "trace_id",
            "parent_id",
            "name",
            "service_name",
            "start_time",
            "end_time",
            "duration_ms",
            "tags",
        }
        assert is_moment(span["start_time"])
        assert is_moment(span["end_time"])
        assert span["end_time"] >= span["start_time"]
        assert span["duration_ms"] >= 0
        assert span["service_name"] == "svc-a"
        assert all(isinstance(value, str) for value in span["tags"].values())
    for request in requests:
        assert request["name"] == "GET /spans/of/three"
        tags = request["tags"]
        assert (tags["method"], tags["path"], tags["status_code"]) == ("GET", "/spans/of/three", "200")
        assert tags["client_host"] == "127.0.0.1"
        (child,) = [span for span in spans if span["parent_id"] == request["id"]]
        assert child["trace_id"] == request["trace_id"]
    # Who looks leaves no trace.
    listed = mesh.gateway.shown("/api/v1/telemetry/spans?limit=1000")
    assert not [span for span in listed if span["tags"].get("path", "").startswith("/api/v1/telemetry")]
    # The service was told the trace, and is a part of it.
    told = {seen.headers["traceparent"].split("-")[1] for seen in mesh.a.seen}
    assert told == {request["trace_id"] for request in requests}


def test_what_has_just_ended_is_told_at_once(mesh: Mesh) -> None:
    """S0-39, S0-42, S0-44: nobody has to wait for it, and to ask again."""
    for turn in range(1, 4):
        path = f"/at/once/{turn}"
        assert mesh.named("watched", path).status == 200
        spans = mesh.gateway.shown("/api/v1/telemetry/spans")
        assert [span["name"] for span in spans if span["tags"].get("path") == path and span["parent_id"] is None]
        assert path in [line["metadata"].get("path") for line in mesh.gateway.shown("/api/v1/telemetry/logs")]
        assert mesh.gateway.shown("/api/v1/telemetry/rate-limiters")["watched"]["remaining"] == 50 - turn


def test_the_span_of_a_failure_says_what_went_wrong(mesh: Mesh) -> None:
    mesh.named("unguarded", "/span/of/failure")
    (span,) = until(
        lambda: [
            each
            for each in mesh.gateway.shown("/api/v1/telemetry/spans?limit=1000")
            if each["tags"].get("path") == "/span/of/failure"
        ],
        "the span",
    )
    assert (span["tags"]["status_code"], span["tags"]["error"]) == ("502", "connect_refused")
    assert span["tags"]["error_message"]


def test_spans_come_in_pages_and_are_bounded(mesh: Mesh) -> None:
    """S0-40."""
    proxied(mesh, "/pages", 3)
    answer = mesh.gateway.get("/api/v1/telemetry/spans?limit=2")
    assert len(answer.json) == 2
    following = mesh.gateway.get(f"/api/v1/telemetry/spans?limit=2&cursor={answer.headers['next-cursor']}")
    assert {span["id"] for span in following.json}.isdisjoint(span["id"] for span in answer.json)


def test_all_spans_are_told_and_not_the_last_page_of_them(mesh: Mesh) -> None:
    first = proxied(mesh, "/long-ago", 1)[0]["id"]
    for _ in range(101):
        assert mesh.gateway.get("/nowhere").status == 404
    assert first in [span["id"] for span in mesh.gateway.shown("/api/v1/telemetry/spans")]


def test_metrics(mesh: Mesh) -> None:
    """S0-41: labels are those of routes, so that no client can make a list grow by paths of its own."""
    mesh.gateway.get("/api/a")
    mesh.gateway.get("/api/b")
    mesh.named("svc-a", "/c")
    points = mesh.gateway.shown("/api/v1/telemetry/metrics")
    assert all(set(point) == {"name", "value", "timestamp", "labels"} for point in points)
    assert is_moment(points[0]["timestamp"])
    durations = [point for point in points if point["name"] == "request_duration_seconds"]
    assert all(set(point["labels"]) == {"method", "path", "status_code"} for point in durations)
    by_labels = {(point["labels"]["method"], point["labels"]["path"]): point["value"] for point in durations}
    assert 0 < by_labels["GET", "/api"] < 60
    assert 0 < by_labels["GET", "/api/v1/proxy/{service_name}/{path}"] < 60
    assert {point["labels"]["status_code"] for point in durations} >= {"200"}


def test_logs(mesh: Mesh) -> None:
    """S0-42."""
    mesh.named("svc-a", "/logged")
    line = until(
        lambda: next(
            (
                each
                for each in mesh.gateway.shown("/api/v1/telemetry/logs")
                if each["metadata"].get("path") == "/logged"
            ),
            None,
        ),
        "the line",
    )
    assert set(line) == {"timestamp", "level", "message", "service_name", "trace_id", "span_id", "metadata"}
    assert is_moment(line["timestamp"])
    assert (line["level"], line["service_name"]) == ("INFO", "svc-a")
    assert (line["metadata"]["method"], line["metadata"]["status_code"]) == ("GET", 200)
    assert line["trace_id"]
