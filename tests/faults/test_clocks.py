"""The clock on the wall jumps or stands still: what lasts so long goes on as it was, what ends at a moment ends then.

All of a worker sees the same jump; the monotonic clock goes on, as the kernel has it. What is remembered of credentials
stands in tests/proxy/test_verdicts_in_time.py, what tokens say of time in tests/proxy/test_signed_tokens.py.
"""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest

from bench import client
from headgate.auth.api_key import static_hash
from headgate.core import clock as clocks
from tests.faults.scene import ask_all, upstream
from tests.proxy.peers import eventually, get
from tests.proxy.stage import gateway, on_loop, to

HOUR, DAY, MONTH = 3600.0, 86_400.0, 30 * 86_400.0
JUMPS = [-DAY, -HOUR, -1.0, 0.0, 1.0, HOUR, DAY]
# Longer than any test, and shorter than any.
LONG, SHORT = HOUR, 0.1


class Wall:
    """The wall clock of the whole worker, which stands still between jumps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.time()
        real = clocks.wall
        for module in list(sys.modules.values()):
            if getattr(module, "__name__", "").startswith("headgate.") and getattr(module, "wall", None) is real:
                monkeypatch.setattr(module, "wall", lambda: self.now)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    return Wall(monkeypatch)


@pytest.mark.parametrize("jump", JUMPS)
@pytest.mark.parametrize("kind", ["sliding_window", "fixed_window", "token_bucket"])
@on_loop
async def test_no_jump_empties_a_window_or_fills_it(wall: Wall, kind: str, jump: float) -> None:
    limit = {"name": "few", "type": kind, "requests": 3}
    async with upstream() as server:
        document = to(f"http://127.0.0.1:{server.port}", limits=[{**limit, "window": MONTH}])
        async with gateway(document) as rig:
            assert (await ask_all(rig, (client.small() for _ in range(4)))).words == {"429 rate_limited": 1}
            wall.now += jump
            tally = await ask_all(rig, (client.small() for _ in range(4)))
            assert tally.words == {"429 rate_limited": 4}
            answer = await rig.ask(get("/api/things"))
            assert 0 < int(answer.get("retry-after") or 0) <= MONTH
        document = to(f"http://127.0.0.1:{server.port}", limits=[{**limit, "window": SHORT}])
        async with gateway(document) as rig:
            await ask_all(rig, (client.small() for _ in range(4)))
            wall.now -= jump
            while (await ask_all(rig, [client.small()])).words:
                pass


@pytest.mark.parametrize("jump", JUMPS)
@on_loop
async def test_no_jump_closes_a_breaker_or_keeps_it_open(wall: Wall, jump: float) -> None:
    async with upstream() as server:
        for lasts in (LONG, SHORT):
            breaker = {"threshold": 3, "timeout": lasts, "jitter": 0}
            service = {"circuit_breaker": breaker, "retry": {"attempts": 0}}
            async with gateway(to(f"http://127.0.0.1:{server.port}", service=service)) as rig:
                for _ in range(3):
                    await ask_all(rig, [client.failing("/api/x?close=before", 502)])
                wall.now += jump
                if lasts == LONG:
                    assert (await ask_all(rig, [client.small()])).words == {"503 breaker_open": 1}
                    continue
                while (await ask_all(rig, [client.small()])).words:
                    pass


@pytest.mark.parametrize("jump", JUMPS)
@on_loop
async def test_an_upstream_that_hangs_is_waited_for_as_long_as_ever(wall: Wall, jump: float) -> None:
    async with upstream() as server:
        timeout = {"response": 20}
        async with gateway(to(f"http://127.0.0.1:{server.port}", timeout=timeout, retry={"attempts": 0})) as rig:
            waiting = asyncio.ensure_future(ask_all(rig, [client.failing("/api/x?delay=3600", 504)]))
            await eventually(lambda: server.seen.total() == 1)
            wall.now += jump
            assert not (await ask_all(rig, [client.small("/api/things?delay=0.05")])).words
            assert not waiting.done()
            rig.pass_time(20)
            assert not (await waiting).words


@on_loop
async def test_a_key_ends_at_its_moment_whichever_way_the_clock_comes_there(wall: Wall) -> None:
    ends = datetime.fromtimestamp(wall.now + HOUR / 2, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    static = {"id": "k", "hash": static_hash(b"hg_the-key-of-this-test"), "expires": ends}
    identity = {"api_keys": {"database": False, "static": [static]}}
    async with upstream() as server, gateway(to(f"http://127.0.0.1:{server.port}", identity=identity)) as rig:
        for jump, status in (
            (0.0, 200),
            (HOUR, 401),
            (DAY, 401),
            (-HOUR, 401),
            (-DAY, 200),
            (-DAY, 200),
            (3 * DAY, 401),
        ):
            wall.now += jump
            answer = await rig.ask(get("/api/things", "X-API-Key: hg_the-key-of-this-test"))
            assert answer.status == status, jump


@pytest.mark.parametrize("jump", JUMPS)
@on_loop
async def test_answers_are_dated_by_the_clock_as_it_is(wall: Wall, jump: float) -> None:
    async with upstream() as server, gateway(to(f"http://127.0.0.1:{server.port}")) as rig:
        for _ in range(2):
            answer = await rig.ask(get("/no/../%zz"))
            assert parsedate_to_datetime(answer.get("date") or "").timestamp() == int(wall.now)
            wall.now += jump
