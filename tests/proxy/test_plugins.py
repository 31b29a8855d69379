"""Plugins at a real gateway: what their verdicts do to requests, answers, bodies, and what becomes of their errors."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest

from headgate.plugin import Answer, Delay, Deny, Pass, Request, Response
from tests.proxy.peers import Message, Upstream, Wire, answering, eventually, free_port, get, ok
from tests.proxy.scripted import MADE, SCRIPTS, plugged
from tests.proxy.stage import gateway, on_loop, to
from tests.proxy.test_upgrades import CLOSE, joined

LARGE = b"0123456789abcdef" * 65536
SECRET = "what the client sent"


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Forget the plugins of the test before."""
    SCRIPTS.clear()
    MADE.clear()
    yield


def raising(*_: Any) -> Any:
    raise KeyError(SECRET)


def leaving(*_: Any) -> Any:
    raise SystemExit(SECRET)


# -- requests -----------------------------------------------------------------------------------------------------


@on_loop
async def test_headers_are_set_and_taken_off_and_the_next_plugin_sees_it() -> None:
    seen: list[Message] = []
    first = Pass({"X-Tenant": "acme", "X-List": ["a", "b"]}, ["cookie"])
    requests: list[Request] = []
    entries = [plugged(lambda _: first, name="first"), plugged(requests.append, name="second")]
    async with Upstream(answering(lambda _: ok(), seen)) as upstream, gateway(to(upstream, plugins=entries)) as rig:
        await rig.ask(get("/x", "x-tenant: forged", "Cookie: a", "Accept: b"))
        assert seen[0].get("x-tenant") == "acme"
        assert seen[0].all("x-list") == ["a", "b"]
        assert seen[0].get("cookie") is None
        assert seen[0].get("accept") == "b"
        assert requests[0].headers.get_all("X-Tenant") == ["acme"]
        assert requests[0].headers.get("Cookie") is None
        assert rig.counted("plugin_verdicts_total", plugin="first", verdict="pass") == 1
        assert rig.counted("plugin_verdicts_total", plugin="second", verdict="pass") == 1


@on_loop
async def test_a_request_is_told_as_it_is() -> None:
    requests: list[Request] = []
    route = {"name": "calls", "match": {"path": {"template": "/calls/{id}"}}}
    async with (
        Upstream(answering(lambda _: ok())) as upstream,
        gateway(to(upstream, route=route, plugins=[plugged(requests.append)])) as rig,
    ):
        answer = await rig.ask(get("/calls/%C3%BC?q=%20&x", "X-A: \u00fc", "X-Forwarded-For: 10.0.0.9", method="PUT"))
        assert answer.status == 200
        [request] = requests
        assert (request.method, request.query, request.host, request.scheme) == (
            "PUT",
            "q=%20&x",
            "example.test",
            "http",
        )
        assert request.path == "/calls/%C3%BC"
        assert dict(request.params) == {"id": "%C3%BC"}
        assert (request.route, request.service, request.address) == ("calls", "api", "127.0.0.1")
        assert request.request_id == answer.get("x-request-id")
        assert request.headers.get("x-a") == "\u00fc"
        assert "x-forwarded-for" not in request.headers
        assert request.body is None
        assert request.identity.kind == "anonymous"
        assert request.time > 1_700_000_000
        with pytest.raises(TypeError):
            request.params["id"] = "other"  # type: ignore[index]


