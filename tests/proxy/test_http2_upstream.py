"""Requests to upstreams that speak HTTP/2: what goes out, what comes back, and how connections are shared."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h2.events
import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from headgate.core.clock import monotonic
from tests.proxy.http2_upstream import Asked, Http2Upstream, Link, replying
from tests.proxy.peers import Upstream, Wire, answering, eventually, get, in_between, ok
from tests.proxy.stage import gateway, on_loop, to
from tests.wire.certificates import Authority

HTTP2 = {"protocol": "http2"}


def over(upstream: Http2Upstream, **more: Any) -> dict[str, Any]:
    """Write a configuration whose only service speaks HTTP/2."""
    service = HTTP2 | more.pop("service", {})
    return to(upstream.url, service=service, **more)


@on_loop
async def test_a_request_goes_out_and_its_answer_comes_back() -> None:
    async with Http2Upstream() as upstream, gateway(over(upstream)) as rig:
        client = await rig.client()
        await client.send(get("/a/b?c=d", "X-Name: Value", method="POST", body=b"hello"))
        link = await upstream.accepted()
        asked = await link.asked(ended=True)
        assert asked.pseudo == {
            ":method": "POST",
            ":scheme": "http",
            ":authority": upstream.url.removeprefix("http://"),
            ":path": "/a/b?c=d",
        }
        assert asked.body == b"hello"
        assert asked.get("x-name") == "Value"
        assert asked.get("content-length") == "5"
        assert asked.get("x-forwarded-for") == "127.0.0.1"
        assert asked.get("via") == "1.1 headgate"
        assert not {"host", "connection", "transfer-encoding"} & {name for name, _ in asked.fields}
        assert all(name == name.lower() for name, _ in asked.fields)
        link.answer(asked, b"world", ("x-answer", "42"), status=201)
        answer = await client.answer()
        assert (answer.status, answer.body, answer.get("x-answer")) == (201, b"world", "42")
        assert answer.get("content-length") == "5"
        assert answer.get("via") == "2.0 headgate"
        (line,) = await rig.logged()
        assert line["status_code"] == 201


@on_loop
async def test_requests_at_once_share_a_connection() -> None:
    async with Http2Upstream() as upstream, gateway(over(upstream)) as rig:
        clients = [await rig.client() for _ in range(20)]
        for number, client in enumerate(clients):
            await client.send(get(f"/{number}"))
        link = await upstream.accepted()
        asked = [await link.asked() for _ in clients]
        for each in reversed(asked):
            link.answer(each, each.target.encode())
        for number, client in enumerate(clients):
            assert (await client.answer()).body == b"/%d" % number
        assert len(upstream.links) == 1
        (pool,) = rig.gateway._pools.values()
        assert (pool.open, pool.idle, pool.active, pool.calls) == (1, 1, 0, 0)


@on_loop
async def test_another_connection_is_opened_when_all_are_full_and_not_before() -> None:
    pool = {"max_streams": 4}
    async with Http2Upstream() as upstream, gateway(over(upstream, service={"pool": pool})) as rig:
        clients = [await rig.client() for _ in range(10)]
        for client in clients:
            await client.send(get())
        await eventually(lambda: sum(len(link.requests) for link in upstream.links) == 10)
        assert sorted(len(link.requests) for link in upstream.links) == [2, 4, 4]
        for link in upstream.links:
            for asked in link.requests.values():
                link.answer(asked)
        for client in clients:
            assert (await client.answer()).status == 200


@on_loop
async def test_an_upstream_says_how_many_requests_it_takes_at_once_and_others_wait() -> None:
    settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 2}
    service = {"pool": {"max_connections": 1}}
    async with Http2Upstream(settings=settings) as upstream, gateway(over(upstream, service=service)) as rig:
        clients = [await rig.client() for _ in range(6)]
        for client in clients:
            await client.send(get())
        link = await upstream.accepted()
        for done in range(6):
            asked = await link.asked()
            assert len(link.requests) <= done + 2
            link.answer(asked)
        for client in clients:
            assert (await client.answer()).status == 200
        assert len(upstream.links) == 1


@on_loop
async def test_an_upstream_that_takes_more_later_gets_more() -> None:
    settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 1}
    service = {"pool": {"max_connections": 1}}
    async with Http2Upstream(settings=settings) as upstream, gateway(over(upstream, service=service)) as rig:
        clients = [await rig.client() for _ in range(3)]
        for client in clients:
            await client.send(get())
        link = await upstream.accepted()
        first = await link.asked()
        link.codec.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 3})
        link.flush()
        for asked in (first, await link.asked(), await link.asked()):
            link.answer(asked)
        for client in clients:
            assert (await client.answer()).status == 200


@on_loop
async def test_more_requests_than_may_wait_are_refused() -> None:
    settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 1}
    service = {"pool": {"max_connections": 1, "max_pending": 1}}
    async with Http2Upstream(settings=settings) as upstream, gateway(over(upstream, service=service)) as rig:
        first, second, third = [await rig.client() for _ in range(3)]
        await first.send(get("/1"))
        link = await upstream.accepted()
        asked = await link.asked()
        await second.send(get("/2"))
        (pool,) = rig.gateway._pools.values()
        await eventually(lambda: len(pool._waiters) == 1)
        await third.send(get("/3"))
        refused = await third.answer()
        assert (refused.status, refused.get("retry-after")) == (503, "1")
        link.answer(asked)
        link.answer(await link.asked())
        assert (await first.answer()).status == (await second.answer()).status == 200


@on_loop
async def test_bodies_and_trailers_stream_both_ways() -> None:
    document: dict[str, Any] = {"http": {"trailers": ["x-sum"]}}
    async with Http2Upstream() as upstream, gateway(over(upstream, **document)) as rig:
        client = await rig.client()
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        link = await upstream.accepted()
        asked = await link.asked()
        await eventually(lambda: asked.body == b"one")
        assert asked.get("content-length") is None
        link.head(asked, ("content-type", "text/plain"))
        link.data(asked, b"eins")
        assert (await client.head()).status == 200
        assert await client.chunk() == b"eins"
        await client.send(b"3\r\ntwo\r\n")
        await eventually(lambda: asked.body == b"onetwo")
        link.data(asked, b"zwei")
        assert await client.chunk() == b"zwei"
        await client.send(b"0\r\nX-Sum: 6\r\nX-Other: no\r\n\r\n")
        await eventually(lambda: asked.ended)
        assert asked.trailers == [("x-sum", "6")]
        link.trailers(asked, ("x-sum", "8"), ("x-other", "no"))
        assert await client.chunk() == b""
        assert await client._trailers() == [("x-sum", "8")]


@on_loop
async def test_interim_answers_are_passed_on() -> None:
    async with Http2Upstream() as upstream, gateway(over(upstream)) as rig:
        client = await rig.client()
        await client.send(get())
        link = await upstream.accepted()
        asked = await link.asked()
        link.head(asked, status=100)
        link.head(asked, ("link", "</style.css>; rel=preload"), status=103)
        link.answer(asked, b"x")
        answer = await client.answer()
        assert [each.status for each in answer.interim] == [103]
        assert answer.body == b"x"


@on_loop
async def test_heads_and_answers_without_a_body_end_as_they_should() -> None:
    async with Http2Upstream() as upstream, gateway(over(upstream)) as rig:
        client = await rig.client()
        for status, method in ((200, "HEAD"), (204, "GET"), (304, "GET")):
            await client.send(get(method=method))
            link = upstream.links[0] if upstream.links else await upstream.accepted()
            asked = await link.asked()
            fields = () if status == 204 else (("content-length", "7"),)
            link.head(asked, *fields, status=status, end=True)
            answer = await client.answer(method)
            assert (answer.status, answer.body) == (status, b"")
            assert answer.get("content-length") == (None if status == 204 else "7")


# -- what was not processed may be sent again ----------------------------------------------------------------------


@on_loop
async def test_a_refused_stream_is_asked_again_whatever_its_method() -> None:
    async with Http2Upstream() as upstream, gateway(over(upstream)) as rig:
        client = await rig.client()
        await client.send(get(method="POST", body=b"once"))
        link = await upstream.accepted()
        link.reset(await link.asked(ended=True), ErrorCodes.REFUSED_STREAM)
        again = await link.asked(ended=True)
        assert again.body == b"once"
        link.answer(again, b"done")
        assert (await client.answer()).body == b"done"
        assert len(upstream.links) == 1


@on_loop
async def test_a_refused_stream_whose_body_was_not_kept_is_not_sent_in_part() -> None:
    service = {"retry": {"buffer": 4}}
    async with Http2Upstream() as upstream, gateway(over(upstream, service=service)) as rig:
        client = await rig.client()
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\nfirst")
        link = await upstream.accepted()
        asked = await link.asked()
        await client.send(b"second!")
        await eventually(lambda: asked.body == b"firstsecond!")
        link.reset(asked, ErrorCodes.REFUSED_STREAM)
        assert (await client.answer()).status == 502
        assert len(link.seen(h2.events.RequestReceived)) == len(upstream.links) == 1
        assert not any(isinstance(event, Exception) for event in link.events)


@on_loop
async def test_a_goaway_sends_what_was_not_processed_elsewhere_and_lets_the_rest_end() -> None:
    async with Http2Upstream() as upstream, gateway(over(upstream)) as rig:
        first, second = await rig.client(), await rig.client()
        await first.send(get("/1", method="POST", body=b"1"))
        link = await upstream.accepted()
        one = await link.asked(ended=True)
        await second.send(get("/2", method="POST", body=b"2"))
        await link.asked(ended=True)
        link.go_away(one.number)
        other = await upstream.accepted()
        two = await other.asked(ended=True)
        assert (two.target, two.body) == ("/2", b"2")
        other.answer(two, b"two")
        link.answer(one, b"one")
        assert (await first.answer()).body == b"one"
        assert (await second.answer()).body == b"two"
        await eventually(lambda: link.lost)
        await first.send(get("/3"))
        other.answer(await other.asked(), b"three")
        assert (await first.answer()).body == b"three"


@on_loop
async def test_a_goaway_that_announces_the_end_lets_all_that_is_on_its_way_end() -> None:
    async with Http2Upstream() as upstream, gateway(over(upstream)) as rig:
        client, late = await rig.client(), await rig.client()
        await client.send(get("/1"))
        link = await upstream.accepted()
        asked = await link.asked()
        link.head(asked, ("content-length", "6"))
        link.go_away(2**31 - 1)
        link.data(asked, b"abc")
        assert (await client.head()).status == 200
        await late.send(get("/2"))
        other = await upstream.accepted()
        other.answer(await other.asked())
        assert (await late.answer()).status == 200
        link.go_away(asked.number)
        link.data(asked, b"def", end=True)
        assert await client.read(6) == b"abcdef"
        await eventually(lambda: link.lost)


@on_loop
async def test_a_connection_that_ends_while_it_is_idle_is_nobodys_failure() -> None:
    async with Http2Upstream(replying(b"x")) as upstream, gateway(over(upstream)) as rig:
        client = await rig.client()
        await client.send(get())
        assert (await client.answer()).status == 200
        for way in ("close", "go away"):
            link = upstream.links[-1]
            if way == "close":
                link.cut()
            else:
                link.go_away(0)
            await client.send(get())
            assert (await client.answer()).status == 200
        assert len(upstream.links) == 3


# -- upstreams that misbehave --------------------------------------------------------------------------------------


@on_loop
async def test_an_answer_that_is_reset_never_looks_complete() -> None:
    async with Http2Upstream() as upstream, gateway(over(upstream)) as rig:
        for fields in ((), (("content-length", "10"),)):
            client = await rig.client()
            await client.send(get())
            link = upstream.links[0] if upstream.links else await upstream.accepted()
            asked = await link.asked()
            link.head(asked, *fields)
            link.data(asked, b"abc")
            assert (await client.head()).status == 200
            link.reset(asked)
            rest = await client.rest()
            assert b"abc" in rest
            assert b"0\r\n\r\n" not in rest
        assert [line["error"] for line in await rig.logged(2)] == ["upstream_reset"] * 2
        # The connection carries others on.
        await (client := await rig.client()).send(get())
        link.answer(await link.asked())
        assert (await client.answer()).status == 200


def _bad_head(link: Link, asked: Asked) -> None:
    link.head(asked, ("bad name", "x"))


def _switch(link: Link, asked: Asked) -> None:
    link.head(asked, ("x", "y"), status=101)


def _no_status(link: Link, asked: Asked) -> None:
    link.codec.send_headers(asked.number, [("x", "y")])
    link.flush()


def _hop_by_hop(link: Link, asked: Asked) -> None:
    link.head(asked, ("transfer-encoding", "chunked"))


def _too_short(link: Link, asked: Asked) -> None:
    link.codec.send_headers(asked.number, [(":status", "200"), ("content-length", "5")])
    link.data(asked, b"abc", end=True)


def _too_long(link: Link, asked: Asked) -> None:
    link.codec.send_headers(asked.number, [(":status", "200"), ("content-length", "2")])
    link.data(asked, b"abc", end=True)


def _two_lengths(link: Link, asked: Asked) -> None:
    link.head(asked, ("content-length", "2"), ("content-length", "3"))


def _line_break(link: Link, asked: Asked) -> None:
    link.head(asked, ("x", "a\r\nSet-Cookie: b"))


def _many_interims(link: Link, asked: Asked) -> None:
    for _ in range(20):
        link.head(asked, status=103)


@pytest.mark.parametrize(
    "misbehave",
    [
        _bad_head,
        _switch,
        _no_status,
        _hop_by_hop,
        _too_short,
        _too_long,
        _two_lengths,
        _line_break,
        _many_interims,
    ],
)
@on_loop
async def test_an_answer_that_is_none_ends_its_stream_alone(misbehave: Callable[[Link, Asked], None]) -> None:
    async with Http2Upstream() as upstream, gateway(over(upstream)) as rig:
        client, other = await rig.client(), await rig.client()
        await client.send(get("/bad"))
        link = await upstream.accepted()
        bad = await link.asked()
        await other.send(get("/good"))
        good = await link.asked()
        misbehave(link, bad)
        assert (await client.answer()).status == 502
        assert [line["error"] for line in await rig.logged()] == ["upstream_protocol"]
        if misbehave not in (_too_short, _too_long):
            # Those had ended already.
            await eventually(lambda: bad.reset == ErrorCodes.PROTOCOL_ERROR)
        link.answer(good, b"good")
        assert (await other.answer()).body == b"good"
        assert len(upstream.links) == 1


def _frame(kind: int, flags: int, stream: int, content: bytes = b"") -> bytes:
    return len(content).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + content


# A promise, a frame larger than announced, one on a stream that nobody opened, a block that is none, a CONTINUATION
# without end, and settings that may not be.
_BREACHES: dict[str, Callable[[Asked], bytes]] = {
    "push": lambda asked: _frame(5, 4, asked.number, (2).to_bytes(4, "big") + b"\x82"),
    "size": lambda asked: (16385).to_bytes(3, "big") + bytes((0, 0)) + asked.number.to_bytes(4, "big"),
    "idle": lambda asked: _frame(0, 0, 99, b"x"),
    "hpack": lambda asked: _frame(1, 4, asked.number, b"\xff\xff\xff\xff\xff"),
    "continuation": lambda asked: _frame(1, 0, asked.number, b"\x88") + _frame(9, 0, asked.number) * 100,
    "bomb": lambda asked: _frame(1, 0, asked.number, b"\x88") + _frame(9, 0, asked.number, bytes(16384)) * 9,
    "settings": lambda asked: _frame(4, 0, 0, b"\x00\x05" + bytes(4)),
    "window": lambda asked: _frame(8, 0, 0, b"\x7f\xff\xff\xff"),
    "pings": lambda asked: _frame(6, 0, 0, bytes(8)) * 2000,
    "http1": lambda asked: b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
}


# What each is counted as, where that is not h2's to say.
_KINDS = {
    "size": "frame_size",
    "continuation": "continuation_flood",
    "bomb": "header_bytes",
    "pings": "control_flood",
    "http1": "frame_size",
}


@pytest.mark.parametrize("breach", list(_BREACHES))
@on_loop
async def test_an_upstream_that_breaks_the_rules_loses_its_connection(breach: str) -> None:
    async with Http2Upstream() as upstream, gateway(over(upstream)) as rig:
        client = await rig.client()
        await client.send(get(method="POST"))
        link = await upstream.accepted()
        link.raw(_BREACHES[breach](await link.asked()))
        assert (await client.answer()).status == 502
        assert [line["error"] for line in await rig.logged()] == ["upstream_protocol"]
        assert rig.counted("upstream_http2_violations_total", kind=_KINDS.get(breach, "protocol")) == 1
        await eventually(lambda: link.lost)
        await client.send(get())
        other = await upstream.accepted()
        other.answer(await other.asked())
        assert (await client.answer()).status == 200


@pytest.mark.parametrize("number", [300, 4000])
@on_loop
async def test_more_fields_than_a_head_has_are_refused(number: int) -> None:
    async with Http2Upstream() as upstream, gateway(over(upstream)) as rig:
        client = await rig.client()
        await client.send(get())
        link = await upstream.accepted()
        asked = await link.asked()
        link.head(asked, *(("x", "y") for _ in range(number)))
        assert (await client.answer()).status == 502
        # Far beyond the bounds the connection ends with it.
        await eventually(lambda: asked.reset == ErrorCodes.PROTOCOL_ERROR or link.lost)
        assert link.lost == (number > 1000)


@on_loop
async def test_who_answers_the_preface_with_something_else_was_sent_nothing() -> None:
    async def play(link: Wire) -> None:
        await link.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await link.rest()

    async with Upstream(play) as upstream, gateway(to(upstream, service=HTTP2)) as rig:
        assert (await rig.ask(get(method="POST", body=b"x"))).status == 502
        (line,) = await rig.logged()
        assert (line["error"], line["attempts"]) == ("upstream_protocol", 1)


@on_loop
async def test_who_never_sends_settings_is_not_waited_for() -> None:
    service = HTTP2 | {"timeout": {"connect": 0.1}, "retry": {"attempts": 0}}
    async with Http2Upstream(silent=True) as upstream, gateway(to(upstream.url, service=service)) as rig:
        clients = [await rig.client() for _ in range(3)]
        for client in clients:
            await client.send(get())
        for client in clients:
            assert (await client.answer()).status == 504
        await eventually(lambda: all(link.lost for link in upstream.links))
        (pool,) = rig.gateway._pools.values()
        assert pool.open == 0


@on_loop
async def test_whoever_waits_for_a_connection_that_is_refused_hears_it_at_once() -> None:
    async with Http2Upstream() as upstream:
        url = upstream.url
    service = HTTP2 | {"retry": {"attempts": 0}}
    async with gateway(to(url, service=service)) as rig:
        clients = [await rig.client() for _ in range(30)]
        for client in clients:
            await client.send(get())
        for client in clients:
            assert (await client.answer()).status == 502
        (pool,) = rig.gateway._pools.values()
        assert (pool.open, pool._opening, len(pool._waiters)) == (0, 0, 0)


# -- leaving, waiting, flow ----------------------------------------------------------------------------------------


@on_loop
async def test_a_client_that_leaves_resets_its_stream_alone() -> None:
    async with Http2Upstream() as upstream, gateway(over(upstream)) as rig:
        client, other = await rig.client(), await rig.client()
        await client.send(get("/1"))
        link = await upstream.accepted()
        asked = await link.asked()
        await other.send(get("/2"))
        kept = await link.asked()
        client.close()
        await eventually(lambda: asked.reset == ErrorCodes.CANCEL)
        link.answer(kept, b"kept")
        assert (await other.answer()).body == b"kept"


@on_loop
async def test_an_answer_before_the_end_of_the_request_ends_both() -> None:
    async with Http2Upstream() as upstream, gateway(over(upstream)) as rig:
        client = await rig.client()
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nbegun")
        link = await upstream.accepted()
        asked = await link.asked()
        link.answer(asked, b"enough", status=413)
        link.reset(asked, ErrorCodes.NO_ERROR)
        answer = await client.answer()
        assert (answer.status, answer.body) == (413, b"enough")


@on_loop
async def test_an_upstream_that_is_late_loses_the_stream_and_if_it_said_nothing_the_connection() -> None:
    service = {"timeout": {"response": 20}, "retry": {"attempts": 0}, "pool": {"idle_timeout": 600}}
    async with Http2Upstream() as upstream, gateway(over(upstream, service=service)) as rig:
        client = await rig.client()
        await client.send(get("/late"))
        link = await upstream.accepted()
        late = await link.asked()
        # Something is heard meanwhile: the connection is well.
        rig.pass_time(10)
        link.raw(_frame(6, 0, 0, b"12345678"))
        await eventually(lambda: bool(link.seen(h2.events.PingAckReceived)))
        rig.pass_time(10)
        assert (await client.answer()).status == 504
        await eventually(lambda: late.reset == ErrorCodes.CANCEL)
        await client.send(get("/late"))
        await link.asked()
        rig.pass_time(20)
        assert (await client.answer()).status == 504
        await eventually(lambda: link.lost)
        assert [line["error"] for line in await rig.logged(2)] == ["response_timeout"] * 2


@on_loop
async def test_a_slow_client_holds_up_its_upstream_and_nobody_else() -> None:
    async with Http2Upstream() as upstream, gateway(over(upstream)) as rig:
        slow, quick = await rig.client(), await rig.client()
        slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await slow.send(get("/slow"))
        link = await upstream.accepted()
        asked = await link.asked()
        link.head(asked)
        sent = 0
        piece = bytes(16384)
        # As much as is taken: the window then stays closed.
        while True:
            room = link.codec.local_flow_control_window(asked.number)
            if room < len(piece):
                turns = 0
                while link.codec.local_flow_control_window(asked.number) < len(piece) and turns < 50:
                    await asyncio.sleep(0.002)
                    turns += 1
                if turns == 50:
                    break
                continue
            link.data(asked, piece)
            sent += len(piece)
            assert sent < in_between()
        for number in range(5):
            await quick.send(get(f"/{number}"))
            link.answer(await link.asked(), bytes(50_000))
            await eventually(lambda: True)
            assert len((await quick.answer()).body) == 50_000
        slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
        link_data = asyncio.create_task(_finish(link, asked))
        head = await slow.head()
        assert head.status == 200
        total = 0
        while data := await slow.chunk():
            total += len(data)
        await link_data
        assert total == sent


async def _finish(link: Link, asked: Asked) -> None:
    await eventually(lambda: link.codec.local_flow_control_window(asked.number) > 0)
    link.data(asked, end=True)


@on_loop
async def test_an_upstream_that_takes_nothing_holds_up_its_client_and_is_late() -> None:
    service = {"timeout": {"idle": 0.3}, "retry": {"attempts": 0}, "max_body": 1 << 30}
    async with Http2Upstream(hold=True) as upstream, gateway(over(upstream, service=service)) as rig:
        client, other = await rig.client(), await rig.client()
        length = in_between()
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length)
        client.writer.write(bytes(length))
        link = await upstream.accepted()
        asked = await link.asked()
        await eventually(lambda: len(asked.body) == 65535)
        # The window of the connection is closed by it, too, but a request without a body needs none.
        await other.send(get("/other"))
        link.answer(await link.asked())
        assert (await other.answer()).status == 200
        assert (await client.head()).status == 504
        (line, _) = sorted(await rig.logged(2), key=lambda each: each["path"])
        assert line["error"] == "idle_timeout"
        # The client was held up long before its body was here.
        assert line["bytes_in"] < 1 << 20


@on_loop
async def test_a_connection_is_replaced_after_so_many_requests_and_when_idle() -> None:
    service = {"pool": {"max_requests": 2, "idle_timeout": 600}}
    async with Http2Upstream(replying(b"x")) as upstream, gateway(over(upstream, service=service)) as rig:
        client = await rig.client()
        for _ in range(5):
            await client.send(get())
            assert (await client.answer()).status == 200
        assert [len(link.requests) for link in upstream.links] == [2, 2, 1]
        rig.pass_time(600)
        await eventually(lambda: all(link.lost for link in upstream.links))
        (pool,) = rig.gateway._pools.values()
        assert (pool.open, pool.idle) == (0, 0)
        # In good order.
        assert all(link.seen(h2.events.ConnectionTerminated) for link in upstream.links)


@on_loop
async def test_a_reload_lets_requests_on_a_connection_end() -> None:
    async with Http2Upstream() as upstream, gateway(over(upstream)) as rig:
        client, other = await rig.client(), await rig.client()
        await client.send(get("/1"))
        link = await upstream.accepted()
        asked = await link.asked()
        rig.apply(over(upstream, service={"pool": {"max_streams": 7}}))
        await other.send(get("/2"))
        fresh = await upstream.accepted()
        fresh.answer(await fresh.asked())
        assert (await other.answer()).status == 200
        assert not link.lost
        link.answer(asked)
        assert (await client.answer()).status == 200
        await eventually(lambda: link.lost)


@on_loop
async def test_who_is_quiet_is_asked_and_who_does_not_answer_is_left() -> None:
    async with Http2Upstream() as upstream, gateway(over(upstream, service={"retry": {"attempts": 0}})) as rig:
        client = await rig.client()
        await client.send(get())
        link = await upstream.accepted()
        await link.asked()
        (pool,) = rig.gateway._pools.values()
        (ours,) = pool._shared
        # What came with the answer to our SETTINGS was heard.
        await eventually(lambda: bool(link.seen(h2.events.SettingsAcknowledged)))
        while not ours._asked:
            ours.on_deadline(ours.deadline)
        await eventually(lambda: ours.heard > ours._heard_before)
        assert len(link.seen(h2.events.PingReceived)) == 1
        ours.on_deadline(ours.deadline)
        # It was there, and is not asked again soon.
        assert ours.deadline - monotonic() > 300
        ours.on_deadline(ours.deadline)
        ours.on_deadline(ours.deadline)
        assert (await client.answer()).status == 502
        await eventually(lambda: link.lost)


# -- which version is spoken ---------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def secured(authority: Authority, *protocols: str) -> ssl.SSLContext:
    """Return the context of a server that agrees to these versions."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("127.0.0.1"))
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


