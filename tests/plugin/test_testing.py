"""The kit that plugins are tested with: what it lets pass, and what it finds."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from headgate.plugin import Answer, Delay, Deny, Pass, Plugin, Request, Response, Verdict
from headgate.plugin.testing import (
    BadVerdict,
    PluginContract,
    Unusable,
    a_request,
    a_response,
    ask,
    check_contract,
    edit,
    load_plugin,
    odd_requests,
)


class Returning(Plugin):
    """Returns what it is configured with."""

    def on_request(self, request: Request) -> Verdict | None:
        self.seen = request
        verdict: Verdict | None = self.config["verdict"]
        return verdict

    def on_response(self, request: Request, response: Response) -> Pass | None:
        self.seen = request
        edits: Pass | None = self.config["verdict"]
        return edits


def returning(verdict: object) -> Any:
    return load_plugin(Returning, {"verdict": verdict})


def test_requests_have_defaults_and_everything_can_be_said() -> None:
    request = a_request("/x", {"A": "1"}, "text", method="PUT", route="r")
    assert (request.method, request.path, request.body, request.route) == ("PUT", "/x", b"text", "r")
    assert request.headers.get("a") == "1"
    assert a_request().method == "GET"
    assert a_request(body=b"").method == "POST"
    with pytest.raises(TypeError):
        a_request(nonsense=1)


@pytest.mark.parametrize("verdict", [Pass(), Deny(), Answer(), Delay(1)])
def test_verdicts_come_back(verdict: Verdict) -> None:
    assert ask(returning(verdict), a_request()) is verdict


def test_none_is_pass() -> None:
    assert ask(returning(None), a_request()) == Pass()


@pytest.mark.parametrize(
    "verdict",
    [
        5,
        True,
        (),
        Deny(200),
        Answer(99),
        Delay(-1),
        Pass({"Host": "a"}),
        Pass({"X-Forwarded-For": "a"}),
        Pass({"X-Request-ID": "a"}),
        Pass({"A": "a\n"}),
    ],
)
def test_what_the_gateway_could_not_obey_is_found(verdict: object) -> None:
    with pytest.raises(BadVerdict):
        ask(returning(verdict), a_request())
    with pytest.raises(AssertionError, match="on_request, no body: "):
        check_contract(Returning, {"verdict": verdict})


def test_bodies_are_given_as_they_would_be() -> None:
    plugin = returning(None)
    seen = []
    for needs, overflow, body in (
        (0, "refuse", b"abc"),
        (3, "refuse", b"abc"),
        (3, "refuse", None),
        (3, "none", b"abcd"),
    ):
        plugin.needs_body, plugin.body_overflow = needs, overflow
        assert ask(plugin, a_request(body=body)) == Pass()
        seen.append(plugin.seen.body)
    assert seen == [None, b"abc", b"", None]
    plugin.body_overflow = "refuse"
    assert ask(plugin, a_request(body=b"abcd")) == Deny(413)


def test_answers_are_edited_as_they_would_be() -> None:
    edited = edit(
        returning(Pass({"X-A": "1"}, ["server"])), a_request(body=b"x"), a_response(200, {"Server": "s", "B": "2"})
    )
    assert edited == a_response(200, {"B": "2", "X-A": "1"})
    assert edit(returning(None), a_request(), edited) is edited
    for verdict in (Deny(), Answer(), 5, Pass({"Date": "now"})):
        with pytest.raises(BadVerdict):
            edit(returning(verdict), a_request(), edited)


def test_the_contract_tells_every_breach() -> None:
    class Careless(Plugin):
        needs_body = 1 << 20

        def on_request(self, request: Request) -> Verdict | None:
            assert request.body is not None
            request.body.decode()
            tenant = request.identity.tenant
            return Pass({"X-Tenant": tenant}) if tenant else None

        def on_response(self, request: Request, response: Response) -> Pass | None:
            return Pass({"X-Type": response.headers.get_all("Content-Type")[0]})

    with pytest.raises(AssertionError) as caught:
        check_contract(Careless)
    said = str(caught.value)
    assert said.startswith("Careless:\n")
    assert "on_request, a body that is no UTF-8: raised UnicodeDecodeError" in said
    assert "on_request, a tenant of control characters: the value of X-Tenant holds a line break" in said
    assert "on_response, no headers to no body: raised IndexError" in said


def test_the_contract_as_a_class_finds_the_same() -> None:
    class Contract(PluginContract):
        plugin = Returning
        config = {"verdict": 5}

    Contract().test_what_headgate_check_would_say()
    with pytest.raises(AssertionError, match="expected a verdict or None, got int"):
        Contract().test_odd_requests_and_answers()
    with pytest.raises(Unusable):
        load_plugin(Plugin)


def test_odd_requests_are_requests() -> None:
    assert len(odd_requests()) > 20
    for name, request in odd_requests().items():
        assert isinstance(request, Request), name
        assert request.headers.items() is not None


def test_the_kit_brings_no_test_library() -> None:
    script = (
        "import sys, headgate.plugin.testing; print(*sorted({'pytest', 'hypothesis', 'uvloop'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""
