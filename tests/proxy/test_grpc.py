"""Calls of gRPC through the gateway, by grpcio on both sides: all kinds, metadata, deadlines, and who gives up when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from h2.errors import ErrorCodes

from tests.proxy.grpc_peers import (
    CALL,
    Context,
    GrpcServer,
    aborting,
    calling,
    code,
    echo,
    ended,
    fails,
    framed,
    method,
    over,
    to_grpc,
)
from tests.proxy.http2_client import http2
from tests.proxy.http2_upstream import Http2Upstream
from tests.proxy.peers import Upstream, eventually, within
from tests.proxy.stage import Rig, gateway, on_loop, to

MANY = 50


async def count_to(request: bytes, _: Context) -> AsyncIterator[bytes]:
    for number in range(int(request)):
        yield b"%d" % number


async def collect(requests: AsyncIterator[bytes], _: Context) -> bytes:
    return b",".join([each async for each in requests])


async def answer_each(requests: AsyncIterator[bytes], _: Context) -> AsyncIterator[bytes]:
    async for each in requests:
        yield each[::-1]


async def sending(*messages: bytes) -> AsyncIterator[bytes]:
    for each in messages:
        yield each


class Waiting:
    """A method that waits until its call is given up."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.given_up = asyncio.Event()
        self.left: list[float | None] = []

    async def unary(self, _: Any, context: Context) -> bytes:
        self.left.append(context.time_remaining())
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.given_up.set()
        raise AssertionError

    async def stream(self, _: Any, context: Context) -> AsyncIterator[bytes]:
        yield b"first"
        await self.unary(None, context)


# -- kinds ---------------------------------------------------------------------------------------------------------


@on_loop
async def test_a_unary_call_is_answered_and_logged_with_its_code() -> None:
    async with GrpcServer(Unary=echo) as server, gateway(to_grpc(server)) as rig:
        async with calling(rig) as channel:
            assert await channel.unary_unary(method("Unary"))(b"hello") == b"hello"
            assert await channel.unary_unary(method("Unary"))(b"") == b""
        for line in await rig.logged(2):
            assert (line["status_code"], line["grpc_status"], line["protocol"]) == (200, 0, "HTTP/2")
        assert rig.counted("grpc_requests_total", route="all", service="api", grpc_status="0") == 2


@on_loop
async def test_a_server_streams() -> None:
    async with GrpcServer(ServerStream=count_to) as server, gateway(to_grpc(server)) as rig, calling(rig) as channel:
        answers = [each async for each in channel.unary_stream(method("ServerStream"))(b"%d" % MANY)]
        assert answers == [b"%d" % number for number in range(MANY)]
        assert [each async for each in channel.unary_stream(method("ServerStream"))(b"0")] == []


@on_loop
async def test_a_client_streams() -> None:
    async with GrpcServer(ClientStream=collect) as server, gateway(to_grpc(server)) as rig, calling(rig) as channel:
        messages = [b"%d" % number for number in range(MANY)]
        assert await channel.stream_unary(method("ClientStream"))(sending(*messages)) == b",".join(messages)
        assert await channel.stream_unary(method("ClientStream"))(sending()) == b""


@on_loop
async def test_both_stream_and_each_message_goes_at_once() -> None:
    async with GrpcServer(Bidi=answer_each) as server, gateway(to_grpc(server)) as rig, calling(rig) as channel:
        call = channel.stream_stream(method("Bidi"))()
        for number in range(MANY):
            message = b"message %d" % number
            await call.write(message)
            # Only when its answer has come is the next one written: nothing is held back on the way.
            assert await within(call.read()) == message[::-1]
        await call.done_writing()
        assert await within(call.read()) is grpc.aio.EOF
        assert await ended(call) == (0, "")


@on_loop
async def test_many_calls_share_a_connection() -> None:
    async with GrpcServer(Unary=echo) as server, gateway(to_grpc(server)) as rig, calling(rig) as channel:
        calls = [channel.unary_unary(method("Unary"))(b"%d" % number) for number in range(MANY)]
        assert await asyncio.gather(*calls) == [b"%d" % number for number in range(MANY)]
        assert rig.counted("connections_open") == 1


@on_loop
async def test_messages_larger_than_all_windows_pass_both_ways() -> None:
    unbounded = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
    message = bytes(range(256)) * (3 << 12)
    async with GrpcServer(Unary=echo, Bidi=answer_each, options=unbounded) as server, gateway(to_grpc(server)) as rig:
        async with calling(rig, *unbounded) as channel:
            assert await channel.unary_unary(method("Unary"))(message) == message
            call = channel.stream_stream(method("Bidi"))(sending(message, message))
            assert [each async for each in call] == [message[::-1]] * 2
        for line in await rig.logged(2):
            assert line["bytes_in"] == line["bytes_out"] >= len(message)


