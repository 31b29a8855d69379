"""What `headgate explain` says of plugins."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from headgate.cli.explain import text
from headgate.cli.explain_plugins import consult
from headgate.cli.explanation import Question, explain
from headgate.config.declarations import Layer
from headgate.config.loader import load
from headgate.plugin import Answer, Delay, Deny, Pass, Request
from tests.proxy.scripted import MADE, SCRIPTS, plugged


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    SCRIPTS.clear()
    MADE.clear()
    yield


def explained(*plugins: dict[str, Any], target: str = "/calls/7?q=1", **more: Any) -> dict[str, Any]:
    routes = [{"name": "calls", "match": {"path": {"template": "/calls/{id}"}}}]
    document = {"services": [{"name": "api", "url": "http://127.0.0.1:1", "routes": routes}], **more}
    result = load([], environ={}, layers=[Layer("test", json.dumps({**document, "plugins": plugins}))])
    assert result.config is not None, result.problems
    question = Question("GET", target, "example.test", [("Cookie", "secret"), ("X-A", "1")], "192.0.2.7")
    return explain(result.config, question, {})


def raising(_: Request) -> None:
    raise KeyError("secret")


def test_plugins_are_asked_in_their_order_and_told_of_the_request() -> None:
    seen: list[Request] = []
    said = explained(
        plugged(lambda _: Pass({"X-Mac": "secret"}, ["Cookie"]), name="signer"),
        plugged(seen.append, name="second"),
        plugged(lambda _: None, name="reader", needs_body=10),
        plugged(lambda _: Delay(2), name="slow"),
    )
    assert said["plugins"] == [
        "signer: passes it, sets X-Mac, takes off Cookie",
        "second: passes it",
        "reader: not asked here, it reads up to 10 bytes of the body",
        "slow: passes it after 2 s",
    ]
    assert said["verdict"] == "sent to api by route calls"
    assert "secret" not in json.dumps(said)
    assert "Plugins, in their order\n  signer: passes it" in text(said)
    [request] = seen
    assert (request.path, request.query, request.params, request.address) == (
        "/calls/7",
        "q=1",
        {"id": "7"},
        "192.0.2.7",
    )
    assert (request.route, request.service, request.host) == ("calls", "api", "example.test")
    assert request.headers.get("X-Mac") == "secret"
    assert request.headers.get("Cookie") is None


@pytest.mark.parametrize(
    ("hook", "says"),
    [
        (lambda _: Deny(451, "no", "why"), "refuses it with 451: why"),
        (lambda _: Deny(), "refuses it with 403"),
        (lambda _: Answer(201), "answers it with 201"),
        (raising, "raises KeyError"),
        (lambda _: 5, "gives no verdict that can be obeyed: expected a verdict or None, got int"),
        (lambda _: Pass({"Via": "x"}), "gives no verdict that can be obeyed: Via is written by the gateway itself"),
    ],
)
def test_who_has_the_last_word_makes_the_verdict(hook: Any, says: str) -> None:
    behind = plugged(raising, name="behind")
    said = explained(plugged(hook, name="gate"), behind)
    assert said["plugins"] == [f"gate: {says}"]
    assert said["verdict"] == f"by plugin gate of route calls: {says}"


def test_an_error_that_does_not_count_lets_the_next_be_asked() -> None:
    said = explained(plugged(raising, name="gate", on_error="open"), plugged(lambda _: None, name="next"))
    assert said["plugins"] == ["gate: raises KeyError", "next: passes it"]
    assert said["verdict"] == "sent to api by route calls"


def test_who_is_refused_before_comes_to_no_plugin() -> None:
    identity = {"api_keys": {"static": [{"id": "k", "hash": "sha256:" + "0" * 64}], "database": False}}
    said = explained(plugged(raising), identity=identity)
    assert "missing_credentials" in said["verdict"]
    assert "plugins" not in said


def test_where_nobody_knows_who_asks_nobody_is_asked() -> None:
    result = load([], environ={}, layers=[Layer("test", json.dumps({"plugins": [plugged(raising)]}))])
    assert result.source is not None
    route: Any = type("Route", (), {"plugins": tuple(result.source.plugins)})
    asked: Any = None
    config: Any = result.config
    assert consult(config, route, {}, asked, None, "").lines == ["mine: not asked here, the caller is not known"]
