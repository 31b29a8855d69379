"""All policies at once before peers that act at random: whatever comes together, every answer is its caller's own, and
when all is over every book is even.

Seeds are fixed and bound what is drawn; what meets what is the machine's affair. A failure prints its seed.
"""

from __future__ import annotations

import asyncio
import copy
from contextlib import AsyncExitStack
from typing import Any

import pytest

from headgate.core.clock import monotonic
from headgate.core.failure import REASONS
from headgate.proxy.plan import Plan
from headgate.stores.board import OWN_CELLS
from headgate.wire.paused import PausedClients
from tests.proxy.crowd import Crowd
from tests.proxy.late_store import LateStore, store_of
from tests.proxy.peers import CEILING, Upstream, eventually, free_port, get
from tests.proxy.stage import Rig, gateway, on_loop
from tests.proxy.wallet import identity, introspect

CLIENTS = 60
AT_ONCE = 12
BALANCERS: list[dict[str, Any]] = [
    {"type": "round_robin"},
    {"type": "least_connections"},
    {"type": "random"},
    {"type": "peak_ewma"},
    {"type": "consistent_hash", "header": "X-Client"},
    {"type": "consistent_hash", "by": "path", "bound": 0},
]
SIGNER = {
    "module": "examples.plugins.tenant_signer",
    "class": "TenantSigner",
    "config": {"secret": "sixteen bytes, or more", "required": False},
}
PERIODIC = {"_observe", "_sense", "_tick"}


def limits() -> list[dict[str, Any]]:
    """One limit of every kind; few requests are refused by the wide ones."""
    own, hour, cost = {"key": "header:X-Client"}, {"window": 3600}, {"request": 3, "header": "X-Tokens"}
    return [
        {"name": "at-once", "type": "concurrency", "requests": AT_ONCE, "key": []},
        {"name": "own-at-once", "type": "concurrency", "requests": 1, **own, "shadow": True},
        {"name": "tokens", "type": "token_bucket", "requests": 100_000, **hour, "cost": cost},
        {"name": "sliding", "type": "sliding_window", "requests": 3, **own, **hour},
        {"name": "sliding-shadow", "type": "sliding_window", "requests": 1, **own, **hour, "shadow": True},
        {"name": "fixed", "type": "fixed_window", "requests": 10_000, **hour, "key": ["service", "route"]},
    ]


def without_limits(document: dict[str, Any]) -> dict[str, Any]:
    """Take all limits out of a configuration, and with them the store."""
    kept = {key: value for key, value in document.items() if key != "limits"}
    for service in kept["services"]:
        service.pop("limits", None)
        for route in service.get("routes", ()):
            route.pop("limits", None)
    return kept


