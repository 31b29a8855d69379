"""Test plugins without a gateway: make one as the gateway does, call its hooks, and hold it to the contract.

    from headgate.plugin.testing import PluginContract, a_request, ask, load_plugin

    class TestNoBots(PluginContract):
        plugin = NoBots
        config = {}

    def test_bots_are_refused():
        verdict = ask(load_plugin(NoBots), a_request(headers={"User-Agent": "some bot"}))
        assert verdict == Deny(reason="a bot")

Law: imports no test library. pytest collects the class as it would collect any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from headgate.core.identity import Identity
from headgate.plugin.base import Plugin
from headgate.plugin.loading import Unusable, hooks_of, make
from headgate.plugin.records import Headers, Request, Response
from headgate.plugin.verdicts import (
    Answer,
    BadVerdict,
    Delay,
    Deny,
    Pass,
    Rules,
    Verdict,
    check_answer,
    check_delay,
    check_deny,
)

__all__ = [
    "BadVerdict",
    "PluginContract",
    "Unusable",
    "a_request",
    "a_response",
    "ask",
    "check_contract",
    "edit",
    "load_plugin",
    "odd_requests",
    "odd_responses",
]

Given = Mapping[str, str] | Iterable[tuple[str, str]]

# What the gateway writes with its default settings; a configuration may add names (request_id, identity.forward).
_OWNED_OF_REQUESTS = frozenset(
    (
        *(b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-prefix"),
        *(b"x-forwarded-proto", b"x-forwarded-server", b"x-real-ip", b"via", b"expect", b"proxy-authorization"),
        *(b"x-request-id", b"x-correlation-id"),
    )
)
_OWNED_OF_ANSWERS = frozenset((b"date", b"via", b"x-request-id", b"x-correlation-id"))
_OF_REQUESTS = Rules("request", _OWNED_OF_REQUESTS.__contains__)
_OF_ANSWERS = Rules("response", _OWNED_OF_ANSWERS.__contains__)


def load_plugin(cls: type[Plugin], config: Mapping[str, Any] | None = None) -> Any:
    """Make a plugin as the gateway does for an entry with this `config`.

    Raises:
        Unusable: for everything that `headgate check` would find.
    """
    return make(cls, dict(config or {}))


def a_request(path: str = "/", headers: Given = (), body: bytes | str | None = None, **more: Any) -> Request:
    """Make a request; `more` are further fields of it. One with a body is a POST unless it says otherwise."""
    if isinstance(body, str):
        body = body.encode()
    usual: dict[str, Any] = {
        "method": "GET" if body is None else "POST",
        "host": "example.test",
        "address": "192.0.2.7",
        "request_id": "req-1",
        "route": "route",
        "service": "service",
        "time": 1_767_225_600.0,
    }
    return Request(path=path, headers=Headers.of(headers), body=body, **(usual | more))


def a_response(status: int = 200, headers: Given = ()) -> Response:
    """Make the head of an answer."""
    return Response(status, Headers.of(headers))


def ask(plugin: Plugin, request: Request) -> Verdict:
    """Call on_request as the gateway does and return the verdict, `Pass()` for None.

    A body that is larger than `needs_body` is dealt with as there: the verdict is `Deny(413)`, or the hook is called
    without it. A plugin that needs none is given none.

    Raises:
        BadVerdict: for a verdict that the gateway could not obey.
    """
    body = request.body
    if plugin.needs_body == 0:
        request = request._replace(body=None)
    elif body is None:
        request = request._replace(body=b"")
    elif len(body) > plugin.needs_body:
        if plugin.body_overflow == "refuse":
            return Deny(413)
        request = request._replace(body=None)
    verdict: object = plugin.on_request(request)
    match verdict:
        case None:
            return Pass()
        case Pass():
            _OF_REQUESTS.edits(verdict)
        case Deny():
            check_deny(verdict)
        case Answer():
            check_answer(verdict, _OF_ANSWERS)
        case Delay():
            check_delay(verdict)
        case _:
            raise BadVerdict(f"expected a verdict or None, got {type(verdict).__name__}")
    return verdict


def edit(plugin: Plugin, request: Request, response: Response) -> Response:
    """Call on_response as the gateway does and return the head of the answer as it would go on.

    Raises:
        BadVerdict: for a verdict that the gateway could not obey.
    """
    verdict: object = plugin.on_response(request._replace(body=None), response)
    if verdict is None:
        return response
    if not isinstance(verdict, Pass):
        raise BadVerdict(f"an answer can only pass: expected Pass or None, got {type(verdict).__name__}")
    fields = [(name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in response.headers.items()]
    return Response(response.status, Headers(_OF_ANSWERS.edits(verdict).apply(fields)))


# -- the contract -------------------------------------------------------------------------------------------------


def odd_requests() -> dict[str, Request]:
    """Return requests that are all possible and that few people think of, by what is odd about them."""
    bodies = {
        "an empty body": b"",
        "a body that is no UTF-8": b"\xff\xfe\x00",
        "a body of JSON that is cut": b'{"messages": [{"content": "a',
        "a body of deep JSON": b"[" * 5_000 + b"]" * 5_000,
        "a body of JSON of another kind": b'{"messages": {"content": [null, 1, true]}, "prompt": {}}',
        "a body of JSON that is a list": b"[1, null, [], {}]",
        "a body with a huge number": b'{"n": ' + b"9" * 5_000 + b"}",
        "a body with a lone surrogate": b'{"prompt": "\\ud800"}',
        "a body with a key twice": b'{"prompt": "a", "prompt": "b"}',
        "a body with NaN": b'{"prompt": NaN}',
    }
    service = Identity("service", "s", "tenant \u00fc\u4e2d", frozenset({"a", "b"}), "gold", claims={"sub": ["x"]})
    many = [(f"X-{place}", "v") for place in range(100)]
    json = {"Content-Type": "application/json"}
    return {
        "nothing at all": Request(),
        "no body": a_request(),
        "an unknown method": a_request(method="BREW"),
        "a preflight": a_request(method="OPTIONS", headers={"Origin": "null"}),
        "a long path": a_request("/" + "a/" * 2_000),
        "an escaped path": a_request("/%2F%00%C3%BC"),
        "a long query": a_request(query="a=%zz&" * 500),
        "many headers": a_request(headers=many),
        "a header twice": a_request(headers=[("X-Tenant", "a"), ("x-tenant", "b")]),
        "headers that are no UTF-8": Request(
            headers=Headers([(b"Authorization", b"\xff\xfe"), (b"X-Tenant", b"\x80")])
        ),
        "an empty header": a_request(headers={"Authorization": "", "Content-Type": "", "X-Tenant": ""}),
        "an IPv6 client": a_request(address="2001:db8::1"),
        "a client on a Unix socket": a_request(address="unix:"),
        "a caller with everything": a_request(identity=service),
        "a tenant of control characters": a_request(identity=Identity("user", "a\r\nb", "t\r\nX-Evil: 1\x00")),
        "a WebSocket": a_request(headers={"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "x"}, body=None),
        "a body that was too large": a_request(method="POST", headers=json, body=None),
        **{name: a_request(headers=json, body=body) for name, body in bodies.items()},
    }


def odd_responses() -> dict[str, Response]:
    """Return heads of answers, by what is odd about them."""
    return {
        **{f"status {status}": a_response(status) for status in (101, 200, 204, 206, 302, 304, 404, 429, 500, 599)},
        "no headers": Response(),
        "headers that are no UTF-8": Response(200, Headers([(b"Content-Type", b"\xff")])),
        "a header twice": a_response(200, [("Set-Cookie", "a=1"), ("set-cookie", "b=2")]),
    }


def check_contract(cls: type[Plugin], config: Mapping[str, Any] | None = None) -> None:
    """Hold a plugin to what the gateway expects of each: it can be made, raises nothing, gives verdicts to be obeyed.

    Raises:
        AssertionError: with every breach.
    """
    plugin = load_plugin(cls, config)
    hooks = hooks_of(plugin)
    breaches: list[str] = []
    requests = odd_requests()
    for name, request in requests.items() if "on_request" in hooks else ():
        try:
            ask(plugin, request)
        except Exception as error:
            breaches.append(f"on_request, {name}: {_told(error)}")
    for name, response in odd_responses().items() if "on_response" in hooks else ():
        for request_name in ("nothing at all", "no body", "a caller with everything"):
            try:
                edit(plugin, requests[request_name], response)
            except Exception as error:
                breaches.append(f"on_response, {name} to {request_name}: {_told(error)}")
    assert not breaches, f"{cls.__name__}:\n" + "\n".join(breaches)


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, BadVerdict) else f"raised {type(error).__name__}: {error}"


class PluginContract:
    """The contract as tests for pytest: derive from it and set `plugin` and `config`."""

    plugin: ClassVar[type[Plugin]]
    config: ClassVar[Mapping[str, Any]] = {}

    def test_what_headgate_check_would_say(self) -> None:
        """It can be imported, and takes its configuration."""
        load_plugin(self.plugin, self.config)

    def test_an_unknown_key_is_refused(self) -> None:
        """A slip in the configuration is found, where the plugin says what it takes."""
        if getattr(self.plugin, "Config", None) is not None:
            try:
                load_plugin(self.plugin, {**self.config, "no such key": 1})
            except Unusable:
                return
            raise AssertionError("a key that is not in Config was taken")

    def test_odd_requests_and_answers(self) -> None:
        """Whatever comes, it raises nothing and gives verdicts that can be obeyed."""
        check_contract(self.plugin, self.config)
