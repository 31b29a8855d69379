"""Which endpoint a request goes to, which pool stands behind it, and what a scrape is told of the pools."""

from __future__ import annotations

import ssl
from dataclasses import replace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.config.resolve import ResolvedService
from headgate.core.address import parse_endpoint
from headgate.core.endpoint import Endpoint
from headgate.policy.balance.settings import RoundRobinSettings
from headgate.proxy.cluster import Cluster, Target, pool_key
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

    def __init__(self, *weights: int) -> None:
        self.region = SlotRegion.create(1 << 16, 1 << 12)
        self.metrics = Metrics(SlotWriter(self.region))
        self.pools: list[FakePool] = []
        endpoints = tuple(
            parse_endpoint(f"http://10.0.0.{number}:80")._replace(weight=weight)
            for number, weight in enumerate(weights)
        )
        self.service = ResolvedService("api", endpoints, RoundRobinSettings(), PoolLimits(), UpstreamTls())
        self.cluster = Cluster(self.service, self.metrics, self._pool)

    def _pool(self, service: ResolvedService, endpoint: Endpoint) -> Pool:
        assert service is self.service
        self.pools.append(FakePool(endpoint))
        return cast(Pool, self.pools[-1])

    def pick(self, tried: tuple[Target, ...] = ()) -> Target:
        target = self.cluster.pick(0.0, tried)
        assert target is not None
        return target

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


@given(st.lists(st.sampled_from([0, 1, 3, 1000]), min_size=1, max_size=5), st.integers(0, 7))
def test_every_endpoint_with_weight_is_tried_before_one_is_tried_again(weights: list[int], before: int) -> None:
    stage = Stage(*weights)
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


def test_the_gauges_are_the_sums_over_all_pools() -> None:
    stage = Stage(1, 1)
    assert stage.gauges() == {"idle": 0, "busy": 0}
    for pool, (opened, idle) in zip(stage.pools, [(5, 2), (3, 3)], strict=True):
        pool.open, pool.idle = opened, idle
    stage.cluster.observe(stage.metrics.cells)
    assert stage.gauges() == {"idle": 5, "busy": 3}
    for pool in stage.pools:
        pool.open = pool.idle = 0
    stage.cluster.observe(stage.metrics.cells)
    assert stage.gauges() == {"idle": 0, "busy": 0}


def test_a_cluster_without_endpoints_is_observed_too() -> None:
    stage = Stage()
    stage.cluster.observe(stage.metrics.cells)
    assert stage.gauges() == {"idle": 0, "busy": 0}


def test_pools_are_the_same_where_all_that_matters_is() -> None:
    service = Stage(1).service
    endpoint = service.endpoints[0]
    context, other = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    key = pool_key(service, endpoint, context)
    # Name, weight and balancer say how often a pool is chosen, not how it connects.
    same = replace(service, name="other", pool=PoolLimits(), tls=UpstreamTls())
    assert pool_key(same, endpoint._replace(name="other", weight=7), context) == key
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
