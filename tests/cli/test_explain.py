"""explain says what a worker would do: every way a request can go, one row each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headgate.cli.explain import text
from headgate.cli.explanation import Question, explain
from headgate.cli.main import main
from headgate.config.declarations import Layer
from headgate.config.loader import load
from headgate.config.resolve import ResolvedConfig

CONFIG = """
services:
  - name: chat
    endpoints: [http://10.0.0.1:8001/base, {url: http://10.0.0.2:8001, weight: 3}]
    max_body: 2MiB
    routes:
      - name: chat
        match: {path: /api/chat, method: [GET, POST]}
        destinations: [{service_name: chat, weight: 3}, {service_name: empty, weight: 1}]
        rewrite: {strip_prefix: /api, host: preserve}
        query: {set: {source: gateway}}
        headers: {request: {remove: [X-Debug], set: {X-Route: "{route}"}}}
        timeout: {connect: 5, deadline_header: X-Deadline}
      - {name: gold, match: {path: /api/chat, method: GET, headers: {X-Tier: gold}}}
      - {name: old, match: {path: {template: "/old/{page}"}}, redirect: "https://example.com/{page}?{query}"}
      - {name: fixed, match: {path: /robots.txt}, respond: {body: "no"}}
      - {name: climb, match: {path: {template: "/t/{a}/{b}"}}, rewrite: {path: "/{a}/x/{b}"}}
      - {name: hosted, match: {path: /hosted, host: "*.example.com"}}
  - name: empty
    routes: [{name: nobody, match: {path: /nobody}}, {name: off, match: {path: /off}, destinations: []}]
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ResolvedConfig:
    file = tmp_path_factory.mktemp("explain") / "headgate.yaml"
    file.write_text(CONFIG)
    result = load([file], environ={})
    assert result.config is not None, result.problems
    return result.config


def ask(config: ResolvedConfig, method: str, target: str, host: str | None = None, **fields: str) -> dict[str, Any]:
    pairs = [(name.replace("_", "-"), value) for name, value in fields.items()]
    return explain(config, Question(method, target, host, pairs))


@pytest.mark.parametrize(
    ("method", "target", "verdict"),
    [
        ("GET", "/api/chat", "sent to chat or empty by route chat"),
        ("PUT", "/api/chat", "refused with 405: this path answers GET, POST only"),
        ("GET", "/nowhere", "refused with 404: no route matches"),
        ("GET", "/old/a?b=c", "redirected with 308 to https://example.com/a?b=c"),
        ("GET", "/old/a", "redirected with 308 to https://example.com/a"),
        ("GET", "/robots.txt", "answered with 200, as route fixed says"),
        ("GET", "/nobody", "refused with 503 by route nobody: no service it leads to has an endpoint"),
        ("GET", "/off", "refused by route off: no destination has weight"),
        ("GET", "/ready", "answered by the gateway itself: /ready is in admin.expose"),
        ("GET", "/a/../../b", "refused with 400 (bad_path): the path climbs above its root"),
        ("GET", "/a%2Fb", "refused with 400 (bad_path): an escaped slash is not accepted in this path"),
        ("GET", "http://us er/", "refused with 400 (bad_path): control characters and spaces, raw or escaped"),
        ("GET", "http://a..b/", "refused with 400 (bad_host): the host must be a DNS name"),
        ("GET", "api/chat", "refused with 400 (bad_path): the path must begin with a slash"),
    ],
)
def test_every_way_a_request_can_go(config: ResolvedConfig, method: str, target: str, verdict: str) -> None:
    explained = ask(config, method, target)
    assert explained["verdict"].startswith(verdict)
    assert text(explained).startswith(explained["verdict"])


def test_it_is_said_who_tells_where_a_service_runs() -> None:
    found = "services: [{name: chat, discovery: {type: dns, name: chat.internal}, routes: [{name: all}]}]"
    config = load([], environ={}, layers=[Layer("test", found)]).config
    assert config is not None
    explained = explain(config, Question("GET", "/", None, [], ""))
    assert explained["verdict"] == "sent to chat by route all"
    assert explained["services"][0]["found_by"] == "dns chat.internal (A and AAAA)"
    assert "found by" in text(explained)


def test_the_chosen_route_is_shown_with_everything_that_holds_for_it(config: ResolvedConfig) -> None:
    explained = ask(config, "POST", "/API/../api//chat/%41?q=1")
    assert explained["request"]["path"] == "/api/chat/A"
    route = explained["route"]
    assert route["sent_upstream"] == "/chat/A?q=1&source=gateway"
    assert route["named_parts"] == {"path": "A"}
    assert route["request_headers"] == ["remove X-Debug", "set X-Route: {route}"]
    assert (route["timeouts"]["connect"], route["timeouts"]["deadline_header"]) == ("5 s", "X-Deadline")
    assert route["body_at_most"] == f"{2 << 20} bytes"
    chat, empty = explained["services"]
    assert (chat["share"], empty["share"]) == ("75%", "25%")
    assert chat["endpoints"] == [
        "http://10.0.0.1:8001/base/chat/A?q=1&source=gateway (25%)",
        "http://10.0.0.2:8001/chat/A?q=1&source=gateway (75%)",
    ]
    assert chat["balancer"] == "round_robin"
    assert chat["host_sent"] == "the client's"
    assert empty["endpoints"] == []


def test_header_fields_decide_and_it_is_said_why(config: ResolvedConfig) -> None:
    plain = ask(config, "GET", "/api/chat")
    assert plain["route"]["name"] == "chat"
    why = {step["route"]: step["why"] for step in plain["considered"]}
    assert why["gold"].startswith("does not hold:")
    assert why["hosted"] == "the host is not *.example.com"
    assert ask(config, "GET", "/api/chat", X_Tier="gold")["route"]["name"] == "gold"


def test_fields_that_never_reach_a_route_decide_nothing(config: ResolvedConfig) -> None:
    # A name with an underscore is dropped by the wire, as in a worker.
    explained = explain(config, Question("GET", "/api/chat", None, [("X_Tier", "gold"), ("X-Forwarded-For", "x")]))
    assert explained["route"]["name"] == "chat"


def test_the_host_comes_from_the_url_the_option_or_the_field(config: ResolvedConfig) -> None:
    assert ask(config, "GET", "http://a.example.com/hosted")["route"]["name"] == "hosted"
    assert ask(config, "GET", "/hosted", "A.Example.Com.")["request"]["host"] == "a.example.com"
    assert ask(config, "GET", "/hosted", Host="a.example.com:8080")["route"]["name"] == "hosted"
    assert "404" in ask(config, "GET", "/hosted", "example.com")["verdict"]


def test_a_long_list_of_routes_is_cut_behind_the_one_taken() -> None:
    steps = [{"route": f"r{number}", "taken": number == 30, "why": "w"} for number in range(50)]
    said = text({"verdict": "v", "considered": steps})
    assert "-> r30" in said
    assert "r31" not in said
    assert "and 19 more" in said


def test_the_command_prints_it_for_people_and_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "headgate.yaml"
    file.write_text(CONFIG)
    command = ["explain", "GET", "/api/chat", "-c", str(file), "-H", "X-Tier: gold"]
    assert main(command) == 0
    assert "\n  -> gold " in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["route"]["name"] == "gold"