@on_loop
async def test_a_refusal_has_the_configured_shape_and_the_connection_goes_on() -> None:
    verdicts = iter([Deny(), Deny(429, "Slow down.", "too eager", 7), Deny(401), None])
    asked: list[Request] = []
    entries = [plugged(lambda _: next(verdicts), name="gate"), plugged(asked.append, name="behind")]
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, plugins=entries)) as rig:
        client = await rig.client()
        await client.send(get())
        first = await client.answer()
        assert (first.status, first.json()["reason"]) == (403, "denied_by_plugin")
        assert first.json()["detail"] == "The request was refused."
        assert first.json()["request_id"] == first.get("x-request-id")
        await client.send(get())
        second = await client.answer()
        assert (second.status, second.get("retry-after")) == (429, "7")
        assert (second.json()["detail"], second.json()["title"]) == ("Slow down.", "Too Many Requests")
        assert b"eager" not in second.body
        await client.send(get())
        assert (await client.answer()).status == 401
        assert asked == []
        await client.send(get())
        assert (await client.answer()).status == 200
        lines = await rig.logged(4)
        assert [line.get("error") for line in lines] == ["denied_by_plugin"] * 3 + [None]
        assert [line.get("detail") for line in lines] == ["gate", "gate: too eager", "gate", None]
        assert rig.counted("plugin_verdicts_total", plugin="gate", verdict="deny") == 3
        assert rig.counted("errors_total", reason="denied_by_plugin") == 3


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@on_loop
async def test_an_answer_takes_the_place_of_the_services(method: str) -> None:
    verdict = Answer(203, "h\u00e9", "text/x-mine", {"X-A": "1", "Set-Cookie": ["a=1", "b=2"]})
    passed = [plugged(None, lambda *_: Pass({"X-Passed": "yes"}), name="before")]
    itself = plugged(lambda _: verdict, lambda *_: Pass({"X-Itself": "yes"}), name="itself")
    after = plugged(raising, raising, name="after")
    headers = {"headers": {"response": {"set": {"X-Edited": "{route}"}}}}
    async with Upstream() as upstream, gateway(to(upstream, plugins=[*passed, itself, after], route=headers)) as rig:
        answer = await rig.ask(get(method=method), method)
        assert (answer.status, answer.get("content-type")) == (203, "text/x-mine")
        assert answer.body == (b"" if method == "HEAD" else "h\u00e9".encode())
        assert answer.get("content-length") == "3"
        assert (answer.get("x-a"), answer.all("set-cookie")) == ("1", ["a=1", "b=2"])
        assert (answer.get("x-passed"), answer.get("x-itself"), answer.get("x-edited")) == ("yes", None, "all")
        assert len(answer.all("date")) == len(answer.all("x-request-id")) == 1
        assert upstream.links == []
        line = (await rig.logged())[0]
        assert line["status_code"] == 203
        assert "error" not in line


@pytest.mark.parametrize("status", [204, 304])
@on_loop
async def test_an_answer_without_a_body(status: int) -> None:
    async with Upstream() as upstream, gateway(to(upstream, plugins=[plugged(lambda _: Answer(status))])) as rig:
        client = await rig.client()
        await client.send(get(), get())
        for _ in range(2):
            answer = await client.answer()
            assert (answer.status, answer.get("content-type"), answer.get("content-length")) == (status, None, None)


@on_loop
async def test_a_delay_delays_and_who_leaves_meanwhile_ends_it() -> None:
    verdicts = iter([Delay(0.001), Delay(0), Delay(60)])
    behind: list[Request] = []
    entries = [plugged(lambda _: next(verdicts), name="slow"), plugged(behind.append, name="behind")]
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, plugins=entries)) as rig:
        assert (await rig.ask(get())).status == 200
        assert (await rig.ask(get())).status == 200
        client = await rig.client()
        await client.send(get())
        await eventually(lambda: rig.counted("plugin_verdicts_total", plugin="slow", verdict="delay") == 3)
        client.close()
        lines = await rig.logged(3)
        assert lines[2]["error"] == "client_closed"
        assert len(behind) == 2


@on_loop
async def test_routes_that_answer_by_themselves_are_asked_too() -> None:
    verdicts = iter([None, Deny()])
    entry = plugged(lambda _: next(verdicts), lambda request, _: Pass({"X-Service": request.service or "none"}))
    route = {"respond": {"status": 200, "body": "fixed"}, "plugins": [entry]}
    async with Upstream() as upstream, gateway(to(upstream, route=route)) as rig:
        answer = await rig.ask(get())
        assert (answer.body, answer.get("x-service")) == (b"fixed", "none")
        assert (await rig.ask(get())).status == 403


