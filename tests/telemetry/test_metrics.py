"""Metrics: what a finished request adds, and that no client can make the table longer."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.failure import REASONS
from headgate.telemetry.cells import OTHER, SeriesName, SlotRegion, SlotWriter, read
from headgate.telemetry.families import FAMILIES, METHODS, Family
from headgate.telemetry.metrics import Metrics
from headgate.telemetry.settings import MetricForm
from headgate.telemetry.settings import Metrics as MetricsSettings

Key = tuple[str, tuple[str, ...]]


def make(region: SlotRegion | None = None) -> tuple[Metrics, SlotRegion]:
    region = region or SlotRegion.create(1 << 20, 1 << 16)
    return Metrics(SlotWriter(region), worker="0"), region


def totals(*regions: SlotRegion) -> dict[Key, list[int]]:
    """Return the sums by family and labels, without the fine ones that are not told apart."""
    return {
        (name.family, name.labels if any(_fine(name)) else name.labels[: len(FAMILIES[name.family].shown)]): values
        for name, values in read(regions)
    }


def _fine(name: SeriesName) -> tuple[str, ...]:
    return name.labels[len(FAMILIES[name.family].shown) :]


def bucket(name: str, exposed: float) -> int:
    """Place of the bucket with this upper bound among a histogram's values."""
    return 1 + FAMILIES[name].buckets.index(exposed)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_the_table_is_well_formed(family: Family) -> None:
    assert family.name.startswith("headgate_")
    assert family.help.endswith(".")
    assert family.name.endswith("_total") == (family.kind == "counter")
    assert bool(family.buckets) == (family.kind == "histogram")
    assert list(family.bounds) == sorted(set(family.bounds))
    assert family.name.removesuffix("_total").endswith("_seconds") == (family.unit == 1_000_000)
    assert family.labels == (*family.shown, *family.fine)
    assert not family.states or family.kind == "gauge"


def test_the_request_buckets_go_from_a_millisecond_to_a_minute() -> None:
    bounds = FAMILIES["headgate_request_duration_seconds"].bounds
    assert (bounds[0], bounds[-1]) == (1000, 60_000_000)


def test_a_finished_request_is_counted_everywhere() -> None:
    metrics, region = make()
    series = metrics.requests("chat-route", "chat")
    metrics.begin()
    metrics.begin()
    assert totals(region)["headgate_requests_in_flight", ()] == [2]
    series.finish("POST", 201, 0.0034, 120, 2048)

    seen = totals(region)
    assert seen["headgate_requests_in_flight", ()] == [1]
    assert seen["headgate_requests_total", ("chat-route", "chat", "POST", "201")] == [1]
    assert seen["headgate_request_bytes_total", ("chat-route",)] == [120]
    assert seen["headgate_response_bytes_total", ("chat-route",)] == [2048]
    duration = seen["headgate_request_duration_seconds", ("chat-route", "chat")]
    assert duration[0] == 3400
    assert duration[bucket("headgate_request_duration_seconds", 0.005)] == 1
    assert sum(duration[1:]) == 1


@pytest.mark.parametrize(
    ("result", "known", "volume"),
    [
        ("hit", "hit", 700),
        ("stale", "stale", 700),
        ("miss", "miss", None),
        ("bypass", "bypass", None),
        ("x", OTHER, None),
    ],
)
def test_what_the_cache_made_of_requests_is_counted_with_the_bytes_it_gave(
    result: str, known: str, volume: int | None
) -> None:
    metrics, region = make()
    series = metrics.requests("pages", "site")
    series.cached(result, 300)
    series.cached(result, 400)
    seen = totals(region)
    assert seen["headgate_cache_requests_total", ("pages", known)] == [2]
    assert seen.get(("headgate_cache_response_bytes_total", ("pages",))) == ([volume] if volume else None)


@pytest.mark.parametrize(("version", "known"), [("1.0", "1.0"), ("1.1", "1.1"), ("2", "2"), ("9.9", OTHER)])
def test_requests_are_counted_by_what_their_clients_spoke(version: str, known: str) -> None:
    metrics, region = make()
    for service in ("one", "other"):
        metrics.requests("r", service).finish("GET", 200, 0.1, 0, 0, "", version)
    assert totals(region)["headgate_protocol_requests_total", (known,)] == [2]


@pytest.mark.parametrize(
    ("seconds", "place"),
    [
        (0.0, 0),
        (0.001, 0),
        (0.0010015, 1),
        (60.0, 14),
        (60.000002, 15),
        (86400.0, 15),
    ],
)
def test_a_bound_belongs_to_its_own_bucket(seconds: float, place: int) -> None:
    metrics, region = make()
    metrics.requests("r", "s").finish("GET", 200, seconds, 0, 0)
    buckets = totals(region)["headgate_request_duration_seconds", ("r", "s")][1:]
    assert buckets.index(1) == place


