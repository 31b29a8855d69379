"""For whom a request counts: the values of a limit's key, made into the 16 bytes a store knows.

Laws:
- A digest is all a store ever sees: whatever a client sends, a key has the same length, and tells nothing about it.
- No two different combinations of values have the same digest: each value stands behind its length, and behind a mark
  of what it is, so a user who calls itself 10.0.0.1 is not counted with that address.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv6Address
from typing import Final

DIGEST_BYTES: Final = 16
_LENGTH: Final = 4
# One network may hold 2**64 addresses, and whoever has one has all of them (RFC 6177).
_HOST_BITS: Final = 64
_ADDRESSES: Final = 4096
_FINGERPRINTS: Final = 4096


def address_part(address: str) -> bytes:
    """Return what counts of a client's address: IPv4 whole, IPv6 cut to its /64, IPv4 mapped into IPv6 as IPv4.

    What is no address (the peer of a Unix socket) counts as it is written.
    """
    return _network(address) if ":" in address else b"@" + address.encode()


def value_part(value: bytes, mark: bytes = b"=") -> bytes:
    """Return a value that is no address, such as a user, a header or a route.

    `mark` is one byte, another one for each kind of value that may stand in the same place, and not "@".
    """
    return mark + value


def digest(fingerprint: bytes, parts: Sequence[bytes]) -> bytes:
    """Return the key of the record that a group with this fingerprint keeps for this combination of values."""
    made = _begun(fingerprint).copy()
    for part in parts:
        made.update(len(part).to_bytes(_LENGTH, "little") + part)
    return made.digest()


@lru_cache(_ADDRESSES)
def _network(address: str) -> bytes:
    try:
        parsed = IPv6Address(address)
    except ValueError:
        return b"@" + address.encode()
    if parsed.ipv4_mapped is not None:
        return b"@" + str(parsed.ipv4_mapped).encode()
    prefix = int(parsed) >> _HOST_BITS << _HOST_BITS
    return f"@{IPv6Address(prefix)}/{_HOST_BITS}".encode()


@lru_cache(_FINGERPRINTS)
def _begun(fingerprint: bytes) -> blake2b:
    return blake2b(len(fingerprint).to_bytes(_LENGTH, "little") + fingerprint, digest_size=DIGEST_BYTES)
