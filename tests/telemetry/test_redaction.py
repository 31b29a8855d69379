"""What may tell of a person is out of a request before anything is written of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.identity import ANONYMOUS, Identity
from headgate.telemetry.redaction import MASK, REDACTABLE, Redaction, redaction


@dataclass
class Request:
    client: str = "192.0.2.10"
    host: str = "ada.example.com"
    path: str = "/people/ada"
    identity: Identity = ANONYMOUS
    detail: str = ""


ADA = Request(
    identity=Identity("user", "ada@example.com", "acme", frozenset({"admin"})),
    detail="192.0.2.10 is not let in for ada@example.com of acme at /people/ada",
)
KEY = "0123456789abcdef"


def after(how: str, *fields: str, key: str = KEY) -> Request:
    request = replace(ADA)
    Redaction(dict.fromkeys(fields, how), key).apply(request)
    return request


@pytest.mark.parametrize(("how", "put"), [("mask", MASK), ("omit", "")])
def test_every_field_can_be_taken_out(how: str, put: str) -> None:
    request = after(how, *REDACTABLE)
    assert (request.client, request.host, request.path, request.detail) == (put, put, put, put)
    assert request.identity == Identity("user", put, put, frozenset({"admin"}))


def test_what_is_not_named_stays() -> None:
    request = after("mask", "client")
    assert request == replace(ADA, client=MASK, detail=ADA.detail.replace("192.0.2.10", MASK))
    assert redaction({}, KEY) is None


def test_words_of_a_detail_lose_what_was_taken_out_elsewhere() -> None:
    assert after("mask", "client", "identity", "tenant", "path").detail == "*** is not let in for *** of *** at ***"
    # What is left out leaves a mask there: words need something in its place.
    assert after("omit", "client").detail.startswith("*** is not let in")


def test_a_text_of_a_few_characters_is_not_searched_for() -> None:
    request = Request(identity=Identity("user", "in"), detail="who is in is in")
    Redaction({"identity": "mask"}, "").apply(request)
    assert (request.identity.id, request.detail) == (MASK, "who is in is in")


def test_hashes_tell_equal_ones_from_others_and_need_the_key() -> None:
    one, same, other = (after("hash", "client", key=key).client for key in (KEY, KEY, KEY + "x"))
    assert one == same != other
    assert len(one) == 16
    assert after("hash", "host").host != one


@given(st.text(), st.text())
def test_equal_hashes_are_of_equal_texts(one: str, other: str) -> None:
    requests = [Request(path="/" + text) for text in (one, other)]
    for request in requests:
        Redaction({"path": "hash"}, KEY).apply(request)
    assert (requests[0].path == requests[1].path) == (one == other)


@given(st.text(alphabet="ab1.", min_size=4, max_size=12), st.text(alphabet="ab1. ", max_size=40))
def test_nothing_of_what_is_masked_is_left_in_a_detail(client: str, words: str) -> None:
    request = Request(client=client, detail=f"{words}{client}{words}")
    Redaction({"client": "mask"}, "").apply(request)
    assert client not in request.detail


def test_nobody_stays_nobody() -> None:
    request = Request()
    Redaction(dict.fromkeys(REDACTABLE, "mask"), "").apply(request)
    assert request.identity is ANONYMOUS
    assert request.detail == ""
