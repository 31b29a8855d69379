"""Who the client is, and what upstreams are told about it: Forwarded, X-Forwarded-*, X-Real-IP and Via.

Laws:
- By default nobody is believed: every field of `http1.FORWARDING_NAMES` that came in is dropped and written anew from
  the socket.
- Of a trusted proxy only X-Forwarded-* is believed: a proxy that writes one family of fields passes a client's own
  fields of the other on untouched (RFC 7239 section 8.1). Forwarded and X-Real-IP are therefore always written anew.
- A chain is read from the right, the end our trusted proxies wrote. Garbage ends the reading; what stands left of the
  first untrusted address is a stranger's claim, passed on at most.

For a client that is not a trusted proxy the block is constant per host, so a connection computes it once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple

from headgate.core.networks import Networks, unmapped
from headgate.core.uri import BadTarget, normalize_path, parse_authority

__all__ = ["Client", "ForwardedRules", "Hop", "TrustPolicy", "parse_address"]

Pair = tuple[bytes, bytes]

_DEFAULT_PORTS = {"http": 80, "https": 443}
# The names of all fields that a block may hold, in lower case.
NAMES = frozenset(
    (
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
        b"x-real-ip",
        b"forwarded",
        b"via",
    )
)


class Client(NamedTuple):
    """The client of one request: its address, what it asked for, and the block that tells the upstream so."""

    address: str
    scheme: str
    host: str
    port: int
    pairs: tuple[Pair, ...]
    lines: bytes = b""
    """The same block as header lines, for a codec that can use them as they are."""


# -- whom to believe -----------------------------------------------------------------------------------------

# An address with brackets, port and quotes is under 60 characters; longer ones are not worth a place in the cache.
_LONGEST_ADDRESS = 64


def parse_address(text: str) -> str | None:
    """Return the normal form of an address with or without brackets and port; None for anything else.

    An IPv4 address mapped into IPv6 is given as IPv4: a listener on both families sees the same client as either.
    """
    return _parse_address(text) if len(text) <= _LONGEST_ADDRESS else None


@lru_cache(maxsize=4096)
def _parse_address(text: str) -> str | None:
    if text[:1] == "[":
        text, bracket, port = text[1:].partition("]")
        if not bracket or (port and not re.fullmatch(r":[0-9]{1,5}", port)) or ":" not in text:
            return None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not re.fullmatch(r"[0-9]{1,5}", port):
            return None
    if "%" in text:
        return None
    try:
        return str(unmapped(ip_address(text)))
    except ValueError:
        return None


class TrustPolicy:
    """Which proxies in front of us are believed, and how many of them in a row."""

    __slots__ = ("_networks", "_unix_trusted", "hops", "trusts")

    def __init__(self, trust: Iterable[str] = (), hops: int = 0) -> None:
        """Take CIDRs, or the word `unix` for peers on a Unix socket; `hops` 0 = as many as `trust` covers.

        Raises:
            ValueError: for a CIDR that is none; the message names it.
        """
        named = list(trust)
        self._unix_trusted = "unix" in named
        self._networks = Networks(item for item in named if item != "unix")
        self.hops = hops
        # Behind a load balancer every request brings addresses to judge; the same few proxies again and again.
        self.trusts = lru_cache(maxsize=4096)(self._trusts)

    def _trusts(self, address: str) -> bool:
        """Tell whether a normal address is a trusted proxy's; the empty one is a Unix socket's."""
        if not address:
            return self._unix_trusted
        return address in self._networks


# -- what to send --------------------------------------------------------------------------------------------

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_SCHEMES = {b"http": "http", b"https": "https"}
# As they stand in Via: the minor version of HTTP/2 is 0 (RFC 9110 section 2.5).
_PROTOCOLS = {"1.0": b"1.0", "1.1": b"1.1", "2": b"2.0"}


class ForwardedRules:
    """What a gateway believes and what it sends; made once, shared by all connections."""

    __slots__ = ("send_forwarded", "trust", "via")

    def __init__(self, trust: TrustPolicy, send_forwarded: bool = False, via: str = "headgate") -> None:
        """Set the rules; `via` is our name there (a token, RFC 9110 section 7.6.3), empty for no Via.

        Raises:
            ValueError: if `via` is not a token.
        """
        if via and not _TOKEN.fullmatch(via):
            raise ValueError(f"{via!r} cannot stand in Via: use letters, digits, '.', '-' and '_' only")
        self.trust = trust
        self.send_forwarded = send_forwarded
        self.via = via.encode("ascii")

    def via_pair(self, came: Iterable[bytes], version: str = "1.1") -> Pair | None:
        """Return the Via field with us behind those that came, in either direction; None if we send no Via.

        `version`: that of the message as it came (RFC 9110 section 7.6.3), as heads have it.
        """
        if not self.via:
            return None
        return (b"Via", b", ".join((*came, _PROTOCOLS[version] + b" " + self.via)))

    def via_pairs(self) -> dict[str, Pair]:
        """Return for each version the Via field that stands on what came in it; empty if we send none."""
        pairs = {version: self.via_pair((), version) for version in _PROTOCOLS}
        return {version: pair for version, pair in pairs.items() if pair is not None}


class Hop:
    """One client connection as these fields see it: its peer, and the last block made for it.

    Per connection: address, scheme, trusted. Per host asked for, and version spoken: the cached block.
    """

    __slots__ = ("_cached", "_version", "address", "rules", "scheme", "trusted")

    def __init__(self, rules: ForwardedRules, peer: str, scheme: str) -> None:
        """Begin a connection; `peer` is the socket's IP address, empty for a Unix socket."""
        self.rules = rules
        # A link-local peer's name carries our own interface ("fe80::1%eth0"), which means nothing elsewhere.
        self.address = parse_address(peer.partition("%")[0]) or ""
        self.scheme = scheme
        self.trusted = rules.trust.trusts(self.address)
        self._cached: Client | None = None
        self._version = ""

    def client(self, host: str, port: int, came: Sequence[Pair] | None, version: str = "1.1") -> Client:
        """Return the client of a request for `host` and `port` that brought the fields `came` (those of `NAMES`)."""
        if self.trusted and came:
            return self._believed(host, port, came, version)
        if not (came and _values(came, b"via")):
            cached = self._cached
            if cached is None or cached.host != host or cached.port != port or self._version != version:
                cached = self._cached = self._with_block(self._itself(host, port), (), (), version)
                self._version = version
            return cached
        return self._with_block(self._itself(host, port), (), came or (), version)

    def _itself(self, host: str, port: int) -> Client:
        return Client(self.address, self.scheme, host, port, ())

    def _believed(self, host: str, port: int, came: Sequence[Pair], version: str) -> Client:
        chain = _items(came, b"x-forwarded-for")
        address, hops = self._walk(chain)
        scheme = _SCHEMES.get(_said(came, b"x-forwarded-proto", hops).lower(), self.scheme)
        if port == _DEFAULT_PORTS[self.scheme]:
            port = _DEFAULT_PORTS[scheme]
        said_host = _said(came, b"x-forwarded-host", hops)
        if said_host:
            try:
                host, port = parse_authority(said_host, _DEFAULT_PORTS[scheme])
            except BadTarget:
                # Nothing that could be a host: the Host field stands.
                pass
        said_port = _said(came, b"x-forwarded-port", hops)
        if said_port.isdigit() and len(said_port) <= 5 and 1 <= int(said_port) <= 65535:
            port = int(said_port)
        return self._with_block(Client(address, scheme, host, port, ()), chain, came, version)

    def _walk(self, chain: Sequence[bytes]) -> tuple[str, int]:
        """Return the client's address, and how many proxies from our peer on were believed on the way to it."""
        address, hops, trust = self.address, 1, self.rules.trust
        for item in reversed(chain):
            found = parse_address(item.decode("latin-1"))
            if found is None:
                break
            address = found
            if hops == trust.hops or not trust.trusts(found):
                break
            hops += 1
        return address, hops

    def _with_block(self, client: Client, chain: Sequence[bytes], came: Sequence[Pair], version: str) -> Client:
        peer = self.address.encode("ascii") or b"unknown"
        address = client.address.encode("ascii") or b"unknown"
        port = str(client.port).encode("ascii")
        host = client.host.encode("ascii")
        if client.port != _DEFAULT_PORTS[client.scheme]:
            host += b":" + port
        scheme = client.scheme.encode("ascii")
        pairs: list[Pair] = [
            (b"X-Forwarded-For", b", ".join((*chain, peer))),
            (b"X-Forwarded-Proto", scheme),
            (b"X-Forwarded-Host", host),
            (b"X-Forwarded-Port", port),
            (b"X-Real-IP", address),
        ]
        if self.trusted:
            pairs += _prefix(came)
        if self.rules.send_forwarded:
            element = b"for=%b;host=%b;proto=%b" % (_node(address), _quoted(host), scheme)
            via_peer = b", for=" + _node(peer) if peer != address else b""
            pairs.append((b"Forwarded", element + via_peer))
        via = self.rules.via_pair(_values(came, b"via"), version)
        if via is not None:
            pairs.append(via)
        return client._replace(pairs=tuple(pairs), lines=b"\r\n".join(map(b": ".join, pairs)))


