"""Flow control of HTTP/2 towards clients: backpressure both ways, turns that are fair, and waits that end."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import h2.events
import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from tests.proxy.http2_client import http2
from tests.proxy.peers import Cut, Message, Upstream, Wire, answering, eventually, in_between, ok
from tests.proxy.stage import gateway, on_loop, to

PIECE = b"p" * 65536


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def streaming(*lines: str) -> bytes:
    head = ["HTTP/1.1 200 OK", "Transfer-Encoding: chunked", *lines, "", ""]
    return "\r\n".join(head).encode()


# -- answers -------------------------------------------------------------------------------------------------------


@on_loop
async def test_a_large_answer_comes_whole_through_small_windows() -> None:
    body = bytes(range(256)) * 1024
    async with Upstream(answering(lambda _: ok(body))) as upstream, gateway(to(upstream)) as rig:
        client = await http2(rig, settings={SettingCodes.INITIAL_WINDOW_SIZE: 5000})
        answers = await asyncio.gather(*(client.ask(f"/{each}") for each in range(3)))
        assert all(each.body == body for each in answers)
        assert [line["bytes_out"] for line in await rig.logged(3)] == [len(body)] * 3


@on_loop
async def test_a_client_that_takes_nothing_stops_the_upstream() -> None:
    sent = 0

    async def flood(link: Wire) -> None:
        nonlocal sent
        await link.message()
        await link.send(streaming())
        while sent < in_between():
            link.writer.write(chunk(PIECE))
            sent += len(PIECE)
            if link.writer.transport.get_write_buffer_size() > 1 << 20:
                return

    async with Upstream(flood) as upstream, gateway(to(upstream)) as rig:
        client = await http2(rig, hold=True)
        stream = client.request()
        await stream.received(65535)
        lane = next(iter(rig.connections[0].lanes.values()))
        await eventually(lambda: lane.waiting and lane._source_paused)
        assert sent < in_between()
        # The buffer, and what one read of the upstream may bring on top.
        assert lane.queued <= 65536 + (1 << 18)
        assert len(stream.body) == 65535
        # Given room, it goes on.
        stream.hold = False
        stream.acknowledge()
        await stream.received(300_000)
        stream.reset()
        await eventually(lambda: rig.gateway.in_flight == 0)


@on_loop
async def test_who_waits_for_its_window_holds_nobody_up() -> None:
    async def play(link: Wire) -> None:
        while True:
            request = await link.message()
            await link.send(ok(b"s" * (300_000 if request.target == "/slow" else 100)))

    async with Upstream(play) as upstream, gateway(to(upstream)) as rig:
        client = await http2(rig)
        slow = client.request("/slow", end=False)
        slow.hold = True
        # The connection's window stays open: only the stream's is used up.
        client.codec.increment_flow_control_window(1 << 20)
        await slow.send(end=True)
        await slow.received(65535)
        for each in range(20):
            assert len((await client.ask(f"/{each}")).body) == 100
        assert len(slow.body) == 65535
        slow.hold = False
        slow.acknowledge()
        assert len((await slow.answer()).body) == 300_000


@on_loop
async def test_events_pass_between_the_pieces_of_a_download() -> None:
    """Frames of a short stream come in turn with those of one that has always more to send."""

    async def play(link: Wire) -> None:
        request = await link.message()
        if request.target == "/download":
            await link.send(streaming())
            while True:
                await link.send(chunk(PIECE))
        await link.send(streaming("Content-Type: text/event-stream"))
        for each in range(50):
            await link.send(chunk(b"data: %d\n\n" % each))
            await asyncio.sleep(0)
        await link.send(b"0\r\n\r\n")
        await link.message()

    async with Upstream(play) as upstream, gateway(to(upstream)) as rig:
        # What kernels hold in between comes before any event, in order.
        client = await http2(rig, receive_buffer=65536, settings={SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
        client.codec.increment_flow_control_window(1 << 20)
        large = client.request("/download")
        await large.received(1 << 20)
        events = client.request("/events")
        assert (await events.answer()).body.endswith(b"data: 49\n\n")
        # And the other way round: it did not wait for the events.
        order = [each.stream_id for each in client.events if isinstance(each, h2.events.DataReceived)]
        assert large.number in order[order.index(events.number) :]
        large.reset()
        await eventually(lambda: rig.gateway.in_flight == 0)


@on_loop
async def test_streams_take_turns_frame_by_frame() -> None:
    async with Upstream(answering(lambda _: ok(b"t" * 400_000))) as upstream, gateway(to(upstream)) as rig:
        client = await http2(rig, hold=True, settings={SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
        streams = [client.request(f"/{each}") for each in range(4)]
        await eventually(lambda: rig.connections[0].starved)
        await eventually(lambda: all(lane.queued >= 65536 for lane in rig.connections[0].lanes.values()))
        await client.ping()
        seen = len(client.events)
        # All four have much to send: what room there is now is shared.
        client.codec.increment_flow_control_window(16 * 16384)
        client.flush()
        before = [len(each.body) for each in streams]
        await client.until(lambda: sum(len(each.body) for each in streams) == sum(before) + 16 * 16384)
        got = [len(each.body) - was for each, was in zip(streams, before, strict=True)]
        assert max(got) - min(got) <= 16384, got
        order = [each.stream_id for each in client.events[seen:] if isinstance(each, h2.events.DataReceived)]
        assert all(a != b for a, b in pairwise(order)), order


# -- request bodies ------------------------------------------------------------------------------------------------


@on_loop
async def test_a_client_is_told_its_bounds() -> None:
    bounds = {"max_streams": 7, "stream_window": 70_000, "connection_window": 90_000}
    http = {"http2": bounds, "max_headers": 10, "max_header_bytes": 2000}
    async with Upstream(answering(lambda _: ok(b""))) as upstream, gateway(to(upstream, http=http)) as rig:
        client = await http2(rig)
        await client.ask()
        told = client.codec.remote_settings
        assert told[SettingCodes.MAX_CONCURRENT_STREAMS] == 7
        assert told[SettingCodes.INITIAL_WINDOW_SIZE] == 70_000
        # RFC 9113 section 6.5.2: 32 bytes for each field.
        assert told[SettingCodes.MAX_HEADER_LIST_SIZE] == 2320
        assert client.codec.outbound_flow_control_window == 90_000


@on_loop
async def test_an_upstream_that_takes_nothing_stops_the_client() -> None:
    async with Upstream() as upstream, gateway(to(upstream, http={"http2": {"connection_window": 1 << 18}})) as rig:
        client = await http2(rig)
        stream = client.request(method="POST", end=False)
        link = await upstream.accepted()
        await link.head()
        sent = 0

        async def pour() -> None:
            nonlocal sent
            while sent < in_between():
                await stream.send(PIECE)
                sent += len(PIECE)

        link.writer.transport.pause_reading()  # type: ignore[attr-defined]
        pouring = asyncio.ensure_future(pour())
        lane = next(iter(rig.connections[0].lanes.values()))
        await eventually(lambda: lane.carried._paused)
        await client.ping()
        assert sent < in_between()
        # Other requests of the connection go on meanwhile.
        other = client.request("/other")
        second = await upstream.accepted()
        await second.message()
        await second.send(ok(b"x"))
        assert (await other.answer()).body == b"x"
        pouring.cancel()
        stream.reset()
        await eventually(lambda: rig.gateway.in_flight == 0)


@on_loop
async def test_nothing_is_acknowledged_before_it_is_taken() -> None:
    """A gate waits: the body stays within the window of its stream."""
    async with Upstream(answering(lambda each: ok(b"%d" % len(each.body)))) as upstream, gateway(to(upstream)) as rig:
        client = await http2(rig)
        stream = client.request(method="POST", end=False)
        await stream.send(b"b" * 500_000, end=True)
        assert (await stream.answer()).body == b"500000"


@pytest.mark.parametrize("length", ["5", "7"], ids=["more than said", "less than said"])
@on_loop
async def test_a_body_that_is_not_what_its_length_says_ends_its_stream_alone(length: str) -> None:
    async with Upstream(answering(lambda _: ok(b"x"))) as upstream, gateway(to(upstream)) as rig:
        client = await http2(rig)
        stream = client.request("/", ("content-length", length), method="POST", body=b"123456", end=False)
        await stream.send(end=True)
        assert (await stream.started()).status == 400
        await client.until(lambda: stream.over)
        assert (await client.ask("/next")).body == b"x"


@on_loop
async def test_whoever_is_answered_early_is_told_to_stop_without_being_cut() -> None:
    async with (
        Upstream(answering(lambda _: ok(b"x"))) as upstream,
        gateway(to(upstream, route={"max_body": 10})) as rig,
    ):
        client = await http2(rig)
        stream = client.request(method="POST", end=False)
        await stream.send(b"b" * 100)
        assert (await stream.started()).status == 413
        assert await stream.reset_code() == ErrorCodes.NO_ERROR
        assert b"payload_too_large" in stream.body
        assert stream.complete
        assert (await client.ask("/next")).body == b"x"


@on_loop
async def test_interim_answers_and_trailers_pass() -> None:
    async def play(link: Wire) -> None:
        request = await link.message()
        assert request.trailers == [("x-sum", "9")]
        await link.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        await link.send(streaming(), chunk(b"body"), b"0\r\nX-Sum: 7\r\nX-Other: 1\r\n\r\n")
        await link.message()

    async with Upstream(play) as upstream, gateway(to(upstream, http={"trailers": ["x-sum"]})) as rig:
        client = await http2(rig)
        stream = client.request("/", ("expect", "100-continue"), method="POST", end=False)
        await client.until(lambda: bool(stream.interim))
        await stream.send(b"abc", trailers=(("x-sum", "9"),))
        answer = await stream.answer()
        assert [each.status for each in answer.interim] == [100, 103]
        assert (answer.body, answer.trailers) == (b"body", [("x-sum", "7")])


# -- waits that end ------------------------------------------------------------------------------------------------


@on_loop
async def test_a_window_that_stays_closed_ends_the_stream() -> None:
    document = {"http": {"write_timeout": 0.2}}
    async with Upstream(answering(lambda _: ok(b"w" * 500))) as upstream, gateway(to(upstream, **document)) as rig:
        client = await http2(rig, settings={SettingCodes.INITIAL_WINDOW_SIZE: 10})
        client.hold = True
        stream = client.request()
        assert await stream.reset_code() == ErrorCodes.CANCEL
        assert len(stream.body) == 10
        # The connection serves on.
        assert (await client.ask("/", method="HEAD")).status == 200


@on_loop
async def test_a_connection_window_that_stays_closed_ends_the_connection() -> None:
    document = {"http": {"write_timeout": 0.2}}
    async with Upstream(answering(lambda _: ok(b"w" * 100_000))) as upstream, gateway(to(upstream, **document)) as rig:
        client = await http2(rig, hold=True, settings={SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
        client.request()
        code, _, _ = await client.goaway()
        assert code == ErrorCodes.ENHANCE_YOUR_CALM
        await client.closed()
        assert rig.counted("http2_violations_total", kind="stalled") == 1


@on_loop
async def test_a_client_that_does_not_read_its_socket_is_cut() -> None:
    document = {"http": {"write_timeout": 0.2}}
    body = b"w" * in_between()
    async with Upstream(answering(lambda _: ok(body))) as upstream, gateway(to(upstream, **document)) as rig:
        window = (1 << 31) - 1
        client = await http2(rig, receive_buffer=4096, settings={SettingCodes.INITIAL_WINDOW_SIZE: window})
        client.codec.increment_flow_control_window(window - 65535)
        client.flush()
        client.request()
        client.pause()
        await eventually(lambda: not rig.connections)


@on_loop
async def test_a_slow_body_is_refused_and_the_others_go_on() -> None:
    async with (
        Upstream(answering(lambda _: ok(b"x"))) as upstream,
        gateway(to(upstream, http={"body_timeout": 0.15})) as rig,
    ):
        client = await http2(rig)
        stream = client.request("/", ("content-length", "10"), method="POST", end=False)
        assert (await stream.started()).status == 408
        assert await stream.reset_code() == ErrorCodes.NO_ERROR
        assert (await client.ask("/next")).body == b"x"


@on_loop
async def test_a_head_without_end_ends_the_connection() -> None:
    async with (
        Upstream(answering(lambda _: ok(b"x"))) as upstream,
        gateway(to(upstream, http={"header_timeout": 0.15})) as rig,
    ):
        client = await http2(rig)
        assert (await client.ask()).body == b"x"
        # HEADERS of stream 3 without END_HEADERS.
        client.raw(b"\0\0\1\1\1\0\0\0\3\x82")
        code, _, _ = await client.goaway()
        assert code == ErrorCodes.ENHANCE_YOUR_CALM
        await client.closed()


# -- whoever leaves ------------------------------------------------------------------------------------------------


@on_loop
async def test_a_stream_that_is_reset_ends_its_work_upstream() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client = await http2(rig)
        gone, stays = client.request("/gone"), client.request("/stays")
        links = {(await (link := await upstream.accepted()).message()).target: link for _ in range(2)}
        gone.reset()
        assert await links["/gone"].rest() == b""
        await links["/stays"].send(ok(b"x"))
        assert (await stays.answer()).body == b"x"
        lines = await rig.logged(2)
        assert sorted(line["status_code"] for line in lines) == [200, 499]


@on_loop
async def test_what_is_reset_in_the_same_read_never_begins() -> None:
    seen: list[Message] = []
    async with Upstream(answering(lambda _: ok(b"x"), seen)) as upstream, gateway(to(upstream)) as rig:
        client = await http2(rig)
        assert (await client.ask("/first")).body == b"x"
        flush, client.flush = client.flush, lambda: None  # type: ignore[method-assign]
        client.request("/never").reset()
        client.flush = flush  # type: ignore[method-assign]
        assert (await client.ask("/last")).body == b"x"
        assert [each.target for each in seen] == ["/first", "/last"]


@on_loop
async def test_an_upstream_that_breaks_off_resets_the_stream() -> None:
    async def play(link: Wire) -> None:
        request = await link.message()
        if request.target == "/cut":
            await link.send(streaming(), chunk(b"half"))
            link.close()
        else:
            await link.send(ok(b"x"))

    async with Upstream(play) as upstream, gateway(to(upstream)) as rig:
        client = await http2(rig)
        stream = client.request("/cut")
        with pytest.raises(Cut, match="RST_STREAM 2"):
            await stream.answer()
        assert stream.body == b"half"
        assert (await client.ask("/next")).body == b"x"


@on_loop
async def test_one_stream_too_many_is_refused_alone() -> None:
    async with Upstream() as upstream, gateway(to(upstream, http={"http2": {"max_streams": 2}})) as rig:
        client = await http2(rig)
        # Before the gateway's SETTINGS are known.
        streams = [client.request(f"/{each}") for each in range(3)]
        assert await streams[2].reset_code() == ErrorCodes.REFUSED_STREAM
        for _ in range(2):
            link = await upstream.accepted()
            await link.message()
            await link.send(ok(b"x"))
        assert [(await each.answer()).body for each in streams[:2]] == [b"x", b"x"]
        assert len(await rig.logged(2)) == 2
