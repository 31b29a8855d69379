"""gRPC in the soak, as others wrote it: a server and callers of grpcio, whose calls last for a while.

A call sends messages one by one and gets each back; it is good if all came, in order, and it ended with OK and the
trailers that are its own. What is sent after GOAWAY grpcio asks elsewhere by itself, where it was not processed.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio

from bench.wallet import Shown

_PAUSE_SECONDS = 0.05
_MESSAGES = 20
_MESSAGE_BYTES = 5_000
_PATIENCE_SECONDS = 60.0
_ID = "x-soak-id"
PATH = "/soak.Echo"
_METHOD = f"{PATH}/Talk"
_numbers = itertools.count(1)


class EchoServer(grpc.GenericRpcHandler):  # type: ignore[misc]
    """A server in this process; `seen` are the ids of the calls that came to it."""

    def __init__(self) -> None:
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers((self,))
        self.port: int = self._server.add_insecure_port("127.0.0.1:0")
        self.seen: set[str] = set()

    async def start(self) -> None:
        """Listen."""
        await self._server.start()

    async def close(self) -> None:
        """Stop, whatever is in progress."""
        await self._server.stop(0)

    def config(self) -> dict[str, Any]:
        """Write the service that is served by it."""
        url = f"http://127.0.0.1:{self.port}"
        routes = [{"name": "calls", "match": {"path": PATH}}]
        return {"name": "echo", "url": url, "protocol": "http2", "routes": routes}

    def service(self, handler_call_details: Any) -> Any:
        """Find the only method."""
        return grpc.stream_stream_rpc_method_handler(self._talk)

    async def _talk(self, messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        name = dict(context.invocation_metadata())[_ID]
        self.seen.add(name)
        context.set_trailing_metadata(((_ID, name),))
        async for message in messages:
            yield message


class Calls:
    """Callers who begin a call when the last one has ended. `judge` gets id, code and words of those not good."""

    def __init__(self, port: int, shown: Shown, judge: Callable[[str, str, str], str]) -> None:
        # A connection of its own: grpcio shares them between channels that are alike.
        options = (("grpc.default_authority", "soak"), ("grpc.use_local_subchannel_pool", 1))
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)
        name, _, value = shown.field.partition(": ")
        self._credential = (name.lower(), value)
        self._judge = judge
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self.total = self.in_flight = 0
        self.failures: list[str] = []

    def start(self, callers: int) -> None:
        """Let so many begin."""
        self._tasks = [asyncio.get_running_loop().create_task(self._caller()) for _ in range(callers)]

    async def stop(self) -> None:
        """Let each end its call."""
        self._stopping = True
        await asyncio.gather(*self._tasks)
        await self._channel.close()

    async def _caller(self) -> None:
        while not self._stopping:
            name = f"call-{next(_numbers)}"
            self.in_flight += 1
            code, words = await self._call(name)
            self.in_flight -= 1
            self.total += 1
            if words and (wrong := self._judge(name, code, words)):
                self.failures.append(f"{name} ({code}): {wrong}")
            if words:
                await asyncio.sleep(0.01)

    async def _call(self, name: str) -> tuple[str, str]:
        """Make a call; return its code, and what was not good."""
        talk = self._channel.stream_stream(_METHOD)
        call = talk(metadata=((_ID, name), self._credential), timeout=_PATIENCE_SECONDS)
        try:
            for _ in range(random.randint(1, _MESSAGES)):
                message = os.urandom(random.randint(0, _MESSAGE_BYTES))
                await call.write(message)
                if (came := await call.read()) != message:
                    return "WRONG", f"{came!r:.80} instead of the {len(message)} bytes that were sent"
                await asyncio.sleep(random.random() * _PAUSE_SECONDS)
            await call.done_writing()
            if (came := await call.read()) is not grpc.aio.EOF:
                return "WRONG", f"{came!r:.80} behind the last message"
            code, trailers = await call.code(), dict(await call.trailing_metadata())
        except grpc.aio.AioRpcError as error:
            return error.code().name, error.details() or "no words"
        except asyncio.InvalidStateError:
            # A write to a call that has ended.
            return (await call.code()).name, await call.details() or "no words"
        if code is not grpc.StatusCode.OK:
            return code.name, await call.details() or "no words"
        return ("OK", "") if trailers.get(_ID) == name else ("WRONG", f"the trailers of {trailers.get(_ID)!r}")
