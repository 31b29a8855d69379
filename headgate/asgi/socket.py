"""A WebSocket of an ASGI server: messages on its side, frames on the service's, and a tunnel between them.

    connect -> the exchange of an ordinary request that asks for the protocol -> 101: accept, and the tunnel
                                                                              -> anything else: the refusal

Laws: the server has agreed on extensions and pings with its client, so none is asked of the service, whose pings are
answered here. What one side cannot take pauses the other. Either end closes the other, with its code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from headgate.asgi.stream import AsgiClient, AsgiStream, Message
from headgate.core.message import RequestHead, ResponseHead
from headgate.wire import websocket

if TYPE_CHECKING:
    from headgate.wire.tunnel import Tunnel, TunnelEnd

# As uvicorn and hypercorn bound what a client sends.
MOST_BYTES: Final = 16 << 20
_REFUSAL: Final = "websocket.http.response"
# Codes of RFC 6455 section 7.4.1.
_NORMAL, _FORBIDDEN, _FAILED = 1000, 1008, 1011
# What the server says to its client by itself.
_OF_THE_ANSWER: Final = frozenset((b"sec-websocket-accept", b"sec-websocket-extensions", b"sec-websocket-protocol"))


def ask_for_tunnel(head: RequestHead) -> None:
    """Let a request ask its service for a WebSocket without extensions."""
    head.upgrade = b"websocket"
    head.length = 0
    head.fields = [field for field in head.fields if field[0].lower() != b"sec-websocket-extensions"]


class SocketStream(AsgiStream):
    """The request that a WebSocket begins with, and then its messages."""

    __slots__ = ("_end", "_may_refuse", "_queue", "_queued")

    def __init__(self, client: AsgiClient, head: RequestHead, started: float, extensions: dict[str, Any]) -> None:
        super().__init__(client, head, started)
        self.ended = True
        self._may_refuse = _REFUSAL in extensions
        self._end: MessagesEnd | None = None
        self._queue: list[Message] = []
        self._queued = 0

    def switch(self, head: ResponseHead) -> None:
        """Accept; what follows are messages."""
        self.responded = True
        fields = [field for field in self._fields(head) if field[0] not in _OF_THE_ANSWER]
        chosen = head.get(b"sec-websocket-protocol")
        subprotocol = chosen.decode("latin-1") if chosen else None
        self.put({"type": "websocket.accept", "subprotocol": subprotocol, "headers": fields}, 0)

    def detach(self) -> tuple[TunnelEnd | None, bytes]:
        """Leave the messages to a tunnel."""
        if self.left:
            return None, b""
        self._end = MessagesEnd(self)
        return self._end, b""

    def came(self, message: Message) -> bool:
        """Take what the server said."""
        if message["type"] == "websocket.disconnect":
            self._leave(message.get("code", websocket.NO_CODE), message.get("reason") or "")
            return False
        if message["type"] == "websocket.receive" and self._end is not None:
            text = message.get("text")
            if text is not None:
                self._end.came(websocket.frame(websocket.TEXT, text.encode()))
            else:
                self._end.came(websocket.frame(websocket.BINARY, message["bytes"]))
        return True

    def client_left(self) -> None:
        """Learn that the client is gone."""
        self._leave(websocket.ABNORMAL, "")

    def _leave(self, code: int, reason: str) -> None:
        end = self._end
        if end is None:
            super().client_left()
            return
        self.left = self.done = True
        self.settle()
        end.left(code, reason)
        self._wake()

    def put(self, message: Message, size: int) -> None:
        """Let the server have a message of `size` bytes."""
        self._queue.append(message)
        self._queued += size
        self._hold(size)
        self._wake()

    def over(self) -> None:
        """Have no more messages."""
        self.done = True
        self._wake()

    def messages(self) -> list[Message]:
        """Take what is there to be sent."""
        if self._queue or self._end is not None:
            self.has_more = False
            found, self._queue, self._queued = self._queue, [], 0
            return found
        found = super().messages()
        if self._may_refuse:
            return [{**each, "type": f"websocket.{each['type']}"} for each in found]
        # All that there is to say then: the server answers 403.
        return [{"type": "websocket.close", "code": _FORBIDDEN}] if self.done else []

    def _left_over(self) -> int:
        return self._queued


class MessagesEnd:
    """The server's side of a tunnel, as a TunnelEnd; what goes through the tunnel are frames."""

    __slots__ = ("_closed", "_over", "_peer", "_reader", "_stream", "_tunnel", "bytes")

    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream
        self._reader = websocket.FrameReader(MOST_BYTES)
        # What may be said to the server has been said; the tunnel knows of the end.
        self._closed = self._over = False
        self._tunnel: Tunnel | None = None
        self._peer: TunnelEnd = self
        self.bytes = 0

    def join(self, tunnel: Tunnel, peer: TunnelEnd) -> None:
        """Be joined to the service's end, whose reading the server's pace decides."""
        self._tunnel, self._peer = tunnel, peer
        self._stream.source = peer

    def came(self, data: bytes) -> None:
        """Hand frames to the service."""
        if self._tunnel is not None and not self._over:
            self.bytes += len(data)
            self._tunnel.heard()
            self._peer.write(data)

    def write(self, data: bytes) -> None:
        """Take frames of the service."""
        if self._closed:
            return
        try:
            for opcode, payload in self._reader.feed(data):
                self._take(opcode, payload)
        except websocket.BadFrame as error:
            self._refuse(error.code)
        except UnicodeDecodeError:
            self._refuse(websocket.NOT_TEXT)

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == websocket.TEXT:
            self._stream.put({"type": "websocket.send", "text": payload.decode()}, len(payload))
        elif opcode == websocket.BINARY:
            self._stream.put({"type": "websocket.send", "bytes": payload}, len(payload))
        elif opcode == websocket.PING:
            self._peer.write(websocket.frame(websocket.PONG, payload))
        elif opcode == websocket.CLOSE:
            code, reason = websocket.read_close(payload)
            self._peer.write(websocket.frame(websocket.CLOSE, websocket.close_payload(code)))
            self._say_closed(code, reason)
            self._peer.close()

    def _refuse(self, code: int) -> None:
        self._peer.write(websocket.frame(websocket.CLOSE, websocket.close_payload(code)))
        self._say_closed(websocket.ABNORMAL, "")
        self._peer.close()

    def left(self, code: int, reason: str) -> None:
        """Learn that the client has closed: its service is told so, and closed."""
        self._closed = True
        if not self._over:
            self._peer.write(websocket.frame(websocket.CLOSE, websocket.close_payload(code, reason)))
            self._peer.close()
        self._end()

    def _say_closed(self, code: int, reason: str) -> None:
        if not self._closed:
            self._closed = True
            # None was said, or one that nobody may say: what the service did is to end in order, or not.
            said = _NORMAL if code == websocket.NO_CODE else code if websocket.close_payload(code) else _FAILED
            self._stream.put({"type": "websocket.close", "code": said, "reason": reason}, 0)
        self._stream.over()
        self._end()

    def _end(self) -> None:
        if not self._over and self._tunnel is not None:
            self._over = True
            self._tunnel.end_lost()

    def pause(self) -> None:
        """Ask the server for no more messages."""
        self._stream.pause()

    def resume(self) -> None:
        """Ask again."""
        self._stream.resume()

    def settle(self) -> None:
        """Act on an end that came before the tunnel did."""
        if self._stream.left:
            self.left(websocket.ABNORMAL, "")

    def close(self) -> None:
        """Learn that the service is gone."""
        self._say_closed(websocket.ABNORMAL, "")

    def abort(self) -> None:
        """End at once."""
        self._say_closed(websocket.ABNORMAL, "")
