"""The course of the metrics: rates and percentiles of what the workers' cells count, second by second."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.control.telemetry.history import MOST_SERVICES, RECENT, Course, History, quantile
from headgate.control.telemetry.kinds import CACHE, PROTOCOLS, by_protocol, kinds_of
from headgate.telemetry.cells import SeriesName, SlotRegion, SlotWriter
from headgate.telemetry.metrics import Metrics
from headgate.telemetry.settings import Metrics as Settings

BEGIN = 1_700_000_000.0


class Scene:
    """Two workers that count, and the seconds that pass."""

    def __init__(self, kept: float = 3600.0) -> None:
        regions = [SlotRegion.create(1024 * 1024, 65536) for _ in range(2)]
        self.metrics = [Metrics(SlotWriter(region)) for region in regions]
        self.history = History(regions, kept)
        self.now = BEGIN
        self.second()

    def ask(self, service: str, status: int, seconds: float, slot: int = 0, times: int = 1) -> None:
        series = self.metrics[slot].requests("route", service)
        for _ in range(times):
            self.metrics[slot].begin()
            series.finish("GET", status, seconds, 0, 0)

    def second(self, length: float = 1.0) -> None:
        self.now += length
        for slot in range(2):
            self.history.gather(slot)
        self.history.close_second(self.now, length)

    def last(self) -> Course:
        return self.history.course(1, 1)


def test_a_second_is_the_sum_of_all_workers() -> None:
    scene = Scene()
    scene.ask("api", 200, 0.004, times=3)
    scene.ask("api", 502, 0.2, slot=1)
    scene.ask("shop", 404, 0.004, slot=1, times=2)
    scene.ask("", 404, 0.0001)
    scene.metrics[0].begin()
    scene.second()
    last = scene.last()
    assert (last["requests"], last["errors"], last["in_flight"]) == ([7.0], [1.0], [1])
    assert last["by_status"] == {"1xx": [0.0], "2xx": [3.0], "3xx": [0.0], "4xx": [3.0], "5xx": [1.0]}
    assert {name: line["requests"] for name, line in last["by_service"].items()} == {"api": [4.0], "shop": [2.0]}
    assert last["by_service"]["api"]["errors"] == [1.0]
    # Three quarters of its requests took at most 5 ms, the last one between 100 and 250 ms.
    assert last["by_service"]["api"]["p50"] == [pytest.approx(0.0025 + 0.0025 * 2 / 3, abs=1e-6)]
    assert last["by_service"]["api"]["p99"] == [pytest.approx(0.1 + 0.15 * 0.96, abs=1e-6)]
    scene.second()
    last = scene.last()
    assert (last["requests"], last["p50"], last["by_service"]) == ([0.0], [None], {})


def test_what_clients_spoke_and_the_cache_answered_is_told_apart() -> None:
    scene = Scene()
    for slot, version in ((0, "1.1"), (1, "1.1"), (0, "2"), (1, "2"), (1, "2")):
        scene.metrics[slot].requests("pages", "site").finish("GET", 200, 0.1, 0, 0, "", version)
    series = scene.metrics[0].requests("pages", "site")
    for result in ("hit", "stale", "miss", "bypass", "hit"):
        series.cached(result, 100)
    scene.second(0.5)
    last = scene.last()
    assert last["by_protocol"] == {"HTTP/1.0": [0.0], "HTTP/1.1": [4.0], "HTTP/2": [6.0], "gRPC": [0.0]}
    assert last["cache"] == {"requests": [8.0], "answered": [6.0], "bytes": [600.0]}
    scene.second()
    joined = scene.history.course(10, 10)
    assert [sum(values) for values in joined["cache"].values()] == pytest.approx(
        [4 / 2.5, 3 / 2.5, 300 / 2.5], abs=1e-3
    )


def test_a_call_of_grpc_is_no_other_request_of_http_2() -> None:
    assert by_protocol({"HTTP/2": 5, "gRPC": 3}) == {"HTTP/1.0": 0, "HTTP/1.1": 0, "HTTP/2": 2, "gRPC": 3}
    assert by_protocol({"HTTP/2": 0, "gRPC": 1})["HTTP/2"] == 0
    grpc = SeriesName("headgate_grpc_requests_total", "counter", ("all", "api", "0"))
    assert kinds_of(grpc) == ("gRPC",)


def test_rates_are_of_the_seconds_that_passed() -> None:
    scene = Scene()
    scene.ask("api", 200, 0.004, times=10)
    scene.second(2.5)
    assert scene.last()["requests"] == [4.0]


def test_buckets_that_a_configuration_changes_begin_anew() -> None:
    scene = Scene()
    scene.ask("api", 200, 0.004, times=4)
    scene.second()
    lingering = scene.metrics[0].requests("route", "api")
    lingering.finish("GET", 200, 0.004, 0, 0)
    for metrics in scene.metrics:
        metrics.follow(Settings(buckets=[0.5, 2.0]))
    scene.ask("api", 200, 1.0, slot=1, times=3)
    # One that the configuration before had let in ends after all.
    lingering.finish("GET", 200, 0.004, 0, 0)
    scene.second()
    last = scene.history.course(10, 1)
    assert scene.history.bounds == (0.5, 2.0)
    assert last["requests"] == [5.0]
    assert last["p50"] == [pytest.approx(0.5 + 1.5 * (2.5 - 2) / 3)]


def test_steps_are_joined() -> None:
    scene = Scene()
    while scene.now % 10 != 0:
        scene.second()
    for _ in range(20):
        scene.ask("api", 200, 0.004, times=2)
        scene.second()
    course = scene.history.course(20, 10)
    # A moment on the border of a step belongs to the one that begins.
    assert [round(at - BEGIN) % 10 for at in course["at"]] == [9, 9, 0]
    assert course["requests"] == [2.0, 2.0, 2.0]
    assert course["step"] == 10


def test_what_is_older_is_kept_in_coarser_steps() -> None:
    scene = Scene(kept=3600)
    for _ in range(RECENT * 3):
        scene.ask("api", 200, 0.004)
        scene.second()
    assert len(scene.history.course(RECENT, 1)["at"]) == RECENT
    course = scene.history.course(RECENT * 3, 1)
    assert course["step"] == 10
    assert len(course["at"]) == pytest.approx(RECENT * 3 / 10, abs=2)
    assert course["at"] == sorted(set(course["at"]))
    assert set(course["requests"]) <= {1.0, 0.9, 0.889}


def test_a_day_has_no_more_steps_than_an_hour() -> None:
    scene = Scene(kept=86_400)
    for _ in range(2000):
        scene.second(60)
    assert len(scene.history._steps) <= 720
    scene.history.keep(3600)
    assert len(scene.history._steps) <= 360


def test_only_the_busiest_services_stand_apart() -> None:
    scene = Scene()
    for number in range(MOST_SERVICES + 20):
        scene.ask(f"service-{number}", 200, 0.004, times=1 + (number >= 20))
    scene.second()
    last = scene.last()
    assert set(last["by_service"]) == {f"service-{number}" for number in range(20, MOST_SERVICES + 20)}
    assert last["requests"] == [MOST_SERVICES * 2 + 20]


def test_a_tick_has_one_value_each() -> None:
    scene = Scene()
    scene.ask("api", 500, 0.004, times=4)
    scene.now += 1
    for slot in range(2):
        scene.history.gather(slot)
    tick = scene.history.described(scene.history.close_second(scene.now, 1.0))
    assert (tick["at"], tick["step"], tick["requests"], tick["errors"]) == (scene.now, 1.0, 4.0, 4.0)
    assert tick["by_status"] == {"1xx": 0.0, "2xx": 0.0, "3xx": 0.0, "4xx": 0.0, "5xx": 4.0}
    assert tick["by_protocol"] == {**dict.fromkeys(PROTOCOLS, 0.0), "HTTP/1.1": 4.0}
    assert tick["cache"] == dict.fromkeys(CACHE, 0.0)
    services = tick["by_service"]
    assert isinstance(services, dict) and services["api"]["errors"] == 4.0


def test_a_quantile_is_inside_of_its_bucket() -> None:
    bounds = (1.0, 2.0, 4.0)
    assert quantile(bounds, [0, 0, 0, 0], 0.5) is None
    assert quantile(bounds, [0, 10, 0, 0], 0.5) == 1.5
    assert quantile(bounds, [5, 5, 0, 0], 0.5) == 1.0
    assert quantile(bounds, [0, 0, 0, 3], 0.5) == 4.0
    assert quantile(bounds, [10, 0, 0, 10], 0.99) == 4.0


@given(st.lists(st.integers(0, 1000), min_size=4, max_size=4), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_quantiles_grow_with_their_part(counts: list[int], one: float, other: float) -> None:
    bounds = (0.1, 0.5, 2.0)
    found = [quantile(bounds, counts, part) for part in sorted((one, other))]
    if not sum(counts):
        assert found == [None, None]
        return
    lower, upper = found
    assert lower is not None and upper is not None
    assert 0.0 <= lower <= upper <= 2.0