@on_loop
async def test_levels_add_up_in_their_order_and_equal_entries_are_one() -> None:
    order: list[str] = []

    def noting(name: str) -> dict[str, Any]:
        return plugged(lambda _: order.append(name), lambda *_: order.append(f"-{name}"), name=name)

    shared = noting("route")
    document: dict[str, Any] = {
        "plugins": [noting("gateway")],
        "services": [
            {
                "name": "api",
                "url": "",
                "plugins": [noting("service")],
                "routes": [
                    {"name": "one", "match": {"path": "/one"}, "plugins": [shared]},
                    {"name": "two", "match": {"path": "/two"}, "plugins": [shared]},
                ],
            }
        ],
    }
    async with Upstream(answering(lambda _: ok())) as upstream:
        document["services"][0]["url"] = upstream.url
        MADE.clear()
        async with gateway(document) as rig:
            # One for the check, one at work.
            assert len(MADE) == 3 * 2
            await rig.ask(get("/one"))
            await rig.ask(get("/two"))
            assert order == ["gateway", "service", "route", "-route", "-service", "-gateway"] * 2
            await rig.ask(get("/nowhere"))
            assert len(order) == 12


# -- bodies -------------------------------------------------------------------------------------------------------


def chunked(*pieces: bytes, trailer: str = "") -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return body + b"0\r\n" + (f"{trailer}\r\n".encode() if trailer else b"") + b"\r\n"


@pytest.mark.parametrize("pieces", [1, 7, 100])
@pytest.mark.parametrize("coding", ["length", "chunks"])
@on_loop
async def test_a_body_is_whole_before_the_hook_and_goes_on_as_it_came(coding: str, pieces: int) -> None:
    body = LARGE[:100_000]
    size = len(body) // pieces
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    seen: list[Message] = []
    requests: list[Request] = []
    entry = plugged(requests.append, lambda request, _: requests.append(request), needs_body=100_000)
    async with (
        Upstream(answering(lambda _: ok(b"done"), seen)) as upstream,
        gateway(to(upstream, plugins=[entry])) as rig,
    ):
        client = await rig.client()
        if coding == "length":
            await client.send(get("/", f"Content-Length: {len(body)}", method="POST"))
        else:
            await client.send(get("/", "Transfer-Encoding: chunked", method="POST"))
        for part in parts:
            await client.send(part if coding == "length" else b"%x\r\n%b\r\n" % (len(part), part))
            await asyncio.sleep(0)
        if coding == "chunks":
            await client.send(b"0\r\n\r\n")
        assert (await client.answer()).body == b"done"
        assert requests[0].body == body
        assert requests[1].body is None
        assert seen[0].body == body
        assert seen[0].get("content-length") == str(len(body))
        await client.send(get("/again", body=b"small", method="POST"))
        assert (await client.answer()).body == b"done"
        assert (requests[2].body, seen[1].body) == (b"small", b"small")


@on_loop
async def test_trailers_follow_a_body_that_was_read() -> None:
    seen: list[Message] = []
    entry = plugged(None, needs_body=100)
    document: dict[str, Any] = {"plugins": [entry], "http": {"trailers": ["X-Sum"]}}
    async with Upstream(answering(lambda _: ok(), seen)) as upstream, gateway(to(upstream, **document)) as rig:
        head = get("/", "Transfer-Encoding: chunked", method="POST")
        assert (await rig.ask(head + chunked(b"ab", b"c", trailer="X-Sum: 5"))).status == 200
        assert (seen[0].body, seen[0].trailers) == (b"abc", [("x-sum", "5")])


