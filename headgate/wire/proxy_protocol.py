"""The PROXY protocol, versions 1 and 2: what a load balancer says about the client before the first byte.

Source: "The PROXY protocol", HAProxy, sections 2.1 and 2.2. Law: where it is expected it is required (section 2: a
receiver must not guess), and only from those who may send it; whoever else connects is closed unread.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, NamedTuple

__all__ = ["MAX_HEADER", "BadProxyHeader", "ProxyHeader", "parse"]

_V1: Final = b"PROXY "
_V1_LONGEST: Final = 107
_V1_FIELDS = re.compile(rb"PROXY TCP([46]) (\S+) (\S+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})")

_V2: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_HEAD: Final = 16
# The format allows 64 KiB. Addresses take 216 bytes at most, and the longest TLVs in use (a TLS client's names, a cloud
# endpoint's id) some hundreds.
_V2_LONGEST: Final = 4096
_LOCAL, _PROXY = 0x20, 0x21
_INET_STREAM, _INET6_STREAM = 0x11, 0x21
# Unknown, datagrams and Unix sockets: families that are valid but name no TCP client.
_NO_CLIENT: Final = frozenset({0x00, 0x12, 0x22, 0x31, 0x32})

MAX_HEADER: Final = _V2_HEAD + _V2_LONGEST
"""Bytes after which a header is complete or bad."""


class BadProxyHeader(ValueError):
    """Say why the bytes are no acceptable PROXY header."""


class ProxyHeader(NamedTuple):
    """One header. `local`: it names no client, the socket's own addresses hold (and the addresses here are empty)."""

    consumed: int
    source_addr: str
    source_port: int
    dest_addr: str
    dest_port: int
    local: bool


def parse(data: bytes) -> ProxyHeader | None:
    """Read the header at the beginning of `data`; None means that more bytes are needed.

    None also means that all bytes of `data` belong to the header, so that a reader may take them off the socket.

    Raises:
        BadProxyHeader: as soon as the bytes cannot become a header.
    """
    if data[:6] == _V1[: len(data)]:
        return _parse_v1(data)
    if data[:12] == _V2[: len(data)]:
        return _parse_v2(data)
    raise BadProxyHeader("the connection does not begin with a PROXY protocol header")


def _parse_v1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, _V1_LONGEST)
    if end < 0:
        if len(data) >= _V1_LONGEST:
            raise BadProxyHeader("a PROXY line must end within 107 bytes")
        return None
    line = data[:end]
    consumed = end + 2
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        return _local(consumed)
    fields = _V1_FIELDS.fullmatch(line)
    if fields is None:
        raise BadProxyHeader("a PROXY line must read: PROXY TCP4|TCP6 source destination port port")
    family = IPv4Address if fields[1] == b"4" else IPv6Address
    try:
        source, dest = (str(family(fields[at].decode("ascii"))) for at in (2, 3))
    except (AddressValueError, UnicodeDecodeError):
        raise BadProxyHeader(f"an address in the PROXY line is not IPv{fields[1].decode()}") from None
    ports = int(fields[4]), int(fields[5])
    if max(ports) > 65535 or "%" in source + dest:
        raise BadProxyHeader("a port in the PROXY line is above 65535, or an address has a zone")
    return ProxyHeader(consumed, source, ports[0], dest, ports[1], False)


def _parse_v2(data: bytes) -> ProxyHeader | None:
    if len(data) > 12 and data[12] not in (_LOCAL, _PROXY):
        raise BadProxyHeader("the PROXY header is neither version 2 LOCAL nor PROXY")
    if len(data) < _V2_HEAD:
        return None
    command, family = data[12], data[13]
    length = int.from_bytes(data[14:16], "big")
    if length > _V2_LONGEST:
        raise BadProxyHeader(f"the PROXY header is longer than {_V2_LONGEST} bytes")
    width = {_INET_STREAM: 4, _INET6_STREAM: 16}.get(family, 0)
    if command == _PROXY:
        if not width and family not in _NO_CLIENT:
            raise BadProxyHeader("the PROXY header names an unknown address family")
        if width and length < 2 * width + 4:
            raise BadProxyHeader("the PROXY header is too short for its addresses")
    consumed = _V2_HEAD + length
    if len(data) < consumed:
        return None
    # Section 2.2: whatever stands with LOCAL is to be skipped; TLVs behind the addresses likewise, we use none.
    if command == _LOCAL or not width:
        return _local(consumed)
    source, dest = _V2_HEAD, _V2_HEAD + width
    ports = dest + width
    address = IPv4Address if width == 4 else IPv6Address
    return ProxyHeader(
        consumed,
        str(address(data[source:dest])),
        int.from_bytes(data[ports : ports + 2], "big"),
        str(address(data[dest:ports])),
        int.from_bytes(data[ports + 2 : ports + 4], "big"),
        False,
    )


def _local(consumed: int) -> ProxyHeader:
    return ProxyHeader(consumed, "", 0, "", 0, True)