# -- metadata ------------------------------------------------------------------------------------------------------


@on_loop
async def test_metadata_passes_both_ways_in_front_and_behind() -> None:
    async def tell(request: bytes, context: Context) -> bytes:
        await context.send_initial_metadata((("x-early", "a"), ("x-early-bin", b"\x00\xff")))
        context.set_trailing_metadata((("x-late", "b"), ("x-late", "c"), ("x-late-bin", b"\xfe\x01")))
        return request

    async with GrpcServer(Unary=tell) as server, gateway(to_grpc(server)) as rig, calling(rig) as channel:
        sent = (("x-asked", "why"), ("x-asked-bin", b"\x00\x01\xff"))
        call = channel.unary_unary(method("Unary"))(b"", metadata=sent)
        early, late = dict(await call.initial_metadata() or ()), list(await call.trailing_metadata() or ())
        assert (early["x-early"], early["x-early-bin"]) == ("a", b"\x00\xff")
        assert "x-request-id" in early
        assert [value for key, value in late if key == "x-late"] == ["b", "c"]
        assert dict(late)["x-late-bin"] == b"\xfe\x01"
        ((_, metadata),) = server.called
        assert (metadata["x-asked"], metadata["x-asked-bin"]) == ("why", b"\x00\x01\xff")
        assert metadata["x-forwarded-for"] == "127.0.0.1"


@on_loop
async def test_metadata_behind_an_answer_cannot_be_what_only_the_gateway_says() -> None:
    async def forge(request: bytes, context: Context) -> bytes:
        await context.send_initial_metadata((("x-request-id", "forged"),))
        context.set_trailing_metadata((("x-request-id", "forged"), ("x-late", "kept")))
        return request

    async with GrpcServer(Unary=forge) as server, gateway(to_grpc(server)) as rig, calling(rig) as channel:
        call = channel.unary_unary(method("Unary"))(b"")
        early, late = dict(await call.initial_metadata() or ()), dict(await call.trailing_metadata() or ())
        assert early["x-request-id"] != "forged"
        assert late == {"x-late": "kept"}


@on_loop
async def test_a_server_speaks_of_errors_for_itself() -> None:
    text = "nö: 100 % of it"
    details = (("grpc-status-details-bin", b"\x08\x05details"),)
    async with GrpcServer(Unary=aborting(5, text, trailing=details)) as server, gateway(to_grpc(server)) as rig:
        async with calling(rig) as channel:
            error = await fails(channel.unary_unary(method("Unary"))(b""))
            assert (code(error), error.details()) == (5, text)
            assert dict(error.trailing_metadata())["grpc-status-details-bin"] == b"\x08\x05details"
            error = await fails(channel.unary_unary(method("Unknown"))(b""))
            assert code(error) == 12
        found, unknown = await rig.logged(2)
        assert (found["status_code"], found["grpc_status"], found["level"]) == (200, 5, "WARNING")
        assert (unknown["status_code"], unknown["grpc_status"], unknown["level"]) == (200, 12, "WARNING")


@on_loop
async def test_a_stream_that_fails_midway_ends_with_the_servers_word() -> None:
    async def stumble(_: bytes, context: Context) -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"
        await context.abort(grpc.StatusCode.DATA_LOSS, "lost")

    async with GrpcServer(ServerStream=stumble) as server, gateway(to_grpc(server)) as rig, calling(rig) as channel:
        call = channel.unary_stream(method("ServerStream"))(b"")
        assert [await call.read(), await call.read()] == [b"one", b"two"]
        assert await ended(call) == (15, "lost")
        (line,) = await rig.logged()
        assert (line["status_code"], line["grpc_status"], line["level"]) == (200, 15, "ERROR")


# -- deadlines -----------------------------------------------------------------------------------------------------


@on_loop
async def test_a_deadline_goes_on_with_what_is_left_of_it() -> None:
    left: list[float] = []

    async def tell(_: bytes, context: Context) -> bytes:
        left.append(context.time_remaining())
        return b""

    async with GrpcServer(Unary=tell) as server, gateway(to_grpc(server)) as rig, calling(rig) as channel:
        await channel.unary_unary(method("Unary"))(b"", timeout=9)
        await channel.unary_unary(method("Unary"))(b"")
        assert 0 < left[0] < 9
        assert left[1] is None or left[1] > 1e6


