"""Where the key of a request is found, and that it is the same everywhere."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import pytest

from headgate.policy.balance.hash_key import HashKey
from headgate.policy.balance.settings import ConsistentHashSettings

ADDRESS = "192.0.2.1"
PATH = "/v1/chat"


def hashed(value: str) -> int:
    return int.from_bytes(blake2b(value.encode(), digest_size=8).digest(), "big")


@pytest.mark.parametrize(
    ("settings", "fields", "value"),
    [
        ({}, [], ADDRESS),
        ({"by": "path"}, [(b"X-User", b"ann")], PATH),
        ({"header": "X-User"}, [(b"x-user", b"ann")], "ann"),
        ({"header": "x-user"}, [(b"X-User", b"ann"), (b"X-User", b"ben")], "ann, ben"),
        ({"header": "X-User"}, [], ADDRESS),
        ({"header": "X-User", "by": "path"}, [(b"X-User", b"")], PATH),
        ({"cookie": "sid"}, [(b"Cookie", b"a=1; sid=42; b=2")], "42"),
        ({"cookie": "sid"}, [(b"Cookie", b"xsid=1; Sid=2")], ADDRESS),
        ({"cookie": "sid"}, [(b"Cookie", b"a=1"), (b"Cookie", b"sid=42")], "42"),
    ],
)
def test_the_key_is_the_hash_of_the_value(
    settings: dict[str, Any], fields: list[tuple[bytes, bytes]], value: str
) -> None:
    assert HashKey(ConsistentHashSettings(**settings)).of(fields, ADDRESS, PATH) == hashed(value)


def test_neighbouring_addresses_lie_far_apart() -> None:
    key_of = HashKey(ConsistentHashSettings()).of
    quarters = [0, 0, 0, 0]
    for last in range(256):
        quarters[key_of([], f"10.0.0.{last}", PATH) >> 62] += 1
    assert min(quarters) >= 40
