"""Calls of gRPC over TLS: a version that both sides choose by ALPN, a caller that is known by its certificate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from tests.proxy.grpc_peers import GrpcServer, echo, method, to_grpc
from tests.proxy.stage import ADDRESS, gateway, on_loop
from tests.wire.certificates import Authority


@pytest.mark.parametrize("protocol", ["http2", "auto"])
def test_a_call_passes_over_tls_on_both_sides(tmp_path: Path, protocol: str) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("gateway.test")
    credentials = grpc.ssl_channel_credentials(Path(authority.path).read_bytes())

    @on_loop
    async def play() -> None:
        service = {"protocol": protocol, "tls": {"ca": authority.path, "server_name": "api.internal"}}
        listen = [{"address": ADDRESS, "tls": {"cert": cert, "key": key}}]
        options = (("grpc.ssl_target_name_override", "gateway.test"),)
        async with (
            GrpcServer(Unary=echo, tls=authority.issue("api.internal")) as server,
            gateway(to_grpc(server, service=service, listen=listen)) as rig,
            grpc.aio.secure_channel(f"127.0.0.1:{rig.port()}", credentials, options) as channel,
        ):
            assert await channel.unary_unary(method("Unary"))(b"hello") == b"hello"
            (line,) = await rig.logged()
            assert (line["protocol"], line["host"], line["grpc_status"]) == ("HTTP/2", "gateway.test", 0)

    play()


def test_a_caller_is_known_by_its_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("gateway.test")
    chain, secret = (Path(each).read_bytes() for each in authority.issue("robot.test"))
    credentials = grpc.ssl_channel_credentials(Path(authority.path).read_bytes(), secret, chain)

    @on_loop
    async def play() -> None:
        listen = [{"address": ADDRESS, "tls": {"cert": cert, "key": key, "client_ca": authority.path}}]
        options = (("grpc.ssl_target_name_override", "gateway.test"),)
        config: dict[str, Any] = {
            "listen": listen,
            "identity": {"certificates": {"id": "dns"}},
            "route": {"auth": "required"},
        }
        async with (
            GrpcServer(Unary=echo) as server,
            gateway(to_grpc(server, **config)) as rig,
            grpc.aio.secure_channel(f"127.0.0.1:{rig.port()}", credentials, options) as channel,
        ):
            assert await channel.unary_unary(method("Unary"))(b"hello") == b"hello"
            (line,) = await rig.logged()
            assert (line["identity"], line["grpc_status"]) == ("robot.test", 0)

    play()
