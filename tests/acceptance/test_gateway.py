"""What the acceptance tests stand on: the gateway as a process, and the services behind it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.gateway import Gateway, headgate
from tests.acceptance.stub import Stub

ECHO = {"name": "echo", "routes": [{"name": "all"}], "retry": {"attempts": 0}}


def test_a_service_obeys_the_headers_and_keeps_what_it_saw(tmp_path: Path) -> None:
    with Stub("one") as stub:
        files = ({"workers": 1}, {"services": [{**ECHO, "url": stub.url}]})
        with Gateway(tmp_path, None, *files, port_variable=None) as gateway:
            told = gateway.ask("PUT", "/x/y?a=1&a=b%26", {"k": 1}, {"X-One": "1"})
            assert (told.status, told.json["stub"], told.json["method"]) == (200, "one", "PUT")
            assert stub.seen[0].query == [("a", "1"), ("a", "b&")]
            assert (stub.seen[0].path, stub.seen[0].json) == ("/x/y", {"k": 1})
            assert stub.seen[0].headers["x-one"] == "1"
            wanted = {"X-Stub-Status": "201", "X-Stub-Type": "text/plain", "X-Stub-Body": "hi"}
            answer = gateway.get("/", wanted | {"X-Stub-Headers": '{"X-Two": "2"}'})
            assert (answer.status, answer.body) == (201, b"hi")
            assert (answer.headers["content-type"], answer.headers["x-two"]) == ("text/plain", "2")
            assert gateway.get("/", {"X-Stub-Close": "head"}).status == 502
            assert gateway.get("/", {"X-Stub-Type": "text/event-stream", "X-Stub-Body": "data: 1"}).text == "data: 1"
            stub.answer.status = 503
            assert gateway.get("/").status == 503
            stub.forget()
            assert gateway.get("/").status == 200
            assert len(stub.seen) == 1
            assert "headgate_requests_total" in gateway.metrics()
        assert gateway.ended() == 0


def test_a_gateway_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="servces"):
        Gateway(tmp_path, None, "servces: []\n", port_variable=None)
    assert headgate(tmp_path, "check", str(tmp_path / "own-0.yaml")).returncode == 1
