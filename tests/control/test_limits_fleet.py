"""Limits in gateways of real processes: with limit L exactly L pass, over all workers, gateways, reloads and deaths."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.control.driver import CEILING, until
from tests.control.whole import Gateway, Service
from tests.stores.redis.servers import RedisServer

LONG = 86400
MOST = 40


@contextmanager
def running(folder: Path, service: Service, limits: list[dict[str, Any]], **more: Any) -> Iterator[Gateway]:
    gateway = Gateway(folder, 4, {"url": f"http://{service.name}"}, limits=limits, **more)
    try:
        yield gateway
    finally:
        gateway.close()


def crowd(gateways: list[Gateway], count: int) -> Counter[int]:
    """Send so many requests, several at a time, to the gateways in turn; each on a connection of its own."""
    with ThreadPoolExecutor(8) as pool:
        return Counter(pool.map(lambda number: gateways[number % len(gateways)].ask()[0], range(count)))


@pytest.mark.parametrize("kind", ["sliding_window", "token_bucket", "leaky_bucket", "fixed_window"])
def test_all_workers_of_a_gateway_count_as_one(tmp_path: Path, service: Service, kind: str) -> None:
    limit = {"name": "few", "requests": MOST, "window": LONG, "type": kind}
    with running(tmp_path, service, [limit]) as gateway:
        assert crowd([gateway], 3 * MOST) == {200: MOST, 429: 2 * MOST}
        assert len(service.asked) == MOST


def test_counts_live_through_reloads_and_the_death_of_workers(tmp_path: Path, service: Service) -> None:
    limits = [{"name": "few", "requests": MOST, "window": LONG}]
    with running(tmp_path, service, limits) as gateway:
        passed = crowd([gateway], MOST // 2)[200]
        gateway.reload()
        passed += crowd([gateway], MOST // 4)[200]
        before = gateway.workers()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        until(lambda: not before & gateway.workers(), "all workers are replaced")
        gateway.wait_log("died and is replaced", 4)
        until(lambda: gateway.shown("/api/v1/status")["status"] == "healthy", "the successors live")
        assert passed + crowd([gateway], MOST)[200] == MOST


def test_three_gateways_on_one_redis_count_as_one(tmp_path: Path, service: Service) -> None:
    limits = [
        {"name": "few", "requests": MOST, "window": LONG},
        {"name": "more", "requests": 10 * MOST, "window": LONG, "type": "token_bucket"},
    ]
    with RedisServer(tmp_path) as server, ExitStack() as stack:
        store = {"type": "redis", "url": server.url, "timeout": 10, "connect_timeout": 60}
        gateways = [
            stack.enter_context(running(tmp_path / str(number), service, limits, store=store)) for number in range(3)
        ]
        assert crowd(gateways, 3 * MOST) == {200: MOST, 429: 2 * MOST}
        assert "headgate_store_failing 0" in gateways[0].metrics()


def test_while_redis_is_away_the_workers_of_a_gateway_count_together(tmp_path: Path, service: Service) -> None:
    limits = [
        {"name": "few", "requests": MOST, "window": LONG, "type": "token_bucket"},
        # As many as the crowd has at once: none would be left if one were not given back.
        {"name": "at-once", "key": "method", "type": "concurrency", "requests": 16},
    ]
    store = {"type": "redis", "url": "redis://127.0.0.1:1", "gateways": 2}
    with running(tmp_path, service, limits, store=store) as gateway:
        assert crowd([gateway], 3 * MOST) == {200: MOST // 2, 429: 3 * MOST - MOST // 2}
        gateway.reload()
        assert crowd([gateway], 8) == {429: 8}


def test_without_a_file_each_worker_counts_its_share_of_that(tmp_path: Path, service: Service) -> None:
    limits = [{"name": "few", "requests": MOST, "window": LONG}]
    store = {"type": "redis", "url": "redis://127.0.0.1:1", "size": 0}
    with running(tmp_path, service, limits, store=store) as gateway:
        # All requests of one connection come to one of the four workers.
        connection = HTTPConnection("127.0.0.1", gateway.port, timeout=CEILING)
        statuses = []
        for _ in range(MOST):
            connection.request("GET", "/")
            with connection.getresponse() as answer:
                statuses.append(answer.status)
                answer.read()
        connection.close()
        assert statuses == [200] * (MOST // 4) + [429] * (MOST - MOST // 4)


@pytest.mark.parametrize("kind", ["memory", "shared", "redis"])
def test_the_counts_of_one_key_begin_afresh_and_no_others(tmp_path: Path, service: Service, kind: str) -> None:
    limits = [{"name": "few", "key": "header:X-Who", "requests": 8, "window": LONG}]
    with ExitStack() as stack:
        store: dict[str, Any] = {"type": kind}
        if kind == "redis":
            store |= {"url": stack.enter_context(RedisServer(tmp_path)).url, "timeout": 10, "connect_timeout": 60}
        gateway = stack.enter_context(running(tmp_path / "gateway", service, limits, store=store))

        def exhaust(who: str) -> int:
            """Ask until every worker refuses; return how many passed."""
            with ThreadPoolExecutor(8) as pool:
                return sum(pool.map(lambda _: gateway.ask("/", {"X-Who": who})[0] == 200, range(100)))

        def reset(who: str) -> dict[str, Any]:
            body = json.dumps({"limit": "few", "key": {"header:X-Who": who}})
            status, answer = gateway.tell("POST", "/api/v1/limits/reset", body)
            assert status == 200, answer
            found: dict[str, Any] = json.loads(answer)
            return found

        assert (exhaust("ada"), exhaust("bob")) == (8, 8)
        answer = reset("ada")
        assert (answer["limits"], answer["scopes"]) == (["few"], ["gateway"])
        # With a memory each, every worker has counted its part.
        assert answer["found"] == (4 if kind == "memory" else 1)
        assert (exhaust("ada"), exhaust("bob")) == (8, 0)
        assert reset("nobody")["found"] == 0
