"""The compact form of JWS: one spelling, nothing that is not understood, nothing fetched."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headgate.auth.jose import MOST_BYTES, BadToken, decode_base64url, looks_signed, read_jws
from tests.auth.tokens import part, signed, token


def test_a_token_is_taken_apart() -> None:
    jws = read_jws(token({"sub": "ann"}, kid="k", typ="JWT"))
    assert (jws.algorithm, jws.key_id, jws.typ) == ("HS256", "k", "JWT")
    assert json.loads(jws.payload)["sub"] == "ann"
    assert token({"sub": "ann"}, kid="k", typ="JWT").startswith(jws.signed + b".")
    assert len(jws.signature) == 32


@given(st.binary(max_size=300))
@example(b"..")
@example(b"e30.e30.AA")
@example(b"." * MOST_BYTES)
def test_any_bytes_are_no_token_and_nothing_of_them_is_told(body: bytes) -> None:
    with pytest.raises(BadToken) as raised:
        read_jws(body)
    assert len(body) < 6 or body.decode("latin-1") not in str(raised.value)


@given(st.binary(min_size=1, max_size=100))
def test_a_part_has_one_spelling(data: bytes) -> None:
    text = part(data)
    assert decode_base64url(text) == data
    for other in (text + b"=", text + b"==", b" " + text, text + b"\n", text + b"A", text[:-1]):
        try:
            assert decode_base64url(other) != data
        except ValueError:
            pass


@given(st.binary(min_size=1, max_size=2), st.integers(1, 15))
def test_bits_beyond_the_end_must_be_zero(data: bytes, bits: int) -> None:
    text = part(data)
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = text[:-1] + alphabet[alphabet.index(text[-1]) ^ (bits % (16 if len(data) == 1 else 4) or 1) :][:1]
    # What other readers take for the same bytes.
    padded = other + b"=" * (-len(other) % 4)
    assert urlsafe_b64encode(data) != padded
    with pytest.raises(ValueError, match="not canonical"):
        decode_base64url(other)


GOOD = token()
HEADER, PAYLOAD, SIGNATURE = GOOD.split(b".")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b".",
        b"..",
        PAYLOAD,
        b".".join((HEADER, PAYLOAD)),
        b".".join((HEADER, PAYLOAD, b"")),
        b".".join((b"", PAYLOAD, SIGNATURE)),
        GOOD + b".",
        b"." + GOOD,
        GOOD + b"." + SIGNATURE,
        b".".join((HEADER, b"", b"", b"", SIGNATURE)),
        GOOD + b"=",
        GOOD + b" ",
        GOOD + b"\n",
        b" " + GOOD,
        GOOD.replace(b".", b". "),
        GOOD.replace(b".", b"%2E"),
        b".".join((HEADER + b"==", PAYLOAD, SIGNATURE)),
        GOOD + b"\x00",
        GOOD + "é".encode(),
        GOOD + b", " + GOOD,
    ],
)
def test_other_forms_are_refused(text: bytes) -> None:
    with pytest.raises(BadToken, match="three parts of base64url"):
        read_jws(text)


def test_the_letters_of_plain_base64_are_refused() -> None:
    good = signed(b'{"alg":"HS256"}', b"\xfb\xff\xfe")
    assert read_jws(good).payload == b"\xfb\xff\xfe"
    with pytest.raises(BadToken):
        read_jws(good.replace(b"-__-", b"+//+"))


def test_a_token_is_at_most_8_kib() -> None:
    room = MOST_BYTES - len(token({"x": ""}))
    fitting = next(made for size in range(room * 3 // 4, 0, -1) if len(made := token({"x": "x" * size})) <= MOST_BYTES)
    assert MOST_BYTES - 2 <= len(fitting) <= MOST_BYTES
    assert read_jws(fitting).algorithm == "HS256"
    with pytest.raises(BadToken, match="longer than 8192 bytes"):
        read_jws(token({"x": "x" * (room * 3 // 4 + 4)}))


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        (b"", "three parts"),
        (b"[]", "no JSON object"),
        (b"null", "no JSON object"),
        (b'{"alg":"HS256"', "no JSON"),
        (b'{"alg":"HS256","alg":"none"}', "a name stands twice"),
        (b'{"alg":"HS256","kid":"\xff"}', "not UTF-8"),
        (b'{"alg":"HS256","x":NaN}', "NaN"),
        (b'{"alg":"HS256","x":' + b"[" * 1000 + b"]" * 1000 + b"}", "deeper"),
        (b'{"typ":"JWT"}', "names no algorithm"),
        (b'{"alg":null}', "names no algorithm"),
        (b'{"alg":["HS256"]}', "names no algorithm"),
        (b'{"alg":"HS256","crit":[]}', "has crit"),
        (b'{"alg":"HS256","crit":["exp"],"exp":1}', "has crit"),
        (b'{"alg":"HS256","crit":null}', "has crit"),
        (b'{"alg":"HS256","b64":false}', "has b64"),
        (b'{"alg":"HS256","zip":"DEF"}', "has zip"),
        (b'{"alg":"dir","enc":"A128GCM"}', "has enc"),
        (b'{"alg":"HS256","kid":7}', "kid is no text"),
        (b'{"alg":"HS256","kid":null}', "kid is no text"),
        (b'{"alg":"HS256","kid":["a"]}', "kid is no text"),
        (b'{"alg":"HS256","kid":"' + b"k" * 257 + b'"}', "kid is longer than 256"),
        (b'{"alg":"HS256","typ":1}', "typ is no text"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_headers_that_are_refused(header: bytes, sentence: str) -> None:
    with pytest.raises(BadToken, match=sentence):
        read_jws(signed(header, b"{}"))


def test_what_names_keys_is_not_looked_at() -> None:
    header: dict[str, Any] = {
        "jku": 1,
        "x5u": "http://127.0.0.1:1/",
        "jwk": {"kty": "oct", "k": "AA"},
        "x5c": [[]],
        "x5t": None,
    }
    assert read_jws(token(**header)).key_id is None


def test_the_outline_of_a_token() -> None:
    assert looks_signed(GOOD)
    assert looks_signed(b"..")
    assert not looks_signed(b"hg_live_0123456789")
    assert not looks_signed(b"a.b.c.d.e")