@pytest.mark.parametrize("protocol", ["http2", "auto"])
@on_loop
async def test_http2_is_agreed_on_in_the_handshake(protocol: str, authority: Authority) -> None:
    tls = secured(authority, "h2", "http/1.1")
    service = {"protocol": protocol, "tls": {"ca": authority.path}}
    async with Http2Upstream(tls=tls) as upstream, gateway(over(upstream, service=service)) as rig:
        clients = [await rig.client() for _ in range(5)]
        for client in clients:
            await client.send(get(method="PUT", body=b"x" * 100_000))
        link = await upstream.accepted()
        for _ in clients:
            asked = await link.asked(ended=True)
            assert asked.pseudo[":scheme"] == "https"
            link.answer(asked, asked.body[:10_000])
        for client in clients:
            assert (await client.answer()).body == b"x" * 10_000
        assert len(upstream.links) == 1


@pytest.mark.parametrize("said", [(), ("http/1.1",)])
@on_loop
async def test_an_endpoint_that_chooses_http1_gets_it(said: tuple[str, ...], authority: Authority) -> None:
    service = {"protocol": "auto", "tls": {"ca": authority.path}}
    play = answering(lambda request: ok(request.target.encode()))
    async with (
        Upstream(play, tls=secured(authority, *said)) as upstream,
        gateway(to(upstream, service=service)) as rig,
    ):
        clients = [await rig.client() for _ in range(10)]
        for number, client in enumerate(clients):
            await client.send(get(f"/{number}"))
        for number, client in enumerate(clients):
            assert (await client.answer()).body == b"/%d" % number
        (pool,) = rig.gateway._pools.values()
        assert (pool.active, pool._opening, len(pool._waiters)) == (0, 0, 0)
        assert pool.open == len(upstream.links) == pool.idle