@on_loop
async def test_requests_behind_one_another_have_each_their_own_body() -> None:
    bodies: list[bytes | None] = []

    def echo(request: Request) -> Answer | None:
        bodies.append(request.body)
        return Answer(body=request.body or b"") if request.path == "/here" else None

    async with (
        Upstream(answering(lambda request: ok(request.body))) as upstream,
        gateway(to(upstream, plugins=[plugged(echo, needs_body=100)])) as rig,
    ):
        client = await rig.client()
        coded = get("/here", "Transfer-Encoding: chunked", method="POST") + chunked(b"thr", b"ee")
        await client.send(get("/here", body=b"one") + get("/there", body=b"two") + coded + get("/here") + coded)
        assert [(await client.answer()).body for _ in range(5)] == [b"one", b"two", b"three", b"", b"three"]
        assert bodies == [b"one", b"two", b"three", b"", b"three"]


@pytest.mark.parametrize("coding", ["length", "chunks"])
@on_loop
async def test_a_body_that_is_too_large_is_refused(coding: str) -> None:
    asked: list[Request] = []
    async with Upstream() as upstream, gateway(to(upstream, plugins=[plugged(asked.append, needs_body=1000)])) as rig:
        client = await rig.client()
        if coding == "length":
            await client.send(get("/", "Content-Length: 1001", "Expect: 100-continue", method="POST"))
        else:
            await client.send(get("/", "Transfer-Encoding: chunked", method="POST"))
            await eventually(lambda: rig.gateway.in_flight == 1)
            await client.send(b"258\r\n", LARGE[:600], b"\r\n258\r\n", LARGE[:600])
        answer = await client.answer()
        assert (answer.status, answer.json()["reason"], answer.interim) == (413, "payload_too_large", [])
        assert asked == []
        assert upstream.links == []
        assert (await rig.logged())[0]["detail"] == "mine: more than 1000 bytes"


@pytest.mark.parametrize("coding", ["length", "chunks"])
@on_loop
async def test_or_it_streams_past_the_hook(coding: str) -> None:
    seen: list[Message] = []
    asked: list[Request] = []
    entry = plugged(asked.append, needs_body=150_000, body_overflow="none")
    async with Upstream(answering(lambda _: ok(), seen)) as upstream, gateway(to(upstream, plugins=[entry])) as rig:
        if coding == "length":
            request = get("/", body=LARGE, method="POST")
        else:
            pieces = [LARGE[at : at + 10_000] for at in range(0, len(LARGE), 10_000)]
            request = get("/", "Transfer-Encoding: chunked", method="POST") + chunked(*pieces)
        assert (await rig.ask(request)).status == 200
        assert seen[0].body == LARGE
        assert asked[0].body is None


@on_loop
async def test_who_waits_behind_a_body_that_is_too_large_holds_no_more_of_it() -> None:
    entry = plugged(lambda _: Delay(60), needs_body=200_000, body_overflow="none")
    size = 64 << 20
    async with Upstream() as upstream, gateway(to(upstream, plugins=[entry], max_body=size)) as rig:
        client = await rig.client()
        await client.send(get("/", "Transfer-Encoding: chunked", method="POST"), b"%x\r\n" % size)
        await eventually(lambda: rig.gateway.in_flight == 1)
        sending = asyncio.ensure_future(client.send(bytes(size)))
        [connection] = rig.connections
        await eventually(lambda: connection._paused)
        assert not sending.done()
        assert rig.counted("plugin_verdicts_total", plugin="mine", verdict="delay") == 1
        sending.cancel()
        client.cut()
        line = (await rig.logged())[0]
        assert line["error"] == "client_closed"
        assert line["bytes_in"] < 2 << 20
        assert upstream.links == []


@on_loop
async def test_one_plugin_may_read_less_than_the_next() -> None:
    bodies: dict[str, bytes | None] = {}
    entries = [
        plugged(lambda request: bodies.update(small=request.body), name="small", needs_body=3, body_overflow="none"),
        plugged(lambda request: bodies.update(large=request.body), name="large", needs_body=300_000),
        plugged(lambda request: bodies.update(again=request.body), name="again", needs_body=4, body_overflow="none"),
        plugged(lambda request: bodies.update(never=request.body), name="never"),
    ]
    seen: list[Message] = []
    async with Upstream(answering(lambda _: ok(), seen)) as upstream, gateway(to(upstream, plugins=entries)) as rig:
        head = get("/", "Transfer-Encoding: chunked", method="POST")
        pieces = [LARGE[at : at + 1000] for at in range(0, 200_000, 1000)]
        assert (await rig.ask(head + chunked(*pieces))).status == 200
        assert bodies == {"small": None, "large": LARGE[:200_000], "again": None, "never": None}
        assert seen[0].body == LARGE[:200_000]


