"""The cache in gateways of real processes: all workers answer from one, and what is purged is gone from all of them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.control.driver import until
from tests.control.whole import Gateway, Service
from tests.stores.redis.servers import RedisServer

MANY = 12


@contextmanager
def running(folder: Path, service: Service, workers: int = 2, **more: Any) -> Iterator[Gateway]:
    gateway = Gateway(folder, workers, {"url": f"http://{service.name}"}, **{"cache": {"ttl": 600}, **more})
    try:
        yield gateway
    finally:
        gateway.close()


def purge(gateway: Gateway, **named: object) -> tuple[int, dict[str, Any]]:
    status, body = gateway.tell("POST", "/api/v1/cache/purge", json.dumps(named))
    return status, json.loads(body)


def crowd(gateway: Gateway, path: str, kept: int = 0) -> None:
    """Ask often; `kept` is how many entries there are once the first answer is one, 0 for one that is none.

    It becomes one behind its end, and another worker that has looked just before that asks the service, too.
    """
    assert gateway.ask(path)[0] == 200
    if kept:
        until(lambda: gateway.shown("/api/v1/cache")["store"]["entries"] == kept, "it is kept")
    for _ in range(MANY - 1):
        assert gateway.ask(path)[0] == 200


def test_all_workers_answer_from_one_cache_and_what_is_purged_is_gone_from_all(
    tmp_path: Path, service: Service
) -> None:
    with running(tmp_path, service) as gateway:
        crowd(gateway, "/a", 1)
        crowd(gateway, "/b?x=1", 2)
        assert sorted(service.asked) == ["/a", "/b?x=1"]
        # A worker counts behind its answer.
        counted = {"miss": 2, "hit": 2 * MANY - 2}
        until(lambda: counted.items() <= gateway.shown("/api/v1/cache")["results"].items(), "all is counted")
        shown = gateway.shown("/api/v1/cache")
        assert shown["store"]["entries"] == 2
        assert shown["routes"][0]["hit_rate"] == round((2 * MANY - 2) / (2 * MANY), 4)
        metrics = gateway.metrics()
        assert f'headgate_cache_requests_total{{route="all",result="hit"}} {2 * MANY - 2}\n' in metrics
        assert "headgate_cache_entries 2\n" in metrics
        assert purge(gateway, url=f"http://127.0.0.1:{gateway.port}/a") == (200, {"by": "url", "purged": 1})
        crowd(gateway, "/a", 2)
        crowd(gateway, "/b?x=1")
        assert sorted(service.asked) == ["/a", "/a", "/b?x=1"]
        assert purge(gateway, prefix=f"http://127.0.0.1:{gateway.port}/b")[1]["purged"] == 1
        assert purge(gateway, all=True)[1]["purged"] == 1
        crowd(gateway, "/b?x=1", 1)
        assert service.asked.count("/b?x=1") == 2
        assert "headgate_cache_purged_total 3\n" in gateway.metrics()


def test_it_outlives_workers_and_control_and_goes_with_its_configuration(tmp_path: Path, service: Service) -> None:
    with running(tmp_path, service) as gateway:
        crowd(gateway, "/a", 1)
        before = gateway.workers()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        until(lambda: not before & gateway.workers(), "all workers are replaced")
        gateway.wait_log("died and is replaced", 2)
        until(lambda: gateway.shown("/api/v1/status")["status"] == "healthy", "the successors live")
        gateway.kill_control()
        crowd(gateway, "/a")
        assert service.asked == ["/a"]
        # The successor of control finds the same store.
        until(lambda: gateway.shown("/api/v1/cache")["store"]["entries"] == 1, "it is looked at again")
        assert purge(gateway, all=True) == (200, {"by": "all", "purged": 1})
        crowd(gateway, "/a", 1)
        assert service.asked == ["/a", "/a"]
        gateway._more["cache"] = False
        gateway.write({"url": f"http://{service.name}"})
        gateway.reload()
        assert purge(gateway, all=True)[0] == 409
        assert gateway.shown("/api/v1/cache")["store"] is None
        crowd(gateway, "/a")
        assert len(service.asked) == 2 + MANY


def test_gateways_on_one_redis_share_answers_and_purges(tmp_path: Path, service: Service) -> None:
    with RedisServer(tmp_path) as server:
        store = {"type": "redis", "url": server.url, "timeout": 10, "connect_timeout": 60}
        # One authority for both, as behind one name.
        host = {"Host": "shop.example"}
        with (
            running(tmp_path / "one", service, 1, cache_store=store) as one,
            running(tmp_path / "two", service, 1, cache_store=store) as two,
        ):

            def kept(gateway: Gateway) -> bool:
                """Tell whether the service is asked no more; an answer may still be on its way to Redis."""
                before = len(service.asked)
                assert gateway.ask("/a", host)[0] == 200
                return len(service.asked) == before

            until(lambda: kept(one), "it is kept")
            assert kept(two)
            assert purge(one, url="http://shop.example/a") == (200, {"by": "url", "purged": 1})
            assert not kept(two)
            assert one.shown("/api/v1/cache")["store"]["type"] == "redis"
            server.kill()
            assert purge(one, all=True)[0] == 503
            assert one.ask("/a", host)[0] == 200
            until(lambda: one.shown("/api/v1/cache")["store"]["away"], "the store is said to be away")