@on_loop
async def test_a_bound_of_the_route_is_the_servers_deadline() -> None:
    left: list[float] = []

    async def tell(_: bytes, context: Context) -> bytes:
        left.append(context.time_remaining())
        return b""

    config = {"timeout": {"total": 7}}
    async with GrpcServer(Unary=tell) as server, gateway(to_grpc(server, route=config)) as rig, calling(rig) as channel:
        await channel.unary_unary(method("Unary"))(b"")
        await channel.unary_unary(method("Unary"))(b"", timeout=60)
        assert all(0 < each < 7 for each in left)


@on_loop
async def test_a_deadline_that_passes_is_told_by_the_gateway_and_the_server_is_told_to_stop() -> None:
    route = {"timeout": {"total": 20}}
    async with Http2Upstream() as upstream, gateway(over(upstream, route=route)) as rig, calling(rig) as channel:
        failing = asyncio.ensure_future(fails(channel.unary_unary(method("Unary"))(b"")))
        asked = await (await upstream.accepted()).asked()
        rig.pass_time(20)
        error = await failing
        assert (code(error), error.details()) == (4, "The request took longer than allowed.")
        assert asked.get("te") == "trailers"
        assert "u" in (asked.get("grpc-timeout") or "")
        await eventually(lambda: asked.reset == ErrorCodes.CANCEL)
        (line,) = await rig.logged()
        assert (line["status_code"], line["grpc_status"], line["error"]) == (504, 4, "total_timeout")


@on_loop
async def test_a_callers_deadline_is_kept_although_neither_side_watches_over_it() -> None:
    async with Http2Upstream() as upstream, gateway(over(upstream)) as rig, await http2(rig) as client:
        answer = await client.ask(method("Unary"), *CALL, ("grpc-timeout", "50m"), method="POST", body=b"x")
        assert (answer.status, answer.get("grpc-status"), answer.trailers) == (200, "4", [])
        (line,) = await rig.logged()
        assert (line["status_code"], line["grpc_status"], line["error"]) == (504, 4, "deadline_exceeded")


@on_loop
async def test_a_stream_that_breaks_off_ends_with_a_status_and_not_with_a_cut() -> None:
    route = {"timeout": {"idle": 20}}
    async with Http2Upstream() as upstream, gateway(over(upstream, route=route)) as rig, calling(rig) as channel:
        stream = channel.unary_stream(method("ServerStream"))
        for number, broken in enumerate((False, True)):
            call = stream(b"")
            if not number:
                link = await upstream.accepted()
            asked = await link.asked(ended=True)
            link.head(asked, *CALL)
            link.data(asked, framed(b"first"))
            assert await call.read() == b"first"
            if broken:
                link.reset(asked)
            else:
                rig.pass_time(20)
            told = "The service closed the connection before answering." if broken else "The service stopped sending."
            assert await ended(call) == (14 if broken else 4, told)
        late, cut = await rig.logged(2)
        assert (late["status_code"], late["grpc_status"], late["error"]) == (200, 4, "idle_timeout")
        assert (cut["status_code"], cut["grpc_status"], cut["error"]) == (200, 14, "upstream_reset")


@on_loop
async def test_an_answer_that_is_none_of_grpc_is_cut_as_any_other() -> None:
    async with Http2Upstream() as upstream, gateway(over(upstream)) as rig, await http2(rig) as client:
        stream = client.request(method("Unary"), *CALL, method="POST", body=b"x")
        link = await upstream.accepted()
        asked = await link.asked()
        link.head(asked, ("content-type", "text/html"), status=502)
        link.data(asked, b"<html>")
        assert (await stream.started()).status == 502
        link.reset(asked)
        assert await stream.reset_code() == ErrorCodes.INTERNAL_ERROR
        assert stream.trailers == []


# -- giving up -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Unary", "ServerStream"])
def test_who_cancels_a_call_cancels_it_at_the_server(kind: str) -> None:
    @on_loop
    async def play() -> None:
        waiting = Waiting()
        methods: dict[str, Any] = {"Unary": waiting.unary, "ServerStream": waiting.stream}
        async with GrpcServer(**methods) as server, gateway(to_grpc(server)) as rig, calling(rig) as channel:
            make = channel.unary_unary if kind == "Unary" else channel.unary_stream
            call = make(method(kind))(b"")
            if kind == "ServerStream":
                assert await call.read() == b"first"
            await within(waiting.begun.wait())
            call.cancel()
            await within(waiting.given_up.wait())
            (line,) = await rig.logged()
            assert (line["status_code"], line["grpc_status"], line["error"]) == (499, 1, "client_closed")
            await eventually(lambda: rig.gateway.in_flight == 0)
            # The connection carries on.
            assert rig.counted("connections_open") == 1

    play()


