"""gRPC as others wrote it, around the gateway: a server that a test gives its methods, and a channel of a client.

    async with GrpcServer(Unary=echo) as server, gateway(to_grpc(server)) as rig, calling(rig) as channel:
        assert await channel.unary_unary("/test.Service/Unary")(b"hello") == b"hello"

Messages are bytes: how they are written is nobody's business on the way.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import grpc
import grpc.aio

from tests.proxy.http2_upstream import Http2Upstream
from tests.proxy.stage import Rig, to

Context = Any
_METHOD = "/test.Service/"
# The fields of a call, for whoever speaks HTTP/2 by hand.
CALL = (("content-type", "application/grpc"), ("te", "trailers"))
# A channel of its own for each test: grpcio shares connections between channels that are alike.
_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))


def method(name: str) -> str:
    """Return the path of a method of the server."""
    return _METHOD + name


class GrpcServer(grpc.GenericRpcHandler):  # type: ignore[misc]
    """A server of grpcio. Methods are async functions or generators: `(request, context)`.

    The kind is told by the name: Unary..., ServerStream..., ClientStream..., Bidi...; `called` lists what was called.
    """

    def __init__(
        self, *, options: Sequence[tuple[str, Any]] = (), tls: tuple[str, str] | None = None, **methods: Any
    ) -> None:
        """`tls`: files of a certificate and its key."""
        self.methods = methods
        self.called: list[tuple[str, dict[str, Any]]] = []
        self._server = grpc.aio.server(options=options)
        self._server.add_generic_rpc_handlers((self,))
        if tls is None:
            self.url = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        else:
            cert, key = (Path(file).read_bytes() for file in tls)
            credentials = grpc.ssl_server_credentials([(key, cert)])
            self.url = f"https://127.0.0.1:{self._server.add_secure_port('127.0.0.1:0', credentials)}"

    def service(self, handler_call_details: Any) -> Any:
        """Find a method."""
        name = handler_call_details.method.rpartition("/")[2]
        behaviour = self.methods.get(name)
        if behaviour is None:
            return None
        self.called.append((name, dict(handler_call_details.invocation_metadata)))
        if name.startswith("Unary"):
            return grpc.unary_unary_rpc_method_handler(behaviour)
        if name.startswith("ServerStream"):
            return grpc.unary_stream_rpc_method_handler(behaviour)
        if name.startswith("ClientStream"):
            return grpc.stream_unary_rpc_method_handler(behaviour)
        return grpc.stream_stream_rpc_method_handler(behaviour)

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(0)


def to_grpc(*servers: GrpcServer, **more: Any) -> dict[str, Any]:
    """Write a configuration: one service `api` of these servers, spoken to by HTTP/2."""
    service = {"protocol": "http2", **more.pop("service", {})}
    return to(*(each.url for each in servers), service=service, **more)


def over(upstream: Http2Upstream, **more: Any) -> dict[str, Any]:
    """Write a configuration whose service is an upstream that is played by hand."""
    return to(upstream.url, service={"protocol": "http2", **more.pop("service", {})}, **more)


def framed(message: bytes) -> bytes:
    """Put a message into its frame."""
    return b"\0" + len(message).to_bytes(4, "big") + message


@asynccontextmanager
async def calling(rig: Rig, *options: tuple[str, Any]) -> AsyncIterator[grpc.aio.Channel]:
    """Open a channel to the gateway."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{rig.port()}", options=(*_OPTIONS, *options)) as channel:
        yield channel


async def ended(call: Any) -> tuple[int, str]:
    """Wait for the end of a call; return its code and its message."""
    code = await call.code()
    return code.value[0], await call.details() or ""


async def fails(call: Awaitable[Any]) -> grpc.aio.AioRpcError:
    """Await a call that must fail."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError(f"it was answered: {answer!r}")


def code(error: grpc.aio.AioRpcError) -> int:
    """Return the number of the code of a call that failed."""
    number: int = error.code().value[0]
    return number


# -- methods -------------------------------------------------------------------------------------------------------


async def echo(request: bytes, _: Context) -> bytes:
    """Return the message."""
    return request


def aborting(number: int, text: str = "", *, trailing: Sequence[tuple[str, Any]] = ()) -> Callable[..., Any]:
    """Make a method that ends with this code and says nothing else."""
    status = next(each for each in grpc.StatusCode if each.value[0] == number)

    async def abort(_: Any, context: Context) -> bytes:
        await context.abort(status, text, tuple(trailing))
        raise AssertionError

    return abort