@on_loop
async def test_the_bound_of_the_route_holds_while_a_body_is_read() -> None:
    entry = plugged(raising, needs_body=100_000)
    async with Upstream() as upstream, gateway(to(upstream, plugins=[entry], max_body=1000)) as rig:
        answer = await rig.ask(get("/", "Transfer-Encoding: chunked", method="POST") + b"7d0\r\n" + LARGE[:2000])
        assert (answer.status, answer.json()["reason"]) == (413, "payload_too_large")
        assert (await rig.logged())[0]["detail"] == "more than 1000 bytes"


@on_loop
async def test_who_waits_for_a_word_before_sending_gets_it_once() -> None:
    seen: list[Message] = []
    async with (
        Upstream(answering(lambda _: ok(b"done"), seen)) as upstream,
        gateway(to(upstream, plugins=[plugged(None, needs_body=100)])) as rig,
    ):
        client = await rig.client()
        await client.send(get("/", "Expect: 100-continue", "Content-Length: 3", method="POST"))
        assert (await client.head()).status == 100
        await client.send(b"abc")
        answer = await client.answer()
        assert (answer.body, answer.interim) == (b"done", [])
        assert seen[0].body == b"abc"


@on_loop
async def test_who_is_refused_is_not_told_to_send() -> None:
    entries = [plugged(lambda _: Deny(), name="first"), plugged(None, name="second", needs_body=100)]
    async with Upstream() as upstream, gateway(to(upstream, plugins=entries)) as rig:
        client = await rig.client()
        await client.send(get("/", "Expect: 100-continue", "Content-Length: 3", method="POST"))
        answer = await client.answer()
        assert (answer.status, answer.interim) == (403, [])
        assert answer.get("connection") == "close"


@on_loop
async def test_a_body_that_does_not_come_ends_by_its_own_deadline() -> None:
    document: dict[str, Any] = {"plugins": [plugged(raising, needs_body=100)], "http": {"body_timeout": 0.05}}
    async with Upstream() as upstream, gateway(to(upstream, **document)) as rig:
        answer = await rig.ask(get("/", "Content-Length: 5", method="POST") + b"ab")
        assert (answer.status, answer.json()["reason"]) == (408, "request_timeout")


@on_loop
async def test_a_client_that_leaves_while_its_body_is_read_ends_it() -> None:
    async with Upstream() as upstream, gateway(to(upstream, plugins=[plugged(raising, needs_body=100)])) as rig:
        client = await rig.client()
        await client.send(get("/", "Content-Length: 5", method="POST") + b"ab")
        await eventually(lambda: rig.gateway.in_flight == 1)
        client.close()
        assert (await rig.logged())[0]["error"] == "client_closed"
        assert upstream.links == []


@on_loop
async def test_broken_chunks_are_the_clients_failure() -> None:
    async with Upstream() as upstream, gateway(to(upstream, plugins=[plugged(raising, needs_body=100)])) as rig:
        answer = await rig.ask(get("/", "Transfer-Encoding: chunked", method="POST") + b"2\r\nabXX\r\n")
        assert answer.status == 400
        assert rig.counted("plugin_errors_total") == 0