@on_loop
async def test_a_server_that_ends_a_call_before_its_client_has_said_all_is_heard() -> None:
    async def enough(requests: AsyncIterator[bytes], context: Context) -> bytes:
        async for _ in requests:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "enough")
        raise AssertionError

    async with GrpcServer(ClientStream=enough) as server, gateway(to_grpc(server)) as rig, calling(rig) as channel:
        call = channel.stream_unary(method("ClientStream"))()
        await call.write(b"one")
        assert await ended(call) == (9, "enough")
        (line,) = await rig.logged()
        assert (line["status_code"], line["grpc_status"]) == (200, 9)


@on_loop
async def test_a_server_that_is_not_there_is_unavailable() -> None:
    async with GrpcServer() as server:
        pass
    async with gateway(to_grpc(server)) as rig, calling(rig) as channel:
        error = await fails(channel.unary_unary(method("Unary"))(b""))
        assert (code(error), error.details()) == (14, "The service could not be reached.")
        (line,) = await rig.logged()
        assert (line["status_code"], line["grpc_status"], line["error"]) == (502, 14, "connect_refused")


# -- silence -------------------------------------------------------------------------------------------------------


@on_loop
async def test_a_call_may_be_silent_for_longer_than_a_body_may() -> None:
    http = {"http": {"body_timeout": 0.05, "min_body_rate": 100000}}
    server = GrpcServer(Bidi=answer_each)
    async with server, gateway(to_grpc(server, **http)) as rig, calling(rig) as channel:
        call = channel.stream_stream(method("Bidi"))()
        await call.write(b"one")
        assert await within(call.read()) == b"eno"
        (stream,) = [lane.carried for each in rig.connections for lane in each.lanes.values()]
        # It was filed in no wheel: there is no moment at which a pace would be asked for.
        assert stream.deadline == float("inf")
        await call.write(b"two")
        await call.done_writing()
        assert await within(call.read()) == b"owt"
        assert await ended(call) == (0, "")


@on_loop
async def test_a_body_that_only_calls_itself_a_call_comes_at_the_pace_of_any() -> None:
    http = {"body_timeout": 0.05, "min_body_rate": 0}
    async with Upstream() as upstream, gateway(to(upstream.url, http=http)) as rig, calling(rig) as channel:
        call = channel.stream_stream(method("Bidi"))()
        await call.write(b"one")
        error = await fails(call.read())
        assert (code(error), error.details()) == (4, "The request did not arrive in time.")


def the_call(rig: Rig) -> Any:
    """Return the only call under way, as the pool's side has it."""
    assert rig.gateway.plan is not None
    (target,) = rig.gateway.plan.clusters["api"].targets
    (call,) = [lane.carried for link in target.pool._shared for lane in link.lanes.values()]
    return call


@on_loop
async def test_whoever_speaks_keeps_a_call_alive() -> None:
    async with Http2Upstream() as upstream, gateway(over(upstream)) as rig, calling(rig) as channel:
        call = channel.stream_stream(method("Bidi"))()
        await call.write(b"one")
        link = await upstream.accepted()
        asked = await link.asked()
        await eventually(lambda: len(asked.body) == 8)
        before_head = the_call(rig).deadline
        assert before_head < float("inf")
        await call.write(b"two")
        await eventually(lambda: len(asked.body) == 16)
        assert the_call(rig).deadline > before_head
        link.head(asked, *CALL)
        await within(call.initial_metadata())
        behind_head = the_call(rig).deadline
        await call.write(b"three")
        await eventually(lambda: len(asked.body) == 26)
        assert the_call(rig).deadline > behind_head
        link.trailers(asked, ("grpc-status", "0"))
        assert await ended(call) == (0, "")


@pytest.mark.parametrize("answered", [False, True], ids=["no-head", "head"])
def test_a_call_on_which_nobody_speaks_ends_and_nobody_is_to_blame(answered: bool) -> None:
    @on_loop
    async def play() -> None:
        route, service = {"timeout": {"idle": 20}}, {"outlier": {"consecutive_failures": 1}}
        async with (
            Http2Upstream() as upstream,
            gateway(over(upstream, route=route, service=service)) as rig,
            calling(rig) as channel,
        ):
            call = channel.stream_stream(method("Bidi"))()
            await call.write(b"one")
            link = await upstream.accepted()
            asked = await link.asked()
            if answered:
                link.head(asked, *CALL)
                await within(call.initial_metadata())
            await eventually(lambda: len(asked.body) == 8)
            rig.pass_time(20)
            assert await ended(call) == (4, "The request did not arrive in time.")
            (line,) = await rig.logged()
            assert (line["status_code"], line["grpc_status"]) == (200 if answered else 408, 4)
            assert (line["error"], line["detail"]) == ("request_timeout", "a silent call")
            assert rig.counted("outlier_ejections_total") == 0

    play()