def test_a_route_has_no_series_before_its_first_request() -> None:
    metrics, region = make()
    metrics.requests("quiet", "s")
    assert not any("quiet" in labels for _, labels in totals(region))


def test_families_without_labels_are_there_from_the_start() -> None:
    _, region = make()
    unlabelled = {name for name, family in FAMILIES.items() if not family.labels}
    of_workers = {"headgate_config_version", "headgate_overload_pressure"}
    of_control = {"headgate_api_keys", "headgate_key_database_failing", "headgate_records_total"}
    of_control |= {"headgate_records_dropped_total", "headgate_stream_watchers", "headgate_stream_lost_total"}
    of_control |= {f"headgate_cache_{name}" for name in ("entries", "bytes", "size_bytes")}
    of_control |= {f"headgate_cache_{name}_total" for name in ("stored", "refused", "evicted", "purged")}
    assert {name for name, _ in totals(region)} == unlabelled - of_control | of_workers


def test_a_new_plan_goes_on_with_the_series_of_the_old() -> None:
    metrics, region = make()
    for _ in range(2):
        metrics.requests("r", "s").finish("GET", 200, 0.1, 1, 1)
    assert totals(region)["headgate_requests_total", ("r", "s", "GET", "200")] == [2]


def test_a_successor_and_a_second_worker_are_one_sum() -> None:
    first, region = make()
    first.begin()
    first.requests("r", "s").finish("GET", 200, 0.1, 1, 1)
    successor, _ = make(SlotRegion(region.memory))
    other, second_region = make()
    for metrics in (successor, other):
        metrics.requests("r", "s").finish("GET", 200, 0.1, 1, 1)
    assert totals(region, second_region)["headgate_requests_total", ("r", "s", "GET", "200")] == [3]


@given(method=st.text(max_size=12).filter(lambda text: text not in METHODS))
def test_a_method_outside_the_list_is_other(method: str) -> None:
    metrics, region = make(SlotRegion.create(8192, 200))
    metrics.requests("r", "s").finish(method, 200, 0.1, 0, 0)
    assert totals(region)["headgate_requests_total", ("r", "s", "other", "200")] == [1]


@pytest.mark.parametrize("status", [-1, 0, 99, 600, 999, 10**9])
def test_a_status_outside_http_is_other(status: int) -> None:
    metrics, region = make()
    metrics.requests("r", "s").finish("GET", status, 0.1, 0, 0)
    assert totals(region)["headgate_requests_total", ("r", "s", "GET", "other")] == [1]


def test_hostile_methods_and_upstreams_add_no_series_beyond_the_lists() -> None:
    metrics, region = make()
    series, upstream = metrics.requests("r", "s"), metrics.upstream("s")
    for number in range(3000):
        series.finish(f"METHOD-{number}", 100 + number, 0.1, 0, 0)
        upstream.answered(number, 0.1)
        upstream.failed(f"invented-{number}")
        upstream.retried(f"invented-{number}")
        metrics.error(f"invented-{number}")
    count = Counter(name for name, _ in totals(region))
    assert count["headgate_requests_total"] == 500 + 1
    assert count["headgate_upstream_requests_total"] == 5 + 1
    assert count["headgate_retries_total"] == count["headgate_errors_total"] == 1


def test_upstream_attempts_by_outcome() -> None:
    metrics, region = make()
    upstream = metrics.upstream("chat")
    upstream.answered(200, 0.02)
    upstream.answered(204, 0.02)
    upstream.answered(503, 0.02)
    upstream.failed("connect_refused")
    upstream.retried("connect_refused")
    upstream.retried("status")
    metrics.cells[upstream.idle] += 2
    metrics.cells[upstream.busy] += 1
    seen = totals(region)
    outcomes = {
        labels[1]: values[0] for (name, labels), values in seen.items() if name == "headgate_upstream_requests_total"
    }
    assert outcomes == {"2xx": 2, "5xx": 1, "connect_refused": 1}
    # Only answers have a time to their head.
    assert sum(seen["headgate_upstream_duration_seconds", ("chat",)][1:]) == 3
    assert seen["headgate_upstream_duration_seconds", ("chat",)][0] == 60_000
    assert seen["headgate_retries_total", ("chat", "connect_refused")] == [1]
    assert seen["headgate_retries_total", ("chat", "status")] == [1]
    assert seen["headgate_pool_connections", ("chat", "idle")] == [2]
    assert seen["headgate_pool_connections", ("chat", "busy")] == [1]