def document(urls: list[str], shadow: str, introspector: str, balancer: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Turn everything on."""
    shaped = {"name": "shaped", "type": "leaky_bucket", "requests": 8, "window": 1, "max_delay": 0.3}
    once = {"name": "routes-own", "type": "concurrency", "requests": AT_ONCE, "key": ["route"]}
    mirror = {"service_name": "shadow"}
    routes = [
        {"name": "all", "match": {"path": "/a"}, "mirror": mirror, "limits": [once]},
        {"name": "shaped", "match": {"path": "/shaped"}, "limits": [shaped]},
        {
            "name": "faulty",
            "match": {"path": "/faulty"},
            "fault": {"delay": {"seconds": 0.05, "percent": 50}, "abort": {"status": 418, "percent": 20}},
        },
        {"name": "low", "match": {"path": "/low"}, "priority": "low"},
        {"name": "once", "match": {"path": "/once"}, "retry": {"attempts": 0}, "timeout": {"response": 0.1}},
        {"name": "ws", "match": {"path": "/ws"}, "upgrade": "websocket"},
        {"name": "staff", "match": {"path": "/staff"}, "auth": {"mode": "required", "tenants": "acme"}},
    ]
    service = {
        "name": "api",
        "endpoints": urls,
        "balancer": balancer,
        "routes": routes,
        "circuit_breaker": {"threshold": 4, "timeout": 0.05, "trials": 2, "success_threshold": 2},
        "outlier": {"consecutive_failures": 3, "ejection_time": 0.1, "interval": 0.5},
        "adaptive_concurrency": {"initial": 6, "min": 2, "window": 0.05},
        "pool": {"max_connections": 12, "max_pending": 20},
        "limits": [{"name": "service-at-once", "type": "concurrency", "requests": AT_ONCE, "key": ["service"]}],
    }
    retry = {
        "attempts": 3,
        "on": ["connect", "reset", "timeout", "5xx", 429],
        "per_try_timeout": 0.2,
        "hedge": 0.03,
        "backoff": {"base": 0.01, "max": 0.05, "retry_after": 1},
        "buffer": 20_000,
    }
    timeout = {"connect": 0.5, "response": 0.3, "idle": 0.3, "total": 0.8, "tunnel": 0.5}
    return {
        "services": [service, {"name": "shadow", "endpoints": [shadow], "balancer": balancer}],
        "limits": limits(),
        "limit_headers": {"forms": ["plain", "ietf"]},
        "retry": retry,
        "timeout": {**timeout, "deadline_header": "X-Timeout-Ms"},
        "compression": {"algorithms": ["gzip"], "min_size": 100},
        "overload": {"max_in_flight": AT_ONCE + 2},
        "identity": identity(introspector),
        "auth": "optional",
        "cors": {"origins": ["https://app.example.com"], "credentials": True},
        "security_headers": "api",
        "trusted_hosts": ["example.test", "127.0.0.1"],
        "plugins": [SIGNER],
        **more,
    }


class Watched:
    """The event loop, with a list of the timers that were set."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # When it is due, the timer, and the name of what it calls.
        self._timers: list[tuple[float, asyncio.TimerHandle, str]] = []

    def call_later(self, delay: float, callback: Any, *words: Any) -> asyncio.TimerHandle:
        """Set a timer."""
        handle = self._loop.call_later(delay, callback, *words)
        self._timers.append((self._loop.time() + delay, handle, callback.__name__))
        return handle

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def left(self) -> set[str]:
        """Name what will still be called."""
        now = self._loop.time()
        return {name for due, handle, name in self._timers if not handle.cancelled() and due > now}


@pytest.mark.parametrize("late", [False, True], ids=["memory", "late"])
@pytest.mark.parametrize("seed", range(len(BALANCERS)))
@on_loop
async def test_every_answer_is_its_callers_own_and_every_book_is_even(seed: int, late: bool) -> None:
    crowd, balancer = Crowd(seed * 2 + late), BALANCERS[seed]
    loop = Watched(asyncio.get_running_loop())
    plans: list[Plan] = []

    async with AsyncExitStack() as stack:
        upstreams = [await stack.enter_async_context(Upstream(crowd.serve)) for _ in range(4)]
        *real, shadow = [each.url for each in upstreams]
        urls = [*real, f"http://127.0.0.1:{free_port()}"]
        introspector = await stack.enter_async_context(Upstream(lambda link: introspect(link, crowd.random)))
        asked = introspector.url
        async with gateway(document(urls, shadow, asked, balancer)) as rig:
            rig.gateway.loop = rig.gateway.limiter._loop = loop  # type: ignore[assignment]

            def apply(chosen: dict[str, Any]) -> None:
                before = rig.gateway.limiter._store
                rig.apply(chosen)
                if late and "limits" in chosen and rig.gateway.limiter._store is not before:
                    store_of(rig, LateStore(lambda: crowd.random.random() * 0.05))
                assert rig.gateway.plan is not None
                plans.append(rig.gateway.plan)

            first = document(urls, shadow, asked, balancer, store={"type": "memory", "max_keys": 4000})
            other = document(urls, shadow, asked, BALANCERS[seed - 1], store={"type": "memory", "max_keys": 5000})
            other["identity"] = identity(asked, cache=3)
            apply(first)
            visits = [asyncio.ensure_future(crowd.visit(rig, f"{seed}-{turn}")) for turn in range(CLIENTS)]
            for turn, changed in enumerate((first, other, without_limits(copy.deepcopy(other)), other, first), start=1):
                enough = CLIENTS * turn // 6
                await eventually(lambda enough=enough: sum(each.done() for each in visits) >= enough)  # type: ignore[misc]
                apply(changed)
            await asyncio.wait_for(asyncio.gather(*visits), CEILING)
            crowd.calm = True
            await eventually(lambda: _is_quiet(rig))
            await _is_well_again(rig)
            await eventually(lambda: _is_quiet(rig))
            _books_are_even(rig, plans)
            _log_and_metrics_agree(rig)
            await eventually(lambda: loop.left() <= PERIODIC)
    assert not crowd.wrong
    assert crowd.answered > CLIENTS / 2
    await eventually(lambda: not _filed(rig))


def _is_quiet(rig: Rig) -> bool:
    """Tell whether nothing is under way: no request, no copy of one, no answer of a store and no judgement for one
    that left.
    """
    store = rig.gateway.limiter._store
    told = not store.outstanding if isinstance(store, LateStore) else True
    ways = rig.gateway.authentication
    judging = ways._at_work or any(
        way._waiting for each in (ways.in_force._made.values() if ways.in_force else ()) for way in each
    )
    return rig.gateway.in_flight == 0 and not rig.gateway.mirrors._in_flight and told and not judging


async def _is_well_again(rig: Rig) -> None:
    """Ask until there is an answer of an upstream, which says that nothing else is held at once."""
    end = monotonic() + CEILING
    answer, turn = await rig.ask(get("/low", "X-Client: late")), 0
    while answer.status != 200 and monotonic() < end:
        turn += 1
        answer = await rig.ask(get("/low", f"X-Client: late-{turn}"))
    told = [each.replace(" ", "") for each in answer.all("ratelimit")]
    for name in ("at-once", "service-at-once"):
        assert any(f'"{name}";r={AT_ONCE - 1}' in each for each in told), told


def _books_are_even(rig: Rig, plans: list[Plan]) -> None:
    gateway = rig.gateway
    assert not gateway.limiter._holding
    board = gateway.board
    assert not [entry for entry in board.entries() if board.cells[entry.base + OWN_CELLS + gateway.board_slot]]
    for plan in plans:
        for cluster in plan.clusters.values():
            assert cluster.budget.in_flight == 0
            assert cluster.adaptive is None or cluster.adaptive.in_flight == 0
            if cluster.breaker is not None:
                assert cluster.breaker._breaker.snapshot(int(monotonic() * 1_000_000)).trials == 0
    api = plans[-1].clusters["api"]
    # What requests of an earlier plan had in flight was read when they had not ended.
    api._look(monotonic() + CEILING)
    assert not api.counted or not [target.in_flight for target in api.targets if target.in_flight]


def _log_and_metrics_agree(rig: Rig) -> None:
    assert rig.counted("requests_total") == len(rig.log)
    errors = [line.get("error", "").split(":")[0] for line in rig.log]
    assert "internal" not in errors
    attempts = sum(line.get("attempts", 0) for line in rig.log)
    ended = rig.counted("upstream_requests_total", service="api")
    # Who left never learned how its try ended, and of two that race one is not heard out.
    unheard = sum(bool(each) and REASONS[each].side == "client" for each in errors)
    assert attempts - unheard - rig.counted("retries_total", reason="hedge") <= ended <= attempts


def _filed(rig: Rig) -> list[object]:
    """Return what has a deadline; who looks after paused clients finds out at the next turn that there are none."""
    wheel = rig.gateway.wheel
    return [each for bucket in wheel._buckets.values() for each in bucket if not isinstance(each, PausedClients)]
