"""What strangers make a worker remember: bounded in bytes, however many credentials they show and however long ones."""

from __future__ import annotations

import gc
import tracemalloc
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable

import jwt
import pytest

from headgate.auth.method import Given, Method
from headgate.auth.settings import ApiKeys, Basic, BasicUser, IdentitySettings, JwtIssuer
from headgate.core.identity import Identity
from headgate.core.message import Fields
from headgate.proxy.methods import build_methods
from headgate.proxy.way import Outside, Way
from headgate.wire import http1
from headgate.wire.head import HeadReader
from headgate.wire.settings import HttpLimits
from tests.auth.passwords import kept
from tests.auth.tokens import SECRET, method_of
from tests.proxy.test_way import World

_COUNT = 12_000
_LONG = b"x" * 6000
_BOUND = 6 << 20


def of_strangers(number: int) -> bytes:
    header = urlsafe_b64encode(b'{"alg":"HS256","kid":"%d"}' % number).rstrip(b"=")
    return b".".join([header, urlsafe_b64encode(_LONG[:3000]).rstrip(b"="), b"AAAA"])


KEYS = ApiKeys(database=False)
METHODS: dict[str, tuple[Callable[[], Method], Callable[[int], bytes]]] = {
    "jwt": (lambda: method_of(JwtIssuer(secret=SECRET)), of_strangers),
    "no jwt": (lambda: method_of(JwtIssuer(secret=SECRET)), lambda number: b"%d." % number + _LONG + b"."),
    "api keys": (
        lambda: build_methods(IdentitySettings(api_keys=KEYS), [], Given({}, lambda _: None, b"p"))[0],
        lambda number: b"hg_%d" % number + _LONG,
    ),
    "basic": (
        lambda: build_methods(
            IdentitySettings(basic=Basic(users=[BasicUser(name="ann", hash=kept("secret"))])),
            [],
            Given({}, lambda _: None, b""),
        )[0],
        lambda number: b64encode(b"%d\x00" % number + _LONG[:1000]),
    ),
}


def held(work: Callable[[], object]) -> int:
    """Return the bytes that are held after some work, and only because of it."""
    gc.collect()
    tracemalloc.start()
    try:
        keep = work()
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
        del keep
        return size
    finally:
        tracemalloc.stop()


def settle(identity: Identity) -> tuple[Identity, Fields]:
    return identity, []


@pytest.mark.parametrize(("method", "credential"), METHODS.values(), ids=METHODS.keys())
def test_wrong_credentials(method: Callable[[], Method], credential: Callable[[int], bytes]) -> None:
    made = method()

    def flood() -> Way:
        way = Way(made, 10_000, World().outside, settle, lambda: 0)
        for number in range(_COUNT):
            way.verdict(credential(number))
        return way

    assert held(flood) < _BOUND


def test_right_ones_are_remembered_by_their_digests_alone_where_they_are_long() -> None:
    method = method_of(JwtIssuer(secret=SECRET))
    outside: Outside = World().outside

    def crowd() -> Way:
        way = Way(method, 500, outside, settle, lambda: 0)
        for number in range(1000):
            claims = {"sub": str(number), "exp": 4_000_000_000, "pad": "x" * 3000}
            token = jwt.encode(claims, SECRET, "HS256").encode()
            verdict = way.verdict(token)
            assert not hasattr(verdict, "done")
            way.recall((b"Authorization", b"Bearer " + token), verdict)
        return way

    # Of each what it says (3 KB and the objects around it), and no copy of what was shown (4 KB).
    assert held(crowd) < 500 * 5500


def test_heads() -> None:
    kinds = http1.request_kinds([], "drop", credentials=frozenset((b"authorization", b"x-api-key")))
    lines = b"X-API-Key: hg_%d\r\nX-%d: " + _LONG[:200] + b"\r\nCookie: %d" + _LONG[:1000]

    def flood() -> HeadReader:
        reader = HeadReader(HttpLimits(), "http", kinds, http1.response_kinds())
        for number in range(20_000):
            data = b"GET /%d HTTP/1.1\r\nHost: h%d\r\n%b\r\n\r\n" % (number, number, lines % ((number,) * 3))
            assert reader.whole(data) is not None
        return reader

    assert held(flood) < 6 * _BOUND