def test_every_reason_of_the_gateway_has_its_own_series() -> None:
    metrics, region = make()
    for reason in REASONS:
        metrics.error(reason)
        metrics.error(reason)
    seen = {labels[0]: values for (name, labels), values in totals(region).items() if name == "headgate_errors_total"}
    assert seen == {reason: [2] for reason in REASONS}


def test_the_loop_lag_is_a_histogram_and_sums_over_workers() -> None:
    first, one = make()
    second, two = make()
    first.loop_lag(0.0005)
    second.loop_lag(0.2)
    values = totals(one, two)["headgate_loop_lag_seconds", ()]
    assert values[0] == 200_500
    assert values[bucket("headgate_loop_lag_seconds", 0.001)] == 1
    assert values[bucket("headgate_loop_lag_seconds", 0.5)] == 1


def test_each_worker_shows_its_own_configuration_version() -> None:
    regions = [SlotRegion.create(8192, 200) for _ in range(2)]
    for slot, region in enumerate(regions):
        metrics = Metrics(SlotWriter(region), worker=str(slot))
        metrics.cells[metrics.config_version] = 7 + slot
    seen = totals(*regions)
    assert seen["headgate_config_version", ("0",)] == [7]
    assert seen["headgate_config_version", ("1",)] == [8]


def test_a_full_region_still_counts_in_every_family() -> None:
    metrics, region = make(SlotRegion.create(8192, 160))
    for number in range(200):
        metrics.requests(f"route-{number}", "s").finish("GET", 200, 0.1, 1, 2)
    metrics.upstream("s").answered(200, 0.1)
    metrics.error("internal")
    metrics.cells[metrics.counter("headgate_connections_total", "main")] += 1
    seen = totals(region)
    assert sum(values[0] for (name, _), values in seen.items() if name == "headgate_requests_total") == 200
    assert sum(values[0] for (name, _), values in seen.items() if name == "headgate_response_bytes_total") == 400
    for name in ("headgate_upstream_requests_total", "headgate_errors_total", "headgate_connections_total"):
        assert sum(values[0] for (family, _), values in seen.items() if family == name) == 1


def test_other_buckets_are_a_table_of_ones_own() -> None:
    name = "headgate_request_duration_seconds"
    families = {**FAMILIES, name: FAMILIES[name]._replace(buckets=(0.5, 2.0))}
    region = SlotRegion.create(1 << 16, 1 << 10)
    Metrics(SlotWriter(region), families=families).requests("r", "s").finish("GET", 200, 1.0, 0, 0)
    assert totals(region)[name, ("r", "s")] == [1_000_000, 0, 1, 0]


def test_an_unknown_family_is_a_mistake_of_the_caller() -> None:
    metrics, _ = make()
    with pytest.raises(KeyError):
        metrics.counter("headgate_nonsense_total")
    with pytest.raises(ValueError, match="cannot change to a gauge"):
        metrics.gauge("headgate_errors_total", "internal")


def test_credentials_are_counted_by_way_and_by_what_became_of_them() -> None:
    metrics, region = make()
    for _ in range(2):
        metrics.auth("staff", "known")
    metrics.auth("staff", "refused")
    metrics.auth_judged("staff")
    metrics.auth_failed("expired_token", "jwt")
    metrics.auth_failed("missing_credentials")
    metrics.auth_waited("staff", 0.0034)
    seen = totals(region)
    assert seen["headgate_auth_total", ("staff", "known")] == [2]
    assert seen["headgate_auth_total", ("staff", "refused")] == [1]
    assert seen["headgate_auth_judged_total", ("staff",)] == [1]
    assert seen["headgate_auth_failures_total", ("expired_token", "jwt")] == [1]
    assert seen["headgate_auth_failures_total", ("missing_credentials", "none")] == [1]
    waited = seen["headgate_auth_wait_seconds", ("staff",)]
    assert waited[0] == 3400
    assert waited[bucket("headgate_auth_wait_seconds", 0.005)] == 1


@given(reason=st.text(max_size=12).filter(lambda text: text not in REASONS))
def test_a_reason_for_refusing_a_credential_is_one_of_the_list(reason: str) -> None:
    metrics, region = make(SlotRegion.create(1 << 14, 1 << 10))
    metrics.auth_failed(reason, "jwt")
    assert totals(region)["headgate_auth_failures_total", ("other", "jwt")] == [1]


def test_buckets_may_change_with_a_configuration_and_old_series_stay() -> None:
    name = "headgate_request_duration_seconds"
    metrics, region = make()
    before = metrics.requests("r", "s")
    before.finish("GET", 200, 1.0, 0, 0)
    metrics.follow(MetricsSettings(buckets=[0.5, 2.0]))
    metrics.requests("r", "s").finish("GET", 200, 1.0, 0, 0)
    before.finish("GET", 200, 1.0, 0, 0)
    seen = {each.name.bounds: each.values for each in read([region]) if each.name.family == name and any(each.values)}
    assert seen[500_000, 2_000_000] == [1_000_000, 0, 1, 0]
    assert seen[FAMILIES[name].bounds][0] == 2_000_000
    assert totals(region)["headgate_requests_total", ("r", "s", "GET", "200")] == [3]


