"""What hooks may return, and what of it cannot be obeyed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.plugin import Answer, Delay, Deny, Pass
from headgate.plugin.verdicts import BadVerdict, Rules, check_answer, check_delay, check_deny

REQUEST = Rules("request", frozenset((b"x-request-id",)).__contains__)
RESPONSE = Rules("response")


def test_what_may_be_taken_for_a_field_goes_with_it() -> None:
    edits = REQUEST.edits(Pass(set_headers={"X-Signed": "1"}, remove_headers=["x_gone"]))
    came = [(b"X_Signed", b"2"), (b"x.signed", b"3"), (b"X-Gone", b""), (b"X-Signed-By", b"4")]
    assert edits.apply(came) == [(b"X-Signed-By", b"4"), (b"X-Signed", b"1")]


def test_edits_take_off_and_set() -> None:
    verdict = Pass(set_headers={"X-A": "1", "X-List": ["a", "b"]}, remove_headers=["x-gone"])
    fields = [(b"x-a", b"0"), (b"X-GONE", b"0"), (b"Stays", b"0"), (b"x-list", b"0")]
    edited = REQUEST.edits(verdict).apply(fields)
    assert edited == [(b"Stays", b"0"), (b"X-A", b"1"), (b"X-List", b"a"), (b"X-List", b"b")]


def test_a_header_set_to_nothing_at_all_is_taken_off() -> None:
    assert REQUEST.edits(Pass(set_headers={"X-A": []})).apply([(b"x-a", b"0")]) == []


def test_values_are_utf8_and_bytes_that_are_none_come_through() -> None:
    edits = REQUEST.edits(Pass(set_headers={"X-A": " \u00fc\udcff\t"}))
    assert edits.come == [(b"X-A", b"\xc3\xbc\xff")]


@pytest.mark.parametrize(
    ("verdict", "says"),
    [
        (Pass(set_headers={"X-A": "a\r\nX-Evil: 1"}), "the value of X-A holds a line break"),
        (Pass(set_headers={"X-A": "a\x00"}), "the value of X-A holds a line break"),
        (Pass(set_headers={"X-A": "\ud800"}), "the value of X-A cannot be written as UTF-8"),
        (Pass(set_headers={"X-A": 1}), "the value of X-A must be text, or a list of such, not int"),  # type: ignore[dict-item]
        (Pass(set_headers={"X-A": [1]}), "the value of X-A must be text, not int"),  # type: ignore[list-item]
        (Pass(set_headers={1: "a"}), "the name of a header must be text, not int"),  # type: ignore[dict-item]
        (Pass(set_headers=[("X-A", "1")]), "headers must be a mapping"),  # type: ignore[arg-type]
        (Pass(set_headers={"X A": "1"}), "is not the name of a header field"),
        (Pass(set_headers={"": "1"}), "is not the name of a header field"),
        (Pass(set_headers={"X-A\r\nB": "1"}), "is not the name of a header field"),
        (Pass(set_headers={"Content-Length": "1"}), "frames the message"),
        (Pass(set_headers={"transfer-encoding": "chunked"}), "frames the message"),
        (Pass(remove_headers=["Connection"]), "frames the message"),
        (Pass(set_headers={"Host": "a"}), "rewrite.host"),
        (Pass(set_headers={"X-Request-ID": "a"}), "written by the gateway itself"),
        (Pass(remove_headers="X-A"), "must be a list of names"),
    ],
)
def test_what_cannot_stand_in_a_head_is_no_verdict(verdict: Pass, says: str) -> None:
    with pytest.raises(BadVerdict, match=says):
        REQUEST.edits(verdict)


@given(st.text(), st.text())
def test_no_text_brings_a_line_break_into_a_head(name: str, value: str) -> None:
    try:
        edits = RESPONSE.edits(Pass(set_headers={name: value}, remove_headers=[name]))
    except BadVerdict:
        return
    for field in edits.come:
        assert not {b"\r", b"\n", b"\x00"} & {bytes([byte]) for part in field for byte in part}


def test_what_is_remembered_of_names_is_bounded() -> None:
    rules = Rules("response")
    for place in range(3000):
        rules.edits(Pass(set_headers={f"X-{place}": "1"}))
    assert len(rules._known) <= 1024


@pytest.mark.parametrize("seconds", [0, 0.5, 60])
def test_delays_are_bounded(seconds: float) -> None:
    assert check_delay(Delay(seconds)) == seconds


@pytest.mark.parametrize("seconds", [-1, 61, float("nan"), float("inf"), "1", True, None])
def test_other_delays_are_no_verdict(seconds: Any) -> None:
    with pytest.raises(BadVerdict, match="a delay must be"):
        check_delay(Delay(seconds))


@pytest.mark.parametrize(
    ("verdict", "says"),
    [
        (Deny(200), "from 400 to 599"),
        (Deny(600), "from 400 to 599"),
        (Deny("403"), "from 400 to 599"),  # type: ignore[arg-type]
        (Deny(True), "from 400 to 599"),
        (Deny(message=None), "message must be text"),  # type: ignore[arg-type]
        (Deny(reason=b"x"), "reason must be text"),  # type: ignore[arg-type]
        (Deny(message="a" * 1001), "message must be text of at most 1000"),
        (Deny(reason="a\nb"), "reason holds characters that cannot be printed"),
        (Deny(message="\ud800"), "message holds characters that cannot be printed"),
        (Deny(429, retry_after=-1), "retry_after"),
        (Deny(429, retry_after=float("inf")), "retry_after"),
    ],
)
def test_refusals_that_cannot_be_told(verdict: Deny, says: str) -> None:
    with pytest.raises(BadVerdict, match=says):
        check_deny(verdict)


def test_answers_become_fields_type_and_body() -> None:
    verdict = Answer(201, "\u00fc", "application/json", {"X-A": "1", "Set-Cookie": ["a=1", "b=2"]})
    fields, content_type, body = check_answer(verdict, RESPONSE)
    assert fields == [(b"X-A", b"1"), (b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2")]
    assert (content_type, body) == (b"application/json", b"\xc3\xbc")
    assert check_answer(Answer(204), RESPONSE)[2] == b""


@pytest.mark.parametrize(
    ("verdict", "says"),
    [
        (Answer(101), "from 200 to 599"),
        (Answer(204, b"x"), "status 204 has no body"),
        (Answer(304, "x"), "status 304 has no body"),
        (Answer(body=1), "must be bytes or text, not int"),  # type: ignore[arg-type]
        (Answer(content_type=None), "content_type must be text"),  # type: ignore[arg-type]
        (Answer(content_type="a\r\nb"), "content_type holds a line break"),
        (Answer(headers={"content-type": "a/b"}), "stands in content_type"),
        (Answer(headers={"Content-Length": "5"}), "frames the message"),
        (Answer(headers=None), "must be a mapping"),  # type: ignore[arg-type]
    ],
)
def test_answers_that_cannot_be_sent(verdict: Answer, says: str) -> None:
    with pytest.raises(BadVerdict, match=says):
        check_answer(verdict, RESPONSE)
