"""The soak's own reader of answers: each case is fed whole and byte by byte."""

from __future__ import annotations

import pytest

from bench.answer import Answer, AnswerReader, BrokenAnswerError

GOOD = [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", 200, b"abc", False),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 200, b"", True),
    (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", False),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
        200,
        b"abcde",
        False,
    ),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: v\r\n\r\n", 200, b"", False),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\nx", 404, b"x", False),
]

BROKEN = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
    b"garbage\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
]


def one_by_one(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def feed(reader: AnswerReader, pieces: list[bytes]) -> Answer | None:
    answer = None
    for piece in pieces:
        assert answer is None
        answer = reader.feed(piece)
    return answer


@pytest.mark.parametrize("split", [lambda data: [data], one_by_one], ids=["whole", "bytes"])
@pytest.mark.parametrize(("data", "status", "body", "last"), GOOD)
def test_a_whole_answer(split: object, data: bytes, status: int, body: bytes, last: bool) -> None:
    assert callable(split)
    answer = feed(AnswerReader(), split(data))
    assert answer is not None
    assert (answer.status, answer.body, answer.last) == (status, body, last)


@pytest.mark.parametrize(("data", "status", "body", "last"), GOOD)
def test_an_answer_cut_short_is_none(data: bytes, status: int, body: bytes, last: bool) -> None:
    for end in range(len(data)):
        reader = AnswerReader()
        assert reader.feed(data[:end]) is None
        assert reader.begun is (end > 0)
        assert reader.end() is None


@pytest.mark.parametrize("split", [lambda data: [data], one_by_one], ids=["whole", "bytes"])
@pytest.mark.parametrize("data", BROKEN[1:])
def test_no_answer_at_all(split: object, data: bytes) -> None:
    assert callable(split)
    with pytest.raises(BrokenAnswerError):
        feed(AnswerReader(), split(data))


def test_bytes_after_the_end_are_broken() -> None:
    with pytest.raises(BrokenAnswerError, match="after the end"):
        AnswerReader().feed(BROKEN[0])


def test_a_body_without_framing_ends_with_the_connection() -> None:
    reader = AnswerReader()
    assert reader.feed(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc") is None
    answer = reader.end()
    assert answer is not None
    assert answer.body == b"abc"