@on_loop
async def test_a_body_that_was_read_can_be_sent_again() -> None:
    entry = plugged(None, needs_body=100_000)
    retry = {"attempts": 1, "on": ["reset"], "methods": ["POST"]}
    bodies: list[bytes] = []

    async def play(link: Wire) -> None:
        bodies.append((await link.message()).body)
        if len(bodies) == 1:
            link.cut()
        else:
            await link.send(ok(b"second"))

    async with (
        Upstream(play) as one,
        Upstream(play) as two,
        gateway(to(one, two, plugins=[entry], retry=retry)) as rig,
    ):
        head = get("/", "Transfer-Encoding: chunked", method="POST")
        assert (await rig.ask(head + chunked(LARGE[:30_000], LARGE[:30_000]))).body == b"second"
        assert bodies == [LARGE[:30_000] * 2] * 2


# -- answers ------------------------------------------------------------------------------------------------------


@on_loop
async def test_answers_pass_in_reverse_whole_streamed_and_without_body() -> None:
    told: list[tuple[str, Response]] = []

    def note(name: str) -> dict[str, Any]:
        def hook(_: Request, response: Response) -> Pass:
            told.append((name, response))
            return Pass({f"X-{name}": str(response.status)}, ["Server"])

        return plugged(None, hook, name=name)

    answers = iter(
        [
            ok(b"whole", "Server: s", "Set-Cookie: a"),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nServer: s\r\n\r\n" + chunked(b"a", b"b"),
            b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nServer: s\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: s\r\n\r\n",
            ok(b"bad", status=500),
        ]
    )
    async with (
        Upstream(answering(lambda _: next(answers))) as upstream,
        gateway(to(upstream, plugins=[note("First"), note("Second")])) as rig,
    ):
        client = await rig.client()
        expected = [(200, b"whole"), (200, b"ab"), (304, b""), (200, b""), (500, b"bad")]
        for (status, body), method in zip(expected, ["GET", "GET", "GET", "HEAD", "GET"], strict=True):
            await client.send(get(method=method))
            answer = await client.answer(method)
            assert (answer.status, answer.body, answer.get("server")) == (status, body, None)
            assert answer.get("x-first") == answer.get("x-second") == str(status)
        assert [name for name, _ in told] == ["Second", "First"] * 5
        assert told[0][1].headers.get("Set-Cookie") == "a"
        assert told[1][1].headers.get("X-Second") == "200"
        assert rig.counted("plugin_errors_total") == 0


@on_loop
async def test_an_event_stream_flows_on() -> None:
    entry = plugged(None, lambda *_: Pass({"X-Seen": "1"}))
    async with Upstream() as upstream, gateway(to(upstream, plugins=[entry])) as rig:
        client = await rig.client()
        await client.send(get())
        link = await upstream.accepted()
        await link.message()
        await link.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert (await client.head()).get("x-seen") == "1"
        for event in (b"data: 1\n\n", b"data: 2\n\n"):
            await link.send(b"%x\r\n%b\r\n" % (len(event), event))
            assert await client.chunk() == event
        await link.send(b"0\r\n\r\n")
        assert await client.chunk() == b""
        await client.read(2)


@on_loop
async def test_a_websocket_passes() -> None:
    statuses: list[int] = []
    entry = plugged(None, lambda _, response: statuses.append(response.status), needs_body=100)
    async with Upstream() as upstream, gateway(to(upstream, plugins=[entry])) as rig:
        client, link = await joined(rig, upstream)
        await client.send(CLOSE)
        assert await link.read(len(CLOSE)) == CLOSE
        link.close()
        await client.rest()
        assert (await rig.logged())[0]["status_code"] == 101
        assert statuses == [101]


@on_loop
async def test_refusals_of_the_gateway_pass_no_plugin() -> None:
    entry = plugged(None, raising)
    async with gateway(to(f"http://127.0.0.1:{free_port()}", plugins=[entry])) as rig:
        assert (await rig.ask(get())).status == 502
        assert rig.counted("plugin_errors_total") == 0


