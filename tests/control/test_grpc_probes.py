"""Checks by gRPC's health protocol at work, against the server of grpcio-health-checking; and checks over HTTP/2."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

from headgate.policy.endpoint_record import CHECK_STATUS, CHECKS_IN_ROW, UNHEALTHY
from tests.control.test_probes import checking
from tests.loops import on_plain_loop
from tests.proxy.http2_upstream import Asked, Http2Upstream, Link
from tests.proxy.peers import Message, Upstream, answering, eventually, free_port, ok
from tests.wire.certificates import Authority

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
GRPC = {"type": "grpc"}


class Server:
    """A server of grpcio that says how it is."""

    def __init__(self) -> None:
        self.servicer = health.HealthServicer()
        self.url = ""

    async def say(self, service: str, status: Any) -> None:
        await self.servicer.set(service, status)


@asynccontextmanager
async def serving(credentials: Any = None) -> AsyncIterator[Server]:
    served, server = Server(), grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(served.servicer, server)
    if credentials is None:
        served.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    else:
        served.url = f"https://127.0.0.1:{server.add_secure_port('127.0.0.1:0', credentials)}"
    await server.start()
    try:
        yield served
    finally:
        await server.stop(0)


def name(url: str) -> str:
    return url.removeprefix("http://").removeprefix("https://")


@on_plain_loop
async def test_a_server_is_asked_as_a_whole_and_comes_and_goes_by_its_word() -> None:
    async with serving() as server, checking() as rig:
        rig.follow(server.url, health=GRPC)
        await eventually(lambda: rig.cell(server.url, CHECKS_IN_ROW) > 1)
        assert rig.cell(server.url, CHECK_STATUS) == 200
        await server.say("", NOT_SERVING)
        await rig.is_out(server.url)
        await server.say("", SERVING)
        await rig.is_out(server.url, False)
        assert rig.log.lines == [
            f"warning: endpoint {name(server.url)} of api is unhealthy: it says NOT_SERVING",
            f"info: endpoint {name(server.url)} of api is healthy again",
        ]
        assert rig.counted()["api", "not_serving"] >= 1
        assert rig.counted()["api", "well"] >= 3


@on_plain_loop
async def test_a_service_is_asked_for_by_its_name() -> None:
    async with serving() as server, checking() as rig:
        await server.say("shop.Cart", NOT_SERVING)
        rig.follow(server.url, health={**GRPC, "service": "shop.Cart"})
        await rig.is_out(server.url)
        await server.say("shop.Cart", SERVING)
        await rig.is_out(server.url, False)
        rig.follow(server.url, health={**GRPC, "service": "shop.Unheard"})
        await rig.is_out(server.url)
        assert rig.log.lines[-1].endswith("is unhealthy: grpc-status 5 (NOT_FOUND)")
        assert rig.counted()["api", "grpc_status"] >= 1


@on_plain_loop
async def test_a_server_without_the_protocol_is_not_well() -> None:
    server = grpc.aio.server()
    url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        async with checking() as rig:
            rig.follow(url, health=GRPC)
            await rig.is_out(url)
            assert rig.log.lines[0].endswith("is unhealthy: grpc-status 12 (UNIMPLEMENTED)")
    finally:
        await server.stop(0)


def test_a_server_is_asked_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("api.internal")
    pair = Path(key).read_bytes(), Path(cert).read_bytes()

    @on_plain_loop
    async def play() -> None:
        async with serving(grpc.ssl_server_credentials([pair])) as server, checking() as rig:
            rig.follow(server.url, health=GRPC, tls={"ca": authority.path, "server_name": "api.internal"})
            await eventually(lambda: rig.cell(server.url, CHECKS_IN_ROW) > 1)
            assert rig.cell(server.url, UNHEALTHY) == 0
            rig.follow(server.url, health=GRPC, tls={"ca": authority.path, "server_name": "other.internal"})
            await rig.is_out(server.url)
            assert rig.counted()["api", "tls"] >= 1

    play()


@pytest.mark.parametrize(
    ("play", "reason", "why"),
    [
        (lambda link, asked: link.reset(asked), "upstream_reset", "the stream was reset with error 2"),
        (lambda link, _: link.cut(), "upstream_reset", "the connection was closed before the end of the answer"),
        (lambda link, _: link.raw(b"\xff" * 64), "upstream_protocol", "no HTTP/2 answer: "),
        (lambda link, asked: link.head(asked, status=503, end=True), "status", "status 503"),
        (lambda link, asked: link.head(asked, end=True), "grpc_status", "the answer has no grpc-status"),
    ],
    ids=["reset", "cut", "garbage", "status", "no-code"],
)
def test_whatever_is_no_answer_takes_an_endpoint_out(play: Any, reason: str, why: str) -> None:
    @on_plain_loop
    async def run() -> None:
        async with Http2Upstream(play) as upstream, checking() as rig:
            rig.follow(upstream.url, health=GRPC)
            await rig.is_out(upstream.url)
            assert rig.log.lines[0].partition("is unhealthy: ")[2].startswith(why)
            assert rig.counted()["api", reason] >= 1

    run()


@on_plain_loop
async def test_who_speaks_http1_only_is_not_well() -> None:
    async with Upstream(answering(lambda _: ok(b"fine"))) as upstream, checking() as rig:
        rig.follow(upstream, health=GRPC)
        await rig.is_out(upstream)
        assert rig.counted()["api", "upstream_protocol"] >= 1


@on_plain_loop
async def test_an_endless_answer_is_not_read_to_its_end() -> None:
    def flood(link: Link, asked: Asked) -> None:
        link.head(asked)
        window = min(link.codec.local_flow_control_window(asked.number), 60_000)
        link.data(asked, b"x" * window)

    async with Http2Upstream(flood) as upstream, checking() as rig:
        rig.follow(upstream.url, health={**GRPC, "timeout": 0.05, "interval": 0.05})
        await rig.is_out(upstream.url)
        assert rig.log.lines[0].endswith("no answer within 0.05 s")


@on_plain_loop
async def test_what_is_asked_says_who_asks() -> None:
    seen: list[Asked] = []

    def note(link: Link, asked: Asked) -> None:
        seen.append(asked)
        link.head(asked, ("content-type", "application/grpc"))
        link.data(asked, b"\0\0\0\0\2\x08\1")
        link.trailers(asked, ("grpc-status", "0"))

    async with Http2Upstream(note) as upstream, checking() as rig:
        rig.follow(upstream.url, health={**GRPC, "host": "inner.test", "service": "a"})
        await eventually(lambda: rig.cell(upstream.url, CHECKS_IN_ROW) > 0)
        assert seen[0].pseudo == {
            ":method": "POST",
            ":scheme": "http",
            ":authority": "inner.test",
            ":path": "/grpc.health.v1.Health/Check",
        }
        assert seen[0].get("te") == "trailers"
        assert seen[0].get("content-type") == "application/grpc"
        assert seen[0].get("user-agent") == "headgate-health"
        assert seen[0].body == b"\0\0\0\0\3\x0a\1a"


# -- checks of HTTP ------------------------------------------------------------------------------------------------


@on_plain_loop
async def test_a_service_of_http2_is_asked_over_http2() -> None:
    bodies = [b'{"status": "ok"}']

    def play(link: Link, asked: Asked) -> None:
        link.answer(asked, bodies[0], status=200 if asked.target == "/ready" else 404)

    async with Http2Upstream(play) as upstream, checking() as rig:
        settings = {"path": "/ready", "body": "ok"}
        rig.follow(upstream.url, health=settings, protocol="http2")
        await eventually(lambda: rig.cell(upstream.url, CHECKS_IN_ROW) > 1)
        bodies[0] = b"{}"
        await rig.is_out(upstream.url)
        assert rig.log.lines[0].endswith("the body does not match")


@pytest.mark.parametrize("offered", ["h2", "http/1.1"])
@on_plain_loop
async def test_a_service_that_chooses_is_asked_in_what_it_chose(offered: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = authority.server_context("127.0.0.1")
    tls.set_alpn_protocols([offered])
    asked: list[str] = []

    def play(link: Link, request: Asked) -> None:
        asked.append("h2")
        link.answer(request, b"", status=200)

    def answer(message: Message) -> bytes:
        asked.append("http/1.1")
        return ok(b"")

    old = Upstream(answering(answer), tls=tls)
    new = Http2Upstream(play, tls=tls)
    async with new if offered == "h2" else old as upstream, checking() as rig:
        url = upstream.url.replace("http:", "https:")
        rig.follow(url, health={"path": "/ready"}, protocol="auto", tls={"ca": authority.path})
        await eventually(lambda: rig.cell(url, CHECKS_IN_ROW) > 1)
        assert set(asked) == {offered}


@on_plain_loop
async def test_nobody_there_is_out_as_with_any_check() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with checking() as rig:
        rig.follow(url, health=GRPC)
        await rig.is_out(url)
        assert rig.counted()["api", "connect_refused"] >= 1
