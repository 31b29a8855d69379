"""PROXY protocol headers: each is fed whole, with data behind it, and one byte at a time."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.wire.proxy_protocol import MAX_HEADER, BadProxyHeader, ProxyHeader, parse

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def v2(family: int, body: bytes, command: int = 0x21) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


def inet(source: str, dest: str, source_port: int, dest_port: int) -> bytes:
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    return (
        socket.inet_pton(family, source) + socket.inet_pton(family, dest) + struct.pack("!HH", source_port, dest_port)
    )


TLV = b"\x04\x00\x03abc" + b"\x20\x00\x05\x01\x00\x00\x00\x00"
TCP4 = ("203.0.113.9", 4711, "192.0.2.1", 443, False)
TCP6 = ("2001:db8::9", 65535, "2001:db8::1", 0, False)
LOCAL = ("", 0, "", 0, True)

GOOD = [
    (b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n", TCP4),
    (b"PROXY TCP6 2001:db8::9 2001:DB8:0::1 65535 0\r\n", TCP6),
    (b"PROXY UNKNOWN\r\n", LOCAL),
    (b"PROXY UNKNOWN ffff:f...f:ffff whatever 65535 65535\r\n", LOCAL),
    (b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", LOCAL),
    (v2(0x11, inet("203.0.113.9", "192.0.2.1", 4711, 443)), TCP4),
    (v2(0x11, inet("203.0.113.9", "192.0.2.1", 4711, 443) + TLV), TCP4),
    (v2(0x21, inet("2001:db8::9", "2001:db8::1", 65535, 0)), TCP6),
    (v2(0x21, inet("2001:db8::9", "2001:db8::1", 65535, 0) + TLV), TCP6),
    (v2(0x00, b""), LOCAL),
    (v2(0x00, TLV), LOCAL),
    (v2(0x31, b"/run/a".ljust(108, b"\0") + b"/run/b".ljust(108, b"\0")), LOCAL),
    (v2(0x12, inet("203.0.113.9", "192.0.2.1", 4711, 443)), LOCAL),
    (v2(0x00, b"", command=0x20), LOCAL),
    (v2(0x11, inet("203.0.113.9", "192.0.2.1", 4711, 443), command=0x20), LOCAL),
    (v2(0x77, b"", command=0x20), LOCAL),
    (v2(0x00, b"x" * (MAX_HEADER - 16)), LOCAL),
]
good = pytest.mark.parametrize(("wire", "facts"), GOOD)


@good
def test_whole(wire: bytes, facts: tuple[object, ...]) -> None:
    assert parse(wire) == (len(wire), *facts)


@good
def test_with_data_behind(wire: bytes, facts: tuple[object, ...]) -> None:
    assert parse(wire + b"\x16\x03\x01GET / HTTP/1.1\r\n\r\n") == (len(wire), *facts)


@good
def test_byte_by_byte(wire: bytes, facts: tuple[object, ...]) -> None:
    assert [parse(wire[:end]) for end in range(len(wire))] == [None] * len(wire)
    assert parse(wire) is not None


BAD = [
    b"GET / HTTP/1.1\r\n",
    b"\x16\x03\x01",
    b"PROXY\r\n",
    b"PROXY \r\n",
    b"proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
    b"PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n",
    b"PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n",
    b"PROXY UNKNOWNX\r\n",
    b"PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n",
    b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n",
    b"PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n",
    b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n",
    b"PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n",
    b"PROXY TCP4 1.1.1.1 2.2.2.2 -1 2\r\n",
    b"PROXY TCP4 1.1.1.1 2.2.2.2 65536 2\r\n",
    b"PROXY TCP4 1.1.1.256 2.2.2.2 1 2\r\n",
    b"PROXY TCP4 01.1.1.1 2.2.2.2 1 2\r\n",
    b"PROXY TCP4 ::1 ::2 1 2\r\n",
    b"PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::2 1 2\r\n",
    b"PROXY TCP6 \xff ::2 1 2\r\n",
    b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n\r\n",
    b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    b"PROXY " + b"x" * 101,
    SIGNATURE[:11] + b"\x0b",
    v2(0x11, b"\0" * 11),
    v2(0x21, b"\0" * 35),
    v2(0x13, b"\0" * 12),
    v2(0x41, b"\0" * 12),
    v2(0x00, b"", command=0x22),
    v2(0x00, b"", command=0x11),
    v2(0x00, b"", command=0x31),
    v2(0x00, b"x" * (MAX_HEADER - 15)),
    v2(0x11, b"\xff" * 65535),
]


@pytest.mark.parametrize("wire", BAD)
def test_refused(wire: bytes) -> None:
    with pytest.raises(BadProxyHeader):
        parse(wire)


@pytest.mark.parametrize("wire", BAD)
def test_refused_byte_by_byte(wire: bytes) -> None:
    """No prefix of a bad header is taken for a whole one, and none is refused before its fault is there."""
    for end in range(len(wire)):
        try:
            assert parse(wire[:end]) is None
        except BadProxyHeader:
            assert end > 0
            return


def test_fault_shows_with_its_first_byte() -> None:
    with pytest.raises(BadProxyHeader):
        parse(b"G")
    with pytest.raises(BadProxyHeader):
        parse(v2(0x11, b"\xff" * 65535)[:16])


@given(data=st.binary(max_size=60) | st.binary(max_size=40).map(lambda rest: SIGNATURE + b"\x21" + rest))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    try:
        header = parse(data)
    except BadProxyHeader:
        return
    if header is not None:
        assert isinstance(header, ProxyHeader)
        assert 0 < header.consumed <= len(data)
        assert header.local == (header.source_addr == "")
