"""One request of an ASGI server, from its call to its return.

    head -> the body as far as it is here -> the exchange begins -> what it writes, to the server -> return

Two things are waited for at once, what the client sends (or that it leaves) and what is to be sent: the server's own
task sends, another one reads for as long as it takes. Law: the server's task ends with the answer, and returns without
its end where the answer was cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from headgate.asgi.head import Scope, head_of, refused_head
from headgate.asgi.socket import SocketStream, ask_for_tunnel
from headgate.asgi.stream import AsgiStream, Message
from headgate.core.clock import monotonic
from headgate.core.failure import Failure

if TYPE_CHECKING:
    from headgate.asgi.guest import AsgiGateway

Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def serve(gateway: AsgiGateway, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one request."""
    stream = _stream(gateway, scope)
    reader: asyncio.Task[None] | None = None

    def read() -> None:
        nonlocal reader
        reader = asyncio.create_task(_read(stream, receive))

    try:
        if stream.failure is None:
            # Where nothing was announced, the end of the body is here at once.
            if (stream.head.length or stream.came(await receive())) and not stream.ended:
                stream.watch()
            if not stream.ended and not stream.head.expects_continue:
                read()
                # What came with the head is in one piece with it, if this task lets the other one read first.
                await asyncio.sleep(0)
        gateway.handle(stream)
        if reader is None and not stream.done and stream.failure is None:
            if stream.ended:
                # Most answers are here before anybody leaves, and a task costs as much as many of them.
                stream.read_later(read)
            else:
                read()
        await _send(stream, send)
    except asyncio.CancelledError:
        stream.client_left()
        raise
    finally:
        stream.settle()
        if reader is not None:
            reader.cancel()


async def serve_socket(gateway: AsgiGateway, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one WebSocket, from its opening to its end."""
    stream = _stream(gateway, scope)
    # That it begins; nothing else comes first.
    await receive()
    reader = asyncio.create_task(_read(stream, receive))
    try:
        gateway.handle(stream)
        await _send(stream, send)
    except asyncio.CancelledError:
        stream.client_left()
        raise
    finally:
        stream.settle()
        reader.cancel()


def _stream(gateway: AsgiGateway, scope: Scope) -> AsgiStream:
    peer = scope.get("client")
    client = gateway.client(peer[0] if peer else "unix:", scope.get("scheme", "http") in ("https", "wss"))
    heads, refused = client.rules.heads, None
    started = monotonic()
    try:
        head = head_of(heads, scope)
    except Failure as failure:
        head, refused = refused_head(scope, heads.scheme), failure
    if scope["type"] == "websocket":
        ask_for_tunnel(head)
        stream: AsgiStream = SocketStream(client, head, started, scope.get("extensions") or {})
    else:
        stream = AsgiStream(client, head, started)
    if refused is not None:
        stream.failure = refused
        stream.ended = True
    return stream


async def _read(stream: AsgiStream, receive: Receive) -> None:
    """Read what the client sends, and then wait for it to leave."""
    while not stream.done or not stream.ended:
        if stream.wanted is not None and not stream.wanted.is_set():
            await stream.wanted.wait()
        if not stream.came(await receive()):
            return


async def _send(stream: AsgiStream, send: Send) -> None:
    """Give the server what there is, until the answer is over, one way or the other."""
    task = asyncio.current_task()
    assert task is not None
    stalled = False

    def on_stalled() -> None:
        nonlocal stalled
        stalled = True
        task.cancel()

    stream.on_stalled = on_stalled
    try:
        while not stream.left:
            await stream.something()
            for message in stream.messages():
                stream.sending()
                await send(message)
            stream.sent()
            if stream.done and not stream.has_more:
                return
    except OSError:
        # Servers may say so that the client has gone (ASGI specification 2.4).
        stream.client_left()
    except asyncio.CancelledError:
        if not stalled:
            raise
        task.uncancel()