# -- errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", [raising, leaving, lambda _: 5, lambda _: Deny(200), lambda _: Pass({"Host": "a"})])
@on_loop
async def test_an_error_on_the_way_in_is_closed_or_open(hook: Any, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Message] = []
    async with Upstream(answering(lambda _: ok(), seen)) as upstream:
        async with gateway(to(upstream, plugins=[plugged(hook)])) as rig:
            answer = await rig.ask(get("/", f"X-Secret: {SECRET}"))
            assert (answer.status, answer.json()["reason"]) == (500, "plugin_failed")
            assert answer.json()["detail"] == "An unexpected error occurred."
            assert seen == []
            line = (await rig.logged())[0]
            assert line["error"] == "plugin_failed"
            assert line["detail"].startswith("mine: on_request: ")
            [(request_id, trace)] = reports(capsys)
            assert request_id == answer.get("x-request-id") == line["correlation_id"]
            assert trace.startswith("in plugin mine, on_request\n")
            assert SECRET not in trace + line["detail"] + answer.body.decode()
            assert rig.counted("plugin_errors_total", plugin="mine", hook="on_request") == 1
            assert rig.counted("plugin_verdicts_total", plugin="mine", verdict="error") == 1
        async with gateway(to(upstream, plugins=[plugged(hook, on_error="open")])) as rig:
            assert (await rig.ask(get())).status == 200
            assert len(seen) == len(reports(capsys)) == 1
            assert rig.counted("plugin_errors_total", plugin="mine", hook="on_request") == 1


@pytest.mark.parametrize("hook", [raising, leaving, lambda *_: Deny(), lambda *_: Pass({"Content-Length": "1"})])
@pytest.mark.parametrize("streamed", [False, True])
@on_loop
async def test_an_error_on_the_way_back_is_closed_or_open(
    hook: Any, streamed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Theirs: 1\r\n\r\nhello"
    async with Upstream() as upstream:
        for on_error in ("closed", "open"):
            async with gateway(to(upstream, plugins=[plugged(None, hook, on_error=on_error)])) as rig:
                client = await rig.client()
                await client.send(get())
                link = await upstream.accepted()
                await link.message()
                await link.send(whole[:-1] if streamed else whole)
                if on_error == "closed":
                    answer = await client.answer()
                    assert (answer.status, answer.get("x-theirs")) == (500, None)
                    # Nobody wants the rest.
                    assert await link.rest() == b""
                else:
                    assert (await client.head()).status == 200
                    await link.send(whole[-1:] if streamed else b"")
                    assert await client.read(5) == b"hello"
                assert rig.counted("plugin_errors_total", plugin="mine", hook="on_response") == 1
                assert len(reports(capsys)) == 1


@on_loop
async def test_an_error_on_an_agreed_websocket_leaves_nobody_behind() -> None:
    from tests.proxy.test_upgrades import AGREE, ASK

    async with Upstream() as upstream, gateway(to(upstream, plugins=[plugged(None, raising)])) as rig:
        client = await rig.client()
        await client.send(get("/socket", *ASK))
        link = await upstream.accepted()
        await link.head()
        await link.send(AGREE)
        assert (await client.answer()).status == 500
        assert await link.rest() == b""
        assert rig.counted("upgrades_open") == 0


@on_loop
async def test_a_service_is_not_blamed_for_a_plugin() -> None:
    breaker = {"threshold": 1, "timeout": 60}
    entry = plugged(None, raising)
    async with (
        Upstream(answering(lambda _: ok())) as upstream,
        gateway(to(upstream, plugins=[entry], service={"circuit_breaker": breaker})) as rig,
    ):
        for _ in range(3):
            assert (await rig.ask(get())).json()["reason"] == "plugin_failed"


@on_loop
async def test_a_storm_of_errors_is_not_a_storm_of_traces(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr("headgate.proxy.plugin_hooks.monotonic", lambda: now[0])
    async with Upstream() as upstream, gateway(to(upstream, plugins=[plugged(raising)])) as rig:
        for _ in range(5):
            assert (await rig.ask(get())).status == 500
        assert len(reports(capsys)) == 1
        now[0] += 1.0
        await rig.ask(get())
        [(_, said)] = reports(capsys)
        assert said.endswith("4 more of its errors were not shown")
        assert rig.counted("plugin_errors_total", plugin="mine", hook="on_request") == 6


def reports(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, str]]:
    """Return what the operator has been told since the last look: ids of requests and what is said of each."""
    told = re.split(r"^headgate: internal error, request (\S+)\n", capsys.readouterr().err, flags=re.MULTILINE)
    return list(zip(told[1::2], (text.rstrip() for text in told[2::2]), strict=True))


@on_loop
async def test_fields_of_the_gateway_cannot_be_written() -> None:
    names = ["X-Request-ID", "X-Correlation-ID", "X-Forwarded-For", "X_Forwarded_For", "Via", "Expect", "X-Who"]
    wanted = iter(names)
    document = {"identity": {"forward": {"X-Who": "id"}}}
    async with (
        Upstream(answering(lambda _: ok())) as upstream,
        gateway(to(upstream, plugins=[plugged(lambda _: Pass({next(wanted): "x"}))], **document)) as rig,
    ):
        for name in names:
            answer = await rig.ask(get())
            assert answer.status == 500, name
        lines = await rig.logged(len(names))
        assert [line["detail"] for line in lines] == [
            f"mine: on_request: {name} is written by the gateway itself" for name in names
        ]


@on_loop
async def test_hooks_are_timed() -> None:
    entry = plugged(lambda _: None, lambda *_: None)
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, plugins=[entry])) as rig:
        for _ in range(3):
            await rig.ask(get())
        from headgate.telemetry.cells import read

        found = {
            each.name.labels: sum(each.values[1:])
            for each in read([rig.region])
            if each.name.family == "headgate_plugin_seconds"
        }
        assert found[("mine", "on_request")] == found[("mine", "on_response")] == 3