@on_loop
async def test_an_endpoint_that_does_not_agree_to_http2_is_none_of_a_service_that_must(authority: Authority) -> None:
    service = HTTP2 | {"tls": {"ca": authority.path}, "retry": {"attempts": 0}}
    tls = secured(authority, "http/1.1")
    async with Upstream(tls=tls) as upstream, gateway(to(upstream, service=service)) as rig:
        assert (await rig.ask(get())).status == 502
        (line,) = await rig.logged()
        assert line["error"] == "tls"
        assert "ALPN" in line["detail"]
        (pool,) = rig.gateway._pools.values()
        await eventually(lambda: pool.open == 0)


@on_loop
async def test_an_endpoint_without_tls_has_nothing_to_choose() -> None:
    play = answering(lambda _: ok(b"plain"))
    async with Upstream(play) as upstream, gateway(to(upstream, service={"protocol": "auto"})) as rig:
        assert (await rig.ask(get())).body == b"plain"


# -- copies and second askings -------------------------------------------------------------------------------------


@on_loop
async def test_a_second_endpoint_is_asked_and_the_slow_one_reset() -> None:
    async with Http2Upstream() as slow, Http2Upstream(replying(b"quick")) as quick:
        service = HTTP2 | {"retry": {"hedge": 0.02}}
        async with gateway(to(slow.url, quick.url, service=service)) as rig:
            for number in range(64):
                client = await rig.client()
                await client.send(get(f"/{number}"))
                assert (await client.answer()).body == b"quick"
                if slow.links and slow.links[0].requests:
                    break
            else:
                raise AssertionError("the slow one was never asked")
            (asked, *_) = slow.links[0].requests.values()
            await eventually(lambda: asked.reset == ErrorCodes.CANCEL)
            assert not slow.links[0].lost


