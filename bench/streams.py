"""The check of the soak about HTTP/2 on both sides; its laws stand in bench/checks.py."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import MappingProxyType

from bench import client, proc
from bench.client import Ask, Ending, Outcome
from bench.http2_upstream import Http2Upstream
from bench.measure import MEGABYTE
from bench.plane import Kinds
from bench.scene import CLIENTS, NEVER_TOO_MUCH, Scene, Verdict, shown, strictly
from bench.stage import say
from bench.trend import Point, growth

_GROWTH_MEGABYTES = 5.0
# One and the same may be refused, and then sent to a server that leaves; what many tries cost is another's affair.
_RETRY = {"attempts": 5, "budget": {"percent": 100, "minimum": CLIENTS}}
_SERVICE = MappingProxyType({"protocol": "http2", "retry": _RETRY})


def _refused() -> Ask:
    return client.small("/api/x?close=refused", "POST")


def _going() -> Ask:
    return client.small("/api/x?close=going&delay=0.02")


def _large() -> Ask:
    return client.small("/api/x?size=200000")


def _reset() -> Ask:
    return client.failing("/api/x?close=before", 502)


def _cut() -> Ask:
    return client.failing("/api/x?close=middle&size=4000", 200)


_KINDS: Kinds = {
    client.small: 60,
    client.missing: 8,
    client.upload: 12,
    client.slow: 5,
    client.aborted: 5,
    _large: 2,
    _refused: 2,
    _going: 1,
    _reset: 1,
    _cut: 1,
}


async def http2(scene: Scene, requests: int = 500_000) -> Verdict:
    """Memory stays flat over half a million requests to an upstream that speaks HTTP/2, resets streams and leaves.

    What it refused or did not read (RFC 9113 sections 6.8 and 8.7) is asked again elsewhere, also a POST: no client
    notices. What it cut in the middle is cut for its client, and for nobody else on these connections.
    """
    upstream = Http2Upstream()
    await upstream.start()
    gate = scene.gate(upstream.port, service=_SERVICE, settings=NEVER_TOO_MUCH)
    await gate.start()
    cut: Counter[Outcome] = Counter()

    def judge(ending: Ending) -> str:
        if b"close=middle" not in ending.ask.data:
            return strictly(ending)
        cut[ending.outcome] += 1
        # Late enough, the head had not been passed on yet, and there is an answer that says it.
        good = ending.outcome is Outcome.CUT or ending.words == "502 upstream_reset"
        return "" if good else f"not cut: {ending.words}"

    crowd = gate.crowd_of(scene.wallet.good, _KINDS, judge)
    crowd.start(CLIENTS)
    (worker,) = await gate.workers()
    points: list[Point] = []
    deadline = scene.deadline()
    loop = asyncio.get_running_loop()
    while crowd.total < requests and loop.time() < deadline and len(crowd.failures) < 100:
        await asyncio.sleep(1)
        points.append((crowd.total, proc.own(worker) / MEGABYTE))
        if len(points) % 15 == 0:
            say(f"  {crowd.total:,} requests, {points[-1][1]:.1f} MB, {len(crowd.failures)} failed")
        upstream.seen.clear()
        upstream.refused.clear()
    failures = [] if await gate.workers() == [worker] else ["the worker was replaced"]
    await crowd.stop()
    await upstream.close()
    failures += crowd.failures
    grown = growth(points)
    words = f"{crowd.total:,} requests, {cut[Outcome.CUT]:,} cut as they had to be; over the last four fifths "
    words += f"{grown:+.2f} MB to {points[-1][1]:.1f} (at most {_GROWTH_MEGABYTES:g}), {len(failures)} failed"
    return Verdict(grown <= _GROWTH_MEGABYTES and bool(cut) and not failures, words + shown(failures))
