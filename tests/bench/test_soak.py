"""The soak's judgement: what a client takes for good, what counts as growth, and clients against an upstream."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from bench import checks, client
from bench.answer import Answer
from bench.client import Ask, Outcome
from bench.trend import growth
from bench.upstream import Upstream, padding


def answer_to(ask: Ask, **changes: object) -> Answer:
    said = {"id": ask.id, "received": ask.received, "crc": ask.crc, "server": "one", "size": 50} | changes
    said = {"pad": padding(ask.id, 50), **said}
    headers = {"x-request-id": ask.id, "x-soak-id": ask.id}
    return Answer(ask.status, headers, json.dumps(said).encode(), last=False)


@pytest.mark.parametrize("kind", [client.small, client.upload, client.streamed, client.slow])
def test_the_right_answer_is_good(kind: Callable[[], Ask]) -> None:
    ask = kind()
    assert client.check(ask, answer_to(ask)) == (Outcome.GOOD, "")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda ask, good: replace(good, status=502), "status 502"),
        (lambda ask, good: answer_to(ask, pad="x" * 50), "padding"),
        (lambda ask, good: answer_to(ask, size=51), "padding"),
        (lambda ask, good: replace(good, headers=good.headers | {"x-request-id": "other"}), "X-Request-ID"),
        (lambda ask, good: replace(good, headers=good.headers | {"x-soak-id": "other"}), "the answer to 'other'"),
        (lambda ask, good: replace(good, body=good.body[:-1]), "no JSON"),
        (lambda ask, good: answer_to(ask, received=1), "got 1 bytes"),
        (lambda ask, good: answer_to(ask, crc=1), "CRC 1"),
        (lambda ask, good: answer_to(ask, id="other"), "the upstream got"),
    ],
)
def test_a_wrong_answer_says_what_is_wrong(spoil: Callable[[Ask, Answer], Answer], words: str) -> None:
    ask = client.upload()
    outcome, said = client.check(ask, spoil(ask, answer_to(ask)))
    assert outcome is Outcome.WRONG
    assert words in said


def test_what_the_gateway_says_of_itself_is_an_error_and_nothing_wrong() -> None:
    ask = client.small()
    headers = {"x-request-id": ask.id, "content-type": "application/problem+json"}
    said = Answer(502, headers, b'{"reason": "upstream_reset"}', last=False)
    assert client.check(ask, said) == (Outcome.ERROR, "502 upstream_reset")
    assert client.check(ask, replace(said, headers={**headers, "x-request-id": "other"}))[0] is Outcome.WRONG
    assert client.check(ask, replace(said, body=b"{}"))[0] is Outcome.WRONG


def test_an_upload_is_framed_as_it_says() -> None:
    ask = client.upload()
    body, rest = b"", ask.data.partition(b"\r\n\r\n")[2]
    while True:
        size, _, rest = rest.partition(b"\r\n")
        if size == b"0":
            break
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    assert (len(body), zlib.crc32(body)) == (ask.received, ask.crc)


def test_growth_is_that_of_the_last_four_fifths() -> None:
    flat = [(at * 1000.0, 100.0 if at > 20 else 5.0 * at) for at in range(101)]
    assert growth(flat) == pytest.approx(0.0, abs=0.01)
    leak = [(at * 1000.0, 50.0 + 0.1 * at) for at in range(101)]
    assert growth(leak) == pytest.approx(8.0)
    with pytest.raises(ValueError, match="too few"):
        growth([(0.0, 1.0), (1.0, 2.0)])


def served(asks: list[Ask]) -> list[tuple[Outcome, str]]:
    """Ask the upstream itself, each on its own connection; it does not return X-Request-ID, which is the gateway's."""

    async def run() -> list[tuple[Outcome, str]]:
        upstream = Upstream()
        await upstream.start()
        ends = []
        for ask in asks:
            connection = await client.connect(upstream.port)
            outcome, words, _ = await connection.ask(ask)
            ends.append((outcome, words))
            connection.close()
        assert {ask.id: 1 for ask in asks} == upstream.seen
        await upstream.close()
        return ends

    return asyncio.run(run())


def test_an_end_before_the_answer_and_one_within_it_are_told_apart() -> None:
    ends = served([client.failing("/?close=before", 200), client.failing("/?close=middle", 200)])
    assert [outcome for outcome, _ in ends] == [Outcome.UNANSWERED, Outcome.CUT]


def test_an_answer_without_the_id_of_its_request_is_broken() -> None:
    [(outcome, words)] = served([client.small()])
    assert outcome is Outcome.WRONG
    assert "X-Request-ID None" in words


def test_every_check_says_its_law_in_one_line() -> None:
    for check in checks.CHECKS.values():
        assert check.__doc__
        assert check.__doc__.splitlines()[0].endswith(".")
