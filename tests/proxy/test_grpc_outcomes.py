"""What the end of a call says of its service: retries, breakers, ejection, records, all by grpc-status."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from tests.proxy.grpc_peers import (
    CALL,
    Context,
    GrpcServer,
    aborting,
    calling,
    code,
    ended,
    fails,
    framed,
    method,
    over,
    to_grpc,
)
from tests.proxy.http2_client import http2
from tests.proxy.http2_upstream import Asked, Http2Upstream, Link
from tests.proxy.peers import eventually
from tests.proxy.stage import gateway, on_loop

SOON = {"backoff": {"base": 0, "max": 0}, "budget": {"minimum": 10}}


class Failing:
    """A method that ends so many times with a code before it answers."""

    def __init__(self, number: int, times: int, *trailing: tuple[str, str]) -> None:
        self.left = times
        self.asked: list[bytes] = []
        self._abort = aborting(number, "for now", trailing=trailing)

    async def unary(self, request: bytes, context: Context) -> bytes:
        self.asked.append(request)
        if self.left:
            self.left -= 1
            await self._abort(request, context)
        return request

    async def collect(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        return await self.unary(b",".join([each async for each in requests]), context)


def retrying(*on: str | int, **more: Any) -> dict[str, Any]:
    return {"retry": {"attempts": 3, "on": list(on), **SOON, **more}}


# -- retries -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "occasion"),
    [(1, "cancelled"), (4, "deadline-exceeded"), (8, "resource-exhausted"), (13, "internal"), (14, "unavailable")],
)
def test_a_code_that_is_listed_is_tried_again(number: int, occasion: str) -> None:
    @on_loop
    async def play() -> None:
        failing = Failing(number, 2)
        async with GrpcServer(Unary=failing.unary) as server, gateway(to_grpc(server, route=retrying(occasion))) as rig:
            async with calling(rig) as channel:
                assert await channel.unary_unary(method("Unary"))(b"hello") == b"hello"
            assert failing.asked == [b"hello"] * 3
            (line,) = await rig.logged()
            assert (line["attempts"], line["grpc_status"]) == (3, 0)
            assert rig.counted("retries_total", service="api", reason="status") == 2

    play()


@pytest.mark.parametrize(
    ("number", "on", "times"), [(13, ["unavailable"], 1), (14, ["5xx", "reset", "connect", 503], 1), (14, [], 1)]
)
def test_a_code_that_is_not_listed_is_passed_on(number: int, on: list[Any], times: int) -> None:
    @on_loop
    async def play() -> None:
        failing = Failing(number, 9)
        async with GrpcServer(Unary=failing.unary) as server, gateway(to_grpc(server, route=retrying(*on))) as rig:
            async with calling(rig) as channel:
                error = await fails(channel.unary_unary(method("Unary"))(b"hello"))
                assert (code(error), error.details()) == (number, "for now")
            assert len(failing.asked) == times

    play()


@on_loop
async def test_when_all_tries_fail_the_last_answer_is_passed_on() -> None:
    failing = Failing(14, 99)
    route = retrying("unavailable")
    async with GrpcServer(Unary=failing.unary) as server, gateway(to_grpc(server, route=route)) as rig:
        async with calling(rig) as channel:
            error = await fails(channel.unary_unary(method("Unary"))(b"hello"))
            assert (code(error), error.details()) == (14, "for now")
        assert len(failing.asked) == 4
        (line,) = await rig.logged()
        assert (line["attempts"], line["status_code"], line["grpc_status"]) == (4, 200, 14)


@on_loop
async def test_a_stream_of_a_client_is_sent_again_while_it_is_held() -> None:
    async def sending() -> AsyncIterator[bytes]:
        for each in (b"one", b"two"):
            yield each

    failing = Failing(14, 1)
    route = retrying("unavailable")
    async with GrpcServer(ClientStream=failing.collect) as server, gateway(to_grpc(server, route=route)) as rig:
        async with calling(rig) as channel:
            assert await channel.stream_unary(method("ClientStream"))(sending()) == b"one,two"
        assert failing.asked == [b"one,two"] * 2


@on_loop
async def test_a_stream_longer_than_what_is_held_is_sent_once() -> None:
    failing = Failing(14, 1)
    route = retrying("unavailable", buffer=100)
    async with GrpcServer(Unary=failing.unary) as server, gateway(to_grpc(server, route=route)) as rig:
        async with calling(rig) as channel:
            assert code(await fails(channel.unary_unary(method("Unary"))(b"x" * 200))) == 14
        assert len(failing.asked) == 1


@on_loop
async def test_nothing_is_tried_again_behind_a_message() -> None:
    calls: list[bytes] = []

    async def stumble(request: bytes, context: Context) -> AsyncIterator[bytes]:
        calls.append(request)
        yield b"first"
        await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    route = retrying("unavailable")
    async with GrpcServer(ServerStream=stumble) as server, gateway(to_grpc(server, route=route)) as rig:
        async with calling(rig) as channel:
            call = channel.unary_stream(method("ServerStream"))(b"")
            assert await call.read() == b"first"
            assert await ended(call) == (14, "gone")
        assert len(calls) == 1


@pytest.mark.parametrize(("pushback", "tries"), [("-1", 1), ("junk", 1), ("0", 2), ("3600000", 1)])
def test_a_server_that_pushes_back_is_obeyed(pushback: str, tries: int) -> None:
    @on_loop
    async def play() -> None:
        failing = Failing(14, 1, ("grpc-retry-pushback-ms", pushback))
        route = retrying("unavailable")
        async with GrpcServer(Unary=failing.unary) as server, gateway(to_grpc(server, route=route)) as rig:
            async with calling(rig) as channel:
                call = channel.unary_unary(method("Unary"))(b"")
                assert (await ended(call))[0] == (0 if tries == 2 else 14)
            assert len(failing.asked) == tries

    play()


@on_loop
async def test_another_endpoint_answers_for_one_that_is_unavailable() -> None:
    ill, well = Failing(14, 99), Failing(14, 0)
    route = retrying("unavailable")
    async with (
        GrpcServer(Unary=ill.unary) as one,
        GrpcServer(Unary=well.unary) as other,
        gateway(to_grpc(one, other, route=route)) as rig,
        calling(rig) as channel,
    ):
        for _ in range(4):
            assert await channel.unary_unary(method("Unary"))(b"x") == b"x"
        assert len(well.asked) == 4


@on_loop
async def test_who_gives_up_while_a_call_is_tried_again_has_given_up() -> None:
    async with Http2Upstream() as upstream, gateway(over(upstream, route=retrying("unavailable"))) as rig:
        async with await http2(rig) as client:
            stream = client.request(method("Unary"), *CALL, method="POST", body=framed(b""))
            link = await upstream.accepted()
            link.head(await link.asked(), *CALL, ("grpc-status", "14"), end=True)
            asked = await link.asked()
            stream.reset()
            await eventually(lambda: asked.reset is not None)
        (line,) = await rig.logged()
        assert (line["status_code"], line["grpc_status"], line["attempts"]) == (499, 1, 2)


# -- breakers and ejection -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "opens"),
    [(2, True), (4, True), (13, True), (14, True), (15, True), (3, False), (5, False), (8, False), (12, False)],
)
def test_a_breaker_opens_by_codes_that_blame_the_server(number: int, opens: bool) -> None:
    @on_loop
    async def play() -> None:
        service = {"circuit_breaker": {"threshold": 2, "timeout": 3600}}
        failing = Failing(number, 99)
        async with GrpcServer(Unary=failing.unary) as server, gateway(to_grpc(server, service=service)) as rig:
            async with calling(rig) as channel:
                unary = channel.unary_unary(method("Unary"))
                assert [code(await fails(unary(b""))) for _ in range(3)] == [number, number, 14 if opens else number]
            assert len(failing.asked) == (2 if opens else 3)

    play()


@on_loop
async def test_a_code_that_comes_behind_messages_counts_as_well() -> None:
    async def stumble(_: bytes, context: Context) -> AsyncIterator[bytes]:
        yield b"first"
        await context.abort(grpc.StatusCode.INTERNAL, "gone")

    service = {"circuit_breaker": {"threshold": 1, "timeout": 3600}}
    async with (
        GrpcServer(ServerStream=stumble) as server,
        gateway(to_grpc(server, service=service)) as rig,
        calling(rig) as channel,
    ):
        stream = channel.unary_stream(method("ServerStream"))
        call = stream(b"")
        assert await call.read() == b"first"
        assert (await ended(call))[0] == 13
        assert await ended(stream(b"")) == (14, "The service is failing and is given a rest.")


@on_loop
async def test_a_status_may_be_named_by_what_it_is_over_http() -> None:
    service = {"circuit_breaker": {"threshold": 1, "timeout": 3600, "failures": [429]}}
    failing = Failing(8, 1)
    async with (
        GrpcServer(Unary=failing.unary) as server,
        gateway(to_grpc(server, service=service)) as rig,
        calling(rig) as channel,
    ):
        unary = channel.unary_unary(method("Unary"))
        assert [code(await fails(unary(b""))) for _ in range(2)] == [8, 14]


@on_loop
async def test_a_deadline_that_the_caller_chose_is_nobodys_failure() -> None:
    service = {"circuit_breaker": {"threshold": 1, "timeout": 3600}}

    def late(link: Link, asked: Asked) -> None:
        link.head(asked, *CALL, ("grpc-status", "4"), end=True)

    async with (
        Http2Upstream(late) as upstream,
        gateway(over(upstream, service=service)) as rig,
        await http2(rig) as client,
    ):
        for _ in range(2):
            chosen = (*CALL, ("grpc-timeout", "9S"))
            answer = await client.ask(method("Unary"), *chosen, method="POST", body=framed(b""))
            assert (answer.get("grpc-status"), answer.get("grpc-message")) == ("4", None)
        answers = [await client.ask(method("Unary"), *CALL, method="POST", body=framed(b"")) for _ in range(2)]
        assert [answer.get("grpc-status") for answer in answers] == ["4", "14"]


@on_loop
async def test_an_endpoint_whose_codes_are_bad_is_ejected() -> None:
    ill, well = Failing(14, 99), Failing(14, 0)
    service = {"outlier": {"consecutive_failures": 2, "ejection_time": 300}, "retry": {"attempts": 0}}
    async with (
        GrpcServer(Unary=ill.unary) as one,
        GrpcServer(Unary=well.unary) as other,
        gateway(to_grpc(one, other, service=service)) as rig,
        calling(rig) as channel,
    ):
        for _ in range(8):
            await ended(channel.unary_unary(method("Unary"))(b"x"))
        assert len(ill.asked) == 2
        assert rig.counted("outlier_ejections_total", service="api") == 1


@on_loop
async def test_an_endpoint_for_which_others_answer_is_ejected_all_the_same() -> None:
    ill, well = Failing(14, 99), Failing(14, 0)
    service = {"outlier": {"consecutive_failures": 2, "ejection_time": 300}}
    one, other = GrpcServer(Unary=ill.unary), GrpcServer(Unary=well.unary)
    document = to_grpc(one, other, service=service, route=retrying("unavailable"))
    async with one, other, gateway(document) as rig, calling(rig) as channel:
        for _ in range(8):
            assert await channel.unary_unary(method("Unary"))(b"x") == b"x"
        assert len(ill.asked) == 2
        assert rig.counted("outlier_ejections_total", service="api") == 1


# -- the books -----------------------------------------------------------------------------------------------------


def _trailers_only(link: Link, asked: Asked) -> None:
    link.head(asked, *CALL, ("grpc-status", "5"), end=True)


def _behind(link: Link, asked: Asked) -> None:
    link.head(asked, *CALL)
    link.data(asked, framed(b"x"))
    link.trailers(asked, ("grpc-status", "15"))


def _no_messages(link: Link, asked: Asked) -> None:
    link.head(asked, *CALL)
    link.trailers(asked, ("grpc-status", "0"))


def _no_status(link: Link, asked: Asked) -> None:
    link.head(asked, *CALL)
    link.data(asked, framed(b"x"), end=True)


def _junk(link: Link, asked: Asked) -> None:
    link.head(asked, *CALL, ("grpc-status", "fine"), end=True)


def _html(link: Link, asked: Asked) -> None:
    link.answer(asked, b"<html>", ("content-type", "text/html"), status=503)


@pytest.mark.parametrize(
    ("play", "status", "number", "level"),
    [
        (_trailers_only, 200, 5, "WARNING"),
        (_behind, 200, 15, "ERROR"),
        (_no_messages, 200, 0, "INFO"),
        (_no_status, 200, 2, "ERROR"),
        (_junk, 200, 2, "ERROR"),
        (_html, 503, 14, "ERROR"),
    ],
    ids=["trailers-only", "behind", "no-messages", "no-status", "junk", "html"],
)
def test_every_call_has_its_code_in_log_metrics_and_record(
    play: Callable[[Link, Asked], None], status: int, number: int, level: str
) -> None:
    @on_loop
    async def run() -> None:
        telemetry = {"telemetry": {"access_log": {"enabled": False}, "sampling": {"ratio": 1}}}
        async with Http2Upstream(play) as upstream, gateway(over(upstream, **telemetry)) as rig:
            async with await http2(rig) as client:
                answer = await client.ask(method("Unary"), *CALL, method="POST", body=framed(b""))
                assert answer.status == status
            (line,) = await rig.logged()
            assert (line["status_code"], line["grpc_status"], line["level"]) == (status, number, level)
            assert rig.counted("grpc_requests_total", route="all", service="api", grpc_status=str(number)) == 1
            (record,) = await rig.records()
            assert (record["status"], record["grpc_status"]) == (status, number)

    run()


@on_loop
async def test_what_is_no_call_has_no_code() -> None:
    telemetry = {"telemetry": {"access_log": {"enabled": False}, "sampling": {"ratio": 1}}}

    def play(link: Link, asked: Asked) -> None:
        link.answer(asked, b"x", ("grpc-status", "14"))

    async with Http2Upstream(play) as upstream, gateway(over(upstream, **telemetry)) as rig:
        async with await http2(rig) as client:
            assert (await client.ask("/x")).get("grpc-status") == "14"
        (line,) = await rig.logged()
        assert "grpc_status" not in line
        assert rig.counted("grpc_requests_total", route="all") == 0
        (record,) = await rig.records()
        assert "grpc_status" not in record


@on_loop
async def test_a_call_that_failed_is_recorded_as_an_error_is() -> None:
    telemetry = {"telemetry": {"access_log": {"enabled": False}, "sampling": {"ratio": 0, "per_second": 0}}}
    async with GrpcServer(Unary=aborting(14)) as server, gateway(to_grpc(server, **telemetry)) as rig:
        async with calling(rig) as channel:
            await fails(channel.unary_unary(method("Unary"))(b""))
        (record,) = await rig.records()
        assert (record["sampled"], record["status"], record["grpc_status"]) == ("error", 200, 14)


@on_loop
async def test_messages_are_never_compressed_on_the_way() -> None:
    def play(link: Link, asked: Asked) -> None:
        link.head(asked, ("content-type", "application/grpc+json"))
        link.data(asked, framed(b'"' + b"x" * 5000 + b'"'))
        link.trailers(asked, ("grpc-status", "0"))

    compression = {"compression": {"types": ["application/*", "application/*+json", "application/grpc+json"]}}
    async with (
        Http2Upstream(play) as upstream,
        gateway(over(upstream, **compression)) as rig,
        await http2(rig) as client,
    ):
        accepts = ("accept-encoding", "gzip, br, zstd")
        answer = await client.ask(method("Unary"), *CALL, accepts, method="POST", body=framed(b""))
        assert answer.get("content-encoding") is None
        assert len(answer.body) == 5007
