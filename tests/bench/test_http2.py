"""The soak's clients and upstream of HTTP/2, against each other."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from bench import client
from bench.client import Ask, Outcome
from bench.http2 import Lanes
from bench.http2_upstream import Http2Upstream


def ends_of(asks: list[Ask]) -> list[tuple[Outcome, str]]:
    """Ask all at once on lanes of one link; the upstream does not return X-Request-ID, which is the gateway's."""

    async def run() -> list[tuple[Outcome, str]]:
        upstream = Http2Upstream()
        await upstream.start()
        lanes = Lanes()
        all_lanes = [await lanes.connect(upstream.port) for _ in asks]
        assert len({lane.local_port for lane in all_lanes}) == 1
        ends = await asyncio.gather(*(lane.ask(ask) for lane, ask in zip(all_lanes, asks, strict=True)))
        for lane in all_lanes:
            lane.close()
        await upstream.close()
        return [(outcome, words) for outcome, words, _ in ends]

    return asyncio.run(run())


def small(target: str, **changed: str) -> Ask:
    return replace(client.small(target), **changed)  # type: ignore[arg-type]


def test_an_answer_is_read_to_its_last_byte_and_judged() -> None:
    ends = ends_of([small("/x?size=200000"), client.upload(), client.named("a", 10)])
    assert {outcome for outcome, _ in ends} == {Outcome.WRONG}
    assert all("X-Request-ID None" in words for _, words in ends)


@pytest.mark.parametrize(
    ("way", "outcome"),
    [
        ("before", Outcome.UNANSWERED),
        ("middle", Outcome.CUT),
        ("refused", Outcome.UNANSWERED),
        ("going", Outcome.WRONG),
    ],
)
def test_what_ends_otherwise_is_told_apart_and_the_others_go_on(way: str, outcome: Outcome) -> None:
    ends = ends_of([small(f"/x?close={way}&size=100"), small("/x?delay=0.1&size=100")])
    assert [each for each, _ in ends] == [outcome, Outcome.WRONG]
    assert "X-Request-ID None" in ends[1][1]


def test_who_leaves_in_the_middle_is_no_failure() -> None:
    assert ends_of([small("/x?delay=5", abort=True)]) == [(Outcome.GOOD, "")]  # type: ignore[arg-type]