def test_buckets_for_which_there_is_no_room_change_nothing() -> None:
    metrics, _ = make(SlotRegion.create(16_384, 220))
    metrics.requests("r", "s").finish("GET", 200, 1.0, 0, 0)
    wanted = metrics.wanted
    with pytest.raises(ValueError, match="no room for metric"):
        metrics.follow(MetricsSettings(buckets=[float(bound) for bound in range(1, 100)]))
    assert metrics.wanted is wanted


def test_what_a_form_asks_for_is_told_apart() -> None:
    metrics, region = make()
    names = {
        "headgate_requests_total": [MetricForm(labels={"why": "reason"})],
        "headgate_request_duration_seconds": [MetricForm(labels={"method": "method"})],
        "headgate_upstream_requests_total": [MetricForm(labels={"status": "status"})],
        "headgate_errors_total": [MetricForm(labels={"route": "route"})],
    }
    metrics.follow(MetricsSettings(names=names))
    series, upstream = metrics.requests("r", "s"), metrics.upstream("s")
    series.finish("GET", 503, 0.1, 0, 0, "breaker_open")
    series.finish("GET", 503, 0.1, 0, 0, "no_endpoint")
    series.finish("POST", 503, 0.1, 0, 0, "invented by a plugin")
    upstream.answered(200, 0.1, "GET")
    upstream.answered(201, 0.1, "BREW")
    upstream.failed("dns", "GET")
    metrics.error("breaker_open", "r", "s", "GET")
    seen = totals(region)
    assert {labels[-1]: value for (name, labels), value in seen.items() if name == "headgate_requests_total"} == {
        "breaker_open": [1],
        "no_endpoint": [1],
        "other": [1],
    }
    durations = {labels: values for (name, labels), values in seen.items() if name.endswith("t_duration_seconds")}
    assert {labels: sum(values[1:]) for labels, values in durations.items()} == {
        ("r", "s", "GET", ""): 2,
        ("r", "s", "POST", ""): 1,
    }
    attempts = {labels: value for (name, labels), value in seen.items() if name == "headgate_upstream_requests_total"}
    assert attempts == {("s", "2xx", "", "200"): [1], ("s", "2xx", "", "201"): [1], ("s", "dns", "", "error"): [1]}
    assert seen["headgate_errors_total", ("breaker_open", "r", "", "")] == [1]


def test_while_metrics_are_off_only_what_is_under_way_and_what_is_rare_is_counted() -> None:
    metrics, region = make()
    metrics.follow(MetricsSettings(enabled=False))
    series, upstream = metrics.requests("r", "s"), metrics.upstream("s")
    metrics.begin()
    metrics.begin()
    series.finish("GET", 200, 0.1, 1, 1)
    upstream.answered(200, 0.1)
    upstream.failed("dns")
    upstream.retried("dns")
    metrics.cells[upstream.idle] += 1
    seen = totals(region)
    assert seen["headgate_requests_in_flight", ()] == [1]
    assert seen["headgate_pool_connections", ("s", "idle")] == [1]
    assert seen["headgate_retries_total", ("s", "dns")] == [1]
    assert not {"headgate_requests_total", "headgate_upstream_requests_total"} & {name for name, _ in seen}


def test_series_of_a_configuration_before_keep_its_buckets_to_their_end() -> None:
    metrics, region = make()
    series, upstream = metrics.requests("r", "s"), metrics.upstream("s")
    for _ in range(3):
        metrics.begin()
    series.finish("GET", 200, 0.003, 0, 0)
    upstream.answered(200, 0.003)
    metrics.follow(MetricsSettings(native=True))
    # A status that was not seen before comes now; what was seen before comes again.
    for status in (404, 200):
        series.finish("GET", status, 100.0, 0, 0)
        upstream.answered(status, 100.0)
    for name, values in totals(region).items():
        if name[0] in ("headgate_request_duration_seconds", "headgate_upstream_duration_seconds") and any(values):
            assert len(values) == len(FAMILIES[name[0]].bounds) + 2
            assert (sum(values[1:]), values[-1]) == (3, 2)
            assert values[0] == 200_003_000
    assert all(value >= 0 for values in totals(region).values() for value in values)
    assert (
        metrics.histogram("headgate_request_duration_seconds", "r", "s", "", "")[1]
        != FAMILIES["headgate_request_duration_seconds"].bounds
    )