@on_loop
async def test_a_copy_goes_to_a_service_of_http2() -> None:
    async with Http2Upstream(replying(b"real")) as real, Http2Upstream() as copy:
        document = to(real.url, service=HTTP2, route={"mirror": {"service_name": "copy"}})
        document["services"].append({"name": "copy", "endpoints": [copy.url], **HTTP2})
        async with gateway(document) as rig:
            client = await rig.client()
            await client.send(get(method="POST", body=b"body"))
            assert (await client.answer()).body == b"real"
            link = await copy.accepted()
            asked = await link.asked(ended=True)
            assert (asked.method, asked.body) == ("POST", b"body")
            link.answer(asked, b"thrown away")
            await eventually(lambda: all(pool.calls == 0 for pool in rig.gateway._pools.values()))


@on_loop
async def test_a_connection_without_numbers_for_further_streams_is_replaced() -> None:
    async with Http2Upstream(replying(b"x")) as upstream, gateway(over(upstream)) as rig:
        client = await rig.client()
        await client.send(get())
        assert (await client.answer()).status == 200
        (pool,) = rig.gateway._pools.values()
        (ours,) = pool._shared
        ours.codec.highest_outbound_stream_id = ours.codec.HIGHEST_ALLOWED_STREAM_ID
        await client.send(get(method="POST", body=b"y"))
        assert (await client.answer()).status == 200
        assert len(upstream.links) == 2
        assert [asked.body for asked in upstream.links[1].requests.values()] == [b"y"]


@on_loop
async def test_who_waits_when_a_connection_breaks_gets_another() -> None:
    service = {"pool": {"max_connections": 1, "max_streams": 1}}
    async with Http2Upstream() as upstream, gateway(over(upstream, service=service)) as rig:
        first, second = await rig.client(), await rig.client()
        await first.send(get("/1", method="POST"))
        link = await upstream.accepted()
        await link.asked()
        await second.send(get("/2", method="POST"))
        (pool,) = rig.gateway._pools.values()
        await eventually(lambda: len(pool._waiters) == 1)
        link.raw(_frame(0, 0, 99, b"x"))
        other = await upstream.accepted()
        other.answer(await other.asked(), b"two")
        assert (await first.answer()).status == 502
        answer = await second.answer()
        assert (answer.status, answer.body) == (200, b"two")
        assert [line["attempts"] for line in await rig.logged(2)] == [1, 1]