# -- reloads ------------------------------------------------------------------------------------------------------


@on_loop
async def test_a_reload_keeps_what_is_equal_and_makes_anew_what_changed() -> None:
    async with Upstream(answering(lambda _: ok())) as upstream:
        entry = plugged(lambda _: None, name="counting")
        async with gateway(to(upstream, plugins=[entry])) as rig:
            before = len(MADE)
            rig.apply(to(upstream, plugins=[entry, plugged(lambda _: None, name="other")]))
            # Both were made for the check; at work there is only one more.
            assert len(MADE) == before + 2 + 1
            before = len(MADE)
            rig.apply(to(upstream, plugins=[{**entry, "config": {"script": "counting", "more": 1}}]))
            assert len(MADE) == before + 1 + 1
            before = len(MADE)
            # 1 and true are equal to Python.
            rig.apply(to(upstream, plugins=[{**entry, "config": {"script": "counting", "more": True}}]))
            assert len(MADE) == before + 1 + 1
            rig.apply(to(upstream))
            assert (await rig.ask(get())).status == 200
            assert rig.counted("plugin_verdicts_total") == 0


@on_loop
async def test_a_plugin_that_a_worker_cannot_make_leaves_the_plan_in_force() -> None:
    async with Upstream(answering(lambda _: ok())) as upstream:
        entry = plugged(lambda _: Deny(418), name="good")
        async with gateway(to(upstream, plugins=[entry])) as rig:
            bad = plugged(lambda _: None, name="bad", fails_after=len(MADE) + 2)
            with pytest.raises(ValueError, match=r"^plugin bad: config: one too many$"):
                rig.apply(to(upstream, plugins=[entry, bad]))
            assert (await rig.ask(get())).status == 418


@on_loop
async def test_a_request_under_way_ends_with_the_plugins_it_began_with() -> None:
    old, new = (plugged(None, lambda *_, by=name: Pass({"X-By": by}), name=name) for name in ("old", "new"))
    async with Upstream() as upstream, gateway(to(upstream, plugins=[old])) as rig:
        client = await rig.client()
        await client.send(get())
        link = await upstream.accepted()
        await link.message()
        rig.apply(to(upstream, plugins=[new]))
        await link.send(ok())
        assert (await client.answer()).get("x-by") == "old"
        await client.send(get())
        await link.message()
        await link.send(ok())
        assert (await client.answer()).get("x-by") == "new"