def _values(came: Sequence[Pair], name: bytes) -> list[bytes]:
    length = len(name)
    return [value for found, value in came if len(found) == length and found.lower() == name]


def _items(came: Sequence[Pair], name: bytes) -> list[bytes]:
    """Return the items of a list field, which may stand on several lines (RFC 9110 section 5.3)."""
    values = _values(came, name)
    if not values:
        return values
    items = [item.strip(b" \t") for value in values for item in value.split(b",")]
    return [item for item in items if item]


def _said(came: Sequence[Pair], name: bytes, hops: int) -> bytes:
    """Return what the outermost believed proxy said in a list field, or nothing.

    Proxies that append (Apache) add one item a hop, others keep one item for all: as many steps from the right as hops
    were believed is right for both, and never a stranger's item.
    """
    items = _items(came, name)
    return items[-min(hops, len(items))] if items else b""


def _prefix(came: Sequence[Pair]) -> list[Pair]:
    """Return X-Forwarded-Prefix if a trusted proxy sent one that is a path."""
    sent = _values(came, b"x-forwarded-prefix")
    if not sent:
        return []
    try:
        prefix = normalize_path(b"".join(sent))
    except BadTarget:
        return []
    return [(b"X-Forwarded-Prefix", prefix.encode("ascii"))]


def _node(address: bytes) -> bytes:
    # RFC 7239 section 6: an IPv6 address stands in brackets and, for its colons, in quotes.
    return b'"[%b]"' % address if b":" in address else address


def _quoted(host: bytes) -> bytes:
    # A host that passed `parse_authority` holds neither quote nor backslash; only its colon is no token character.
    return b'"%b"' % host if b":" in host else host
