"""The sample services, asked directly: a JSON echo, a stream of events, and a WebSocket (RFC 6455)."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from headgate.cli.echo import LARGEST, frame

HANDSHAKE = (
    b"GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, int]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "headgate.cli.samples"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.stdin.close()
        assert process.wait(60) == 0


class WebSocket:
    """The client's side, byte by byte."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.file = self.socket.makefile("rb")
        self.socket.sendall(HANDSHAKE)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.file.read(1)
        self.head = head

    def send(self, opcode: int, payload: bytes, *, final: bool = True, masked: bool = True) -> None:
        made = bytearray(frame(opcode, payload))
        if not final:
            made[0] &= 0x7F
        if masked:
            made[1] |= 0x80
            mask = os.urandom(4)
            covered = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
            made[len(made) - len(payload) :] = mask + covered
        self.socket.sendall(made)

    def receive(self) -> tuple[int, bytes]:
        first, size = self.file.read(2)
        assert first & 0x80
        if size > 125:
            size = int.from_bytes(self.file.read(2 if size == 126 else 8))
        return first & 0x0F, self.file.read(size)

    def at_end(self) -> bool:
        return self.file.read(1) == b""

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@pytest.fixture
def web_socket(ports: dict[str, int]) -> Iterator[WebSocket]:
    made = WebSocket(ports["socket-1"])
    yield made
    made.close()


def test_there_are_three_services_with_two_endpoints_each(ports: dict[str, int]) -> None:
    assert set(ports) == {f"{name}-{number}" for name in ("json", "events", "socket") for number in (1, 2)}
    assert len(set(ports.values())) == 6


def test_json_says_what_arrived(ports: dict[str, int]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", ports["json-2"], timeout=60)
    # Twice on one connection: a gateway keeps it, and so must the service.
    for encode_chunked in (False, True):
        body = iter([b"he", b"llo"]) if encode_chunked else b"hello"
        fields = {"X-Request-ID": "r-1", **({"Transfer-Encoding": "chunked"} if encode_chunked else {})}
        connection.request("POST", "/x?y=1", body, fields, encode_chunked=encode_chunked)
        said = json.loads(connection.getresponse().read())
        assert {key: said[key] for key in ("service", "method", "path", "request_id", "body")} == {
            "service": "json-2",
            "method": "POST",
            "path": "/x?y=1",
            "request_id": "r-1",
            "body": "hello",
        }
    connection.request("HEAD", "/")
    assert connection.getresponse().read() == b""
    connection.close()


def test_the_handshake_is_that_of_the_rfc(web_socket: WebSocket) -> None:
    # RFC 6455 section 1.3, where this key has this answer.
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in web_socket.head
    assert web_socket.receive() == (TEXT, b"connected to socket-1")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, LARGEST])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_messages_of_every_length_come_back(web_socket: WebSocket, opcode: int, size: int) -> None:
    web_socket.receive()
    web_socket.send(opcode, b"x" * size)
    assert web_socket.receive() == (opcode, b"x" * size)


def test_fragments_are_joined_and_a_ping_between_them_is_answered(web_socket: WebSocket) -> None:
    web_socket.receive()
    web_socket.send(TEXT, b"one ", final=False)
    web_socket.send(PING, b"there?")
    web_socket.send(0, b"two", final=True)
    assert web_socket.receive() == (PONG, b"there?")
    assert web_socket.receive() == (TEXT, b"one two")


def test_a_close_is_answered_with_its_status(web_socket: WebSocket) -> None:
    web_socket.receive()
    web_socket.send(CLOSE, (1000).to_bytes(2) + b"bye")
    assert web_socket.receive() == (CLOSE, (1000).to_bytes(2))
    assert web_socket.at_end()


def test_a_broken_protocol_is_closed_with_1002(web_socket: WebSocket) -> None:
    web_socket.receive()
    web_socket.send(TEXT, b"bare", masked=False)
    assert web_socket.receive() == (CLOSE, (1002).to_bytes(2))


def test_a_continuation_of_nothing_is_closed_with_1002(web_socket: WebSocket) -> None:
    web_socket.receive()
    web_socket.send(0, b"of what?")
    assert web_socket.receive() == (CLOSE, (1002).to_bytes(2))


def test_a_message_that_is_too_large_is_closed_with_1009(web_socket: WebSocket) -> None:
    web_socket.receive()
    web_socket.send(TEXT, b"x" * (LARGEST - 1), final=False)
    web_socket.send(0, b"xx")
    assert web_socket.receive() == (CLOSE, (1009).to_bytes(2))


def test_the_socket_refuses_plain_requests(ports: dict[str, int]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", ports["socket-2"], timeout=60)
    connection.request("GET", "/socket")
    assert connection.getresponse().status == 426
    connection.close()
