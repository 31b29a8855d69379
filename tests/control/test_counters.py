"""The gateway's counters against clients who count themselves, while workers die. (A longer run: `make soak`.)"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import urllib.request
from pathlib import Path

from bench import client, proc
from bench.counters import Tally, by_status
from bench.upstream import Upstream
from tests.control.driver import CEILING, state_of, until
from tests.control.whole import Gateway

REQUESTS, CLIENTS, WORKERS, KILLS = 3000, 12, 4, 2
KINDS = {client.small: 80, client.missing: 10, client.upload: 10}


def test_totals_differ_by_no_more_than_what_was_in_flight_in_workers_that_were_killed(tmp_path: Path) -> None:
    gateway, tally, in_flight, failures = asyncio.run(run(tmp_path))
    try:
        counted = by_status(points(gateway))
        assert tally.answered.total() + tally.lost >= REQUESTS
        assert failures == []
        differences = tally.differences(counted)
        assert abs(sum(differences.values())) <= in_flight
        assert all(abs(each) <= in_flight for each in differences.values()), differences
        # Of the dead nothing stays under way.
        until(lambda: "headgate_requests_in_flight 0\n" in gateway.metrics(), "nothing is under way")
        until(lambda: f"headgate_worker_restarts_total {KILLS}\n" in gateway.metrics(), "the dead are replaced")
    finally:
        gateway.close()


async def run(folder: Path) -> tuple[Gateway, Tally, int, list[str]]:
    """Ask with many clients and kill two workers; return what they counted, and what was held by those killed."""
    upstream = Upstream()
    await upstream.start()
    service = {
        "url": f"http://127.0.0.1:{upstream.port}",
        "routes": [{"name": "api", "match": {"path": "/api"}}],
    }
    gateway = await asyncio.to_thread(Gateway, folder / "gateway", WORKERS, service)
    tally = Tally()
    crowd = client.Crowd(gateway.port, KINDS, tally.judge)
    crowd.start(CLIENTS)
    in_flight, highest = 0, by_status(points(gateway))
    for kill in range(KILLS + 1):
        wanted = REQUESTS * (kill + 1) // (KILLS + 1)
        await asyncio.to_thread(until, lambda wanted=wanted: crowd.total >= wanted, "so many requests have ended")
        if kill < KILLS:
            workers = await asyncio.to_thread(gateway.workers)
            holders = proc.connections(workers, gateway.port)
            victim = max(holders, key=lambda pid: len(holders[pid]))
            # It takes no other one while it is counted what it has.
            os.kill(victim, signal.SIGSTOP)
            await asyncio.to_thread(until, lambda victim=victim: state_of(victim) == "T", "it stands still")
            in_flight += len(proc.connections([victim], gateway.port).get(victim, ()))
            os.kill(victim, signal.SIGKILL)
        seen = by_status(await asyncio.to_thread(points, gateway))
        assert not highest - seen, "a counter was shown smaller than before"
        highest = seen
    await crowd.stop()
    await upstream.close()
    return gateway, tally, in_flight, crowd.failures


def points(gateway: Gateway) -> list[dict[str, object]]:
    wanted = urllib.request.Request(f"http://{gateway.admin}/metrics", headers={"Accept": "application/json"})
    with urllib.request.urlopen(wanted, timeout=CEILING) as answer:
        return list(json.load(answer))
