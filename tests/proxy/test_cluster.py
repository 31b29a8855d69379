"""Which endpoint a request goes to, which pool stands behind it, and what a scrape is told of the pools."""

from __future__ import annotations

import ssl
from collections import Counter
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.catalog import BALANCERS
from headgate.config.resolve import ResolvedService
from headgate.core.address import parse_endpoint
from headgate.core.endpoint import Endpoint
from headgate.policy import endpoint_record
from headgate.policy.balance.settings import (
    CandidateSettings,
    ConsistentHashSettings,
    LeastConnectionsSettings,
    PeakEwmaSettings,
    RandomSettings,
    RoundRobinSettings,
)
from headgate.proxy.cluster import RECOUNT, Cluster, Target, pool_key
from headgate.stores.board import OWN_CELLS, Board
from headgate.telemetry.cells import SlotRegion, SlotWriter, read
from headgate.telemetry.metrics import Metrics
from headgate.wire.pool import Pool
from headgate.wire.settings import PoolLimits, UpstreamTls


class FakePool:
    """The books of a pool."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.open = 0
        self.idle = 0


class Stage:
    """A cluster of endpoints with these weights, its pools, and what it counts."""

    def __init__(
        self,
        *weights: int,
        balancer: Any = None,
        zones: str = "",
        board: Board | None = None,
        slot: int = 0,
        **candidates: Any,
    ) -> None:
        self.region = SlotRegion.create(1 << 16, 1 << 12)
        self.metrics = Metrics(SlotWriter(self.region))
        self.pools: list[FakePool] = []
        self.board = board or Board.create(2, 16)
        endpoints = tuple(
            parse_endpoint(f"http://10.0.0.{number}:80")._replace(weight=weight, zone=zones[number : number + 1])
            for number, weight in enumerate(weights)
        )
        self.service = ResolvedService(
            "api",
            endpoints,
            balancer or RoundRobinSettings(),
            PoolLimits(),
            UpstreamTls(),
            candidates=CandidateSettings(**candidates),
        )
        self.cluster = Cluster(self.service, self.metrics, self._pool, self.board, slot, "a")

    def _pool(self, service: ResolvedService, endpoint: Endpoint) -> Pool:
        assert service is self.service
        self.pools.append(FakePool(endpoint))
        return cast(Pool, self.pools[-1])

    def pick(self, tried: tuple[Target, ...] = ()) -> Target:
        target = self.cluster.pick(0.0, tried)
        assert target is not None
        return target

    def picked(self, times: int, now: float = 0.0) -> Counter[int]:
        """Count the numbers of those picked."""
        found: Counter[int] = Counter()
        for _ in range(times):
            target = self.cluster.pick(now)
            assert target is not None
            found[self.cluster.targets.index(target)] += 1
        return found

    def know(self, number: int, **facts: int) -> None:
        """Write facts about an endpoint onto the board, as whoever finds them out does."""
        for fact, value in facts.items():
            self.board.cells[self.cluster.targets[number].record + getattr(endpoint_record, fact)] = value
        self.board.touch()

    def in_flight(self, slot: int) -> list[int]:
        return [self.board.cells[each.record + OWN_CELLS + slot] for each in self.cluster.targets]

    def gauges(self) -> dict[str, int]:
        return {
            each.name.labels[1]: each.values[0]
            for each in read([self.region])
            if each.name.family == "headgate_pool_connections" and each.name.labels[0] == "api"
        }


@pytest.mark.parametrize("weights", [(), (0,), (0, 0)])
def test_there_is_nothing_to_pick(weights: tuple[int, ...]) -> None:
    assert Stage(*weights).cluster.pick(0.0) is None


def test_each_endpoint_has_one_pool_and_its_turn() -> None:
    stage = Stage(1, 1, 1)
    assert [pool.endpoint for pool in stage.pools] == list(stage.service.endpoints)
    picked = [stage.pick() for _ in range(6)]
    assert {id(target.pool) for target in picked[:3]} == {id(pool) for pool in stage.pools}
    assert picked[:3] == picked[3:]
    assert {target.label for target in picked} == {f"10.0.0.{number}:80" for number in range(3)}


@pytest.mark.parametrize("kind", sorted(BALANCERS))
@given(weights=st.lists(st.sampled_from([0, 1, 3, 1000]), min_size=1, max_size=5), before=st.integers(0, 7))
def test_every_endpoint_with_weight_is_tried_before_one_is_tried_again(
    kind: str, weights: list[int], before: int
) -> None:
    stage = Stage(*weights, balancer=BALANCERS[kind].settings())
    live = sum(weight > 0 for weight in weights)
    for _ in range(before):
        stage.cluster.pick(0.0)
    tried: tuple[Target, ...] = ()
    for _ in range(live):
        target = stage.pick(tried)
        assert target not in tried
        assert target.pool.endpoint.weight > 0
        tried = (*tried, target)
    if live:
        assert stage.pick(tried) in tried


def test_a_retry_prefers_the_least_loaded_of_the_others() -> None:
    stage = Stage(1, 1, 1, balancer=LeastConnectionsSettings())
    first, second, third = stage.cluster.targets
    stage.board.cells[second.record + OWN_CELLS + 1] = 9
    stage.board.cells[third.record + OWN_CELLS + 1] = 5
    assert stage.pick() is first
    assert stage.pick((first,)) is third


# -- what is known of endpoints ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fact", ["DISABLED", "UNHEALTHY"])
def test_who_is_out_gets_nothing_until_it_is_back(fact: str) -> None:
    stage = Stage(1, 1, 1)
    assert stage.picked(6) == {0: 2, 1: 2, 2: 2}
    stage.know(1, **{fact: 1})
    assert stage.picked(6) == {0: 3, 2: 3}
    stage.know(1, **{fact: 0})
    assert stage.picked(6) == {0: 2, 1: 2, 2: 2}


def test_when_all_are_disabled_there_is_nothing_to_pick() -> None:
    stage = Stage(1, 1)
    stage.know(0, DISABLED=1)
    stage.know(1, DISABLED=1)
    assert stage.cluster.pick(0.0) is None


def test_when_too_many_are_ill_all_that_are_enabled_are_tried() -> None:
    stage = Stage(1, 1, 1)
    stage.know(0, UNHEALTHY=1)
    assert stage.picked(6) == {1: 3, 2: 3}
    stage.know(1, UNHEALTHY=1)
    assert stage.picked(6) == {0: 2, 1: 2, 2: 2}
    calm = Stage(1, 1, 1, panic_threshold=0)
    for number in range(3):
        calm.know(number, UNHEALTHY=1)
    assert calm.cluster.pick(0.0) is None


def test_an_ejection_ends_by_itself() -> None:
    stage = Stage(1, 1, slow_start=10.0)
    stage.know(0, EJECTED_UNTIL=5_000_000, WELL_SINCE=5_000_000)
    assert stage.picked(10, now=4.9) == {1: 10}
    # With a tenth of its weight, then half, then all.
    assert stage.picked(11, now=5.01) == {0: 1, 1: 10}
    assert stage.picked(15, now=10.01) == {0: 5, 1: 10}
    assert stage.picked(10, now=15.01) == {0: 5, 1: 5}


def test_the_own_zone_comes_first() -> None:
    stage = Stage(1, 1, 1, zones="aab", zone_preference=True)
    assert stage.picked(4) == {0: 2, 1: 2}
    stage.know(0, UNHEALTHY=1)
    assert stage.picked(4) == {1: 4}
    # Half of those that are enabled, which is no panic.
    stage.know(0, DISABLED=1)
    stage.know(1, UNHEALTHY=1)
    assert stage.picked(4) == {2: 4}


def test_workers_share_what_is_known_by_name() -> None:
    one = Stage(1, 1)
    other = Stage(1, 1, board=one.board, slot=1)
    one.know(0, DISABLED=1)
    assert one.picked(3) == other.picked(3) == {1: 3}


# -- what is in flight -------------------------------------------------------------------------------------------------

COUNTING = [LeastConnectionsSettings(), PeakEwmaSettings(), ConsistentHashSettings()]
COUNTLESS = [RoundRobinSettings(), RandomSettings(), ConsistentHashSettings(bound=0)]


@pytest.mark.parametrize("balancer", COUNTING, ids=lambda each: str(each.type))
def test_what_was_picked_is_in_flight_until_its_end(balancer: Any) -> None:
    stage = Stage(1, 1, balancer=balancer, slot=1)
    assert stage.cluster.counted
    targets = [stage.pick() for _ in range(7)]
    assert sum(stage.in_flight(1)) == 7
    assert stage.in_flight(0) == [0, 0]
    for number, target in enumerate(targets):
        stage.cluster.end(target, 1.0, *((0.1, True), (0.1, False), (None, True))[number % 3])
    assert stage.in_flight(1) == [0, 0]
    assert [each.in_flight for each in stage.cluster.targets] == [0, 0]


@pytest.mark.parametrize("balancer", COUNTLESS, ids=lambda each: str(each.type))
def test_nobody_counts_for_a_balancer_that_heeds_no_counts(balancer: Any) -> None:
    stage = Stage(1, 1, balancer=balancer)
    assert not stage.cluster.counted
    stage.picked(5)
    assert stage.in_flight(0) == [0, 0]


def test_two_workers_spread_their_requests_as_one() -> None:
    one = Stage(1, 1, 1, 1, balancer=LeastConnectionsSettings())
    other = Stage(1, 1, 1, 1, balancer=LeastConnectionsSettings(), board=one.board, slot=1)
    for turn in range(6):
        for stage in (one, other):
            stage.picked(1, now=turn * RECOUNT * 2)
    totals = [mine + its for mine, its in zip(one.in_flight(0), other.in_flight(1), strict=True)]
    assert totals == [3, 3, 3, 3]


def test_counts_of_others_are_looked_at_now_and_then() -> None:
    stage = Stage(1, 1, balancer=LeastConnectionsSettings())
    first, second = stage.cluster.targets
    stage.cluster.end(stage.pick(), 0.0)
    stage.board.cells[first.record + OWN_CELLS + 1] = 3
    stage.picked(2, now=RECOUNT * 0.9)
    assert [first.in_flight, second.in_flight] == [1, 1]
    stage.picked(2, now=RECOUNT * 1.1)
    assert [first.in_flight, second.in_flight] == [4, 3]
    assert stage.in_flight(0) == [1, 3]


def test_what_an_older_plan_began_counts_for_the_next_one() -> None:
    old = Stage(1, 1, balancer=LeastConnectionsSettings())
    flying = [old.pick() for _ in range(6)]
    new = Stage(1, 1, balancer=LeastConnectionsSettings(), board=old.board)
    new.picked(1)
    assert sum(each.in_flight for each in new.cluster.targets) == 7
    for target in flying:
        old.cluster.end(target, 0.0, 0.1)
    new.picked(1, now=1.0)
    assert sum(each.in_flight for each in new.cluster.targets) == 2
    assert sum(new.in_flight(0)) == 2


def test_latency_is_learned_from_ends() -> None:
    stage = Stage(1, 1, balancer=PeakEwmaSettings())
    slow = stage.cluster.targets[0]
    for _ in range(4):
        target = stage.pick()
        stage.cluster.end(target, 0.0, 1.0 if target is slow else 0.01)
    assert stage.picked(1, now=0.001) == {1: 1}


def test_a_reload_forgets_no_latency() -> None:
    old = Stage(1, 1, balancer=PeakEwmaSettings())
    for target, seconds in zip(old.cluster.targets, (1.0, 0.01), strict=True):
        target.latency, target.observed = seconds, 5.0
    new = Stage(1, 1, 1, balancer=PeakEwmaSettings())
    new.cluster.follow(old.cluster)
    assert [(each.latency, each.observed) for each in new.cluster.targets] == [(1.0, 5.0), (0.01, 5.0), (0.0, 0.0)]
    new.cluster.follow(None)


# -- keys --------------------------------------------------------------------------------------------------------------


def test_a_key_leads_to_one_endpoint_and_its_retry_to_one_other() -> None:
    settings = ConsistentHashSettings(header="X-User", bound=0)
    stages = [Stage(1, 1, 1, 1, balancer=settings) for _ in range(2)]
    seen = set()
    for user in range(64):
        found = []
        for stage in stages:
            key_of = stage.cluster.key_of
            assert key_of is not None
            key = key_of([(b"X-User", b"%d" % user)], "10.0.0.1", "/")
            first = stage.cluster.pick(0.0, key=key)
            assert first is not None
            second = stage.cluster.pick(0.0, (first,), key)
            assert second is not None
            assert stage.cluster.pick(5.0, (), key) is first
            found.append((first.label, second.label))
        assert found[0] == found[1]
        seen.add(found[0])
    assert len(seen) > 8


def test_only_a_balancer_that_hashes_wants_a_key() -> None:
    clusters = {kind: Stage(1, balancer=entry.settings()).cluster for kind, entry in BALANCERS.items()}
    assert [kind for kind, cluster in clusters.items() if cluster.key_of is not None] == ["consistent_hash"]


# -- pools -------------------------------------------------------------------------------------------------------------


def test_the_gauges_are_the_sums_over_all_pools() -> None:
    stage = Stage(1, 1)
    assert stage.gauges() == {"idle": 0, "busy": 0}
    for pool, (opened, idle) in zip(stage.pools, [(5, 2), (3, 3)], strict=True):
        pool.open, pool.idle = opened, idle
    stage.cluster.observe(stage.metrics.cells, 0.0)
    assert stage.gauges() == {"idle": 5, "busy": 3}
    for pool in stage.pools:
        pool.open = pool.idle = 0
    stage.cluster.observe(stage.metrics.cells, 0.0)
    assert stage.gauges() == {"idle": 0, "busy": 0}


def test_a_cluster_without_endpoints_is_observed_too() -> None:
    stage = Stage()
    stage.cluster.observe(stage.metrics.cells, 0.0)
    assert stage.gauges() == {"idle": 0, "busy": 0}


def test_pools_are_the_same_where_all_that_matters_is() -> None:
    service = Stage(1).service
    endpoint = service.endpoints[0]
    context, other = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    key = pool_key(service, endpoint, context)
    # Name, weight, zone and balancer say how often a pool is chosen, not how it connects.
    same = replace(service, name="other", pool=PoolLimits(), tls=UpstreamTls())
    assert pool_key(same, endpoint._replace(name="other", weight=7, zone="b"), context) == key
    different = [
        pool_key(service, endpoint, other),
        pool_key(service, endpoint, None),
        pool_key(service, endpoint._replace(prefix="/v1"), context),
        pool_key(service, endpoint._replace(port=81), context),
        pool_key(service, endpoint._replace(scheme="https"), context),
        pool_key(replace(service, pool=PoolLimits(max_idle=1)), endpoint, context),
        pool_key(replace(service, tls=UpstreamTls(server_name="a.test")), endpoint, context),
    ]
    assert len({key, *different}) == 8


@pytest.mark.parametrize("kind", sorted(BALANCERS))
@given(steps=st.lists(st.sampled_from(["pick", "end", "swap"]), max_size=40), places=st.randoms(use_true_random=False))
def test_through_any_sets_what_is_in_flight_is_what_was_picked_and_not_ended(
    kind: str, steps: list[str], places: Any
) -> None:
    stage = Stage(1, 1, 1, balancer=BALANCERS[kind].settings())
    all_of_them = [parse_endpoint(f"http://10.0.0.{number}:80") for number in range(5)]
    cluster = stage.cluster
    cluster._pool_for = lambda service, endpoint: cast(Pool, FakePool(endpoint))
    flying: list[Target] = []
    for now, step in enumerate(steps):
        if step == "pick":
            target = cluster.pick(float(now))
            assert (target is None) is (not cluster.targets)
            if target is not None:
                assert target in cluster.targets
                flying.append(target)
        elif step == "end" and flying:
            target = flying.pop(places.randrange(len(flying)))
            if cluster.counted:
                cluster.end(target, float(now), 0.1)
        elif step == "swap":
            chosen = places.sample(all_of_them, places.randrange(6))
            left = cluster.take(tuple(each._replace(weight=places.randrange(1, 4)) for each in chosen))
            assert not set(left) & set(cluster.targets)
        if cluster.counted:
            names = Counter(each.endpoint.name for each in flying)
            # A target that left and its successor share a record.
            seen = {each.endpoint.name: stage.board.cells[each.record + OWN_CELLS] for each in cluster.targets}
            assert seen == {name: names[name] for name in seen}
            if kind == "consistent_hash" and cluster.pick(float(now)) is not None:
                total = cluster._balancer._in_flight  # type: ignore[attr-defined]
                assert total == sum(seen.values()) + 1
                (last,) = [
                    each
                    for each in cluster.targets
                    if stage.board.cells[each.record + OWN_CELLS] > seen[each.endpoint.name]
                ]
                cluster.end(last, float(now), 0.1)


@pytest.mark.parametrize("kind", [LeastConnectionsSettings, ConsistentHashSettings, PeakEwmaSettings])
def test_the_end_of_an_attempt_where_one_left_leaves_those_who_came_as_they_are(kind: type) -> None:
    stage = Stage(1, balancer=kind())
    cluster = stage.cluster
    cluster._pool_for = lambda service, endpoint: cast(Pool, FakePool(endpoint))
    old = stage.pick()
    assert cluster.take((parse_endpoint("http://10.0.0.7:80"), parse_endpoint("http://10.0.0.8:80"))) == [old]
    stage.pick()
    cluster.end(old, 0.0, 0.1)
    # Whatever is summed over all of them: one is under way, and the next one goes to who is idle.
    assert getattr(cluster._balancer, "_in_flight", 1) == 1
    assert getattr(cluster._balancer, "_floor", 1.0) >= 1.0
    assert sum(stage.in_flight(0)) == 1
