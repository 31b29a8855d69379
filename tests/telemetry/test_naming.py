"""Forms of metrics: names, labels, values and filters by configuration; nothing lost, nothing invented."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.failure import REASONS
from headgate.telemetry.cells import Sample, SeriesName, SlotRegion, SlotWriter, read
from headgate.telemetry.families import DURATIONS, FAMILIES
from headgate.telemetry.metrics import Metrics
from headgate.telemetry.naming import (
    SCHEMA,
    ZERO,
    Exemplar,
    Naming,
    Shown,
    asked,
    native_bounds,
    native_index,
    sources,
    table_of,
)
from headgate.telemetry.prometheus import points, render, render_openmetrics
from headgate.telemetry.protobuf import render_protobuf
from headgate.telemetry.settings import MetricForm
from headgate.telemetry.settings import Metrics as MetricsSettings

FACTS = {
    "route": {"chat": {"pattern": "/v1/chat/{path}", "host": "a.example"}, "all": {"pattern": "*", "host": ""}},
    "limit": {"few": {"key": "address", "algorithm": "sliding_window", "window": "60s"}},
}
Counted = dict[tuple[str, ...], Any]


def settings(**names: Any) -> MetricsSettings:
    forms = {
        f"headgate_{name}": [MetricForm(**form) for form in (given if isinstance(given, list) else [given])]
        for name, given in names.items()
    }
    return MetricsSettings(names=forms)


def busy(chosen: MetricsSettings) -> SlotRegion:
    """Count a little of everything, as this configuration wants it counted."""
    region = SlotRegion.create(1 << 18, 1 << 15)
    metrics = Metrics(SlotWriter(region), "1")
    metrics.follow(chosen)
    chat, none = metrics.requests("chat", "llm"), metrics.requests("", "")
    for method, status, reason in (("GET", 200, ""), ("POST", 200, ""), ("POST", 503, "breaker_open")):
        metrics.begin()
        chat.finish(method, status, 0.003, 10, 20, reason)
    metrics.begin()
    none.finish("GET", 404, 0.001, 0, 9, "route_not_found")
    metrics.error("breaker_open", "chat", "llm", "POST")
    metrics.limit_refused("few", "user", "chat", "llm", "GET")
    metrics.limit_refused("few", "anonymous", "chat", "llm", "GET")
    upstream = metrics.upstream("llm")
    upstream.answered(200, 0.002, "GET")
    upstream.answered(201, 0.002, "POST")
    upstream.failed("connect_refused", "GET")
    return region


def show(chosen: MetricsSettings, *more: Sample) -> dict[str, Shown]:
    shown = Naming(chosen, FACTS).show([*read([busy(chosen)]), *more])
    assert len({each.name for each in shown}) == len(shown)
    return {each.name: each for each in shown}


def counts(metric: Shown) -> Counted:
    return {
        each.labels: each.values[0] if metric.family.kind != "histogram" else sum(each.values[1:])
        for each in metric.series
    }


def test_without_forms_metrics_have_their_own_names_and_no_fine_labels() -> None:
    shown = show(MetricsSettings())
    assert set(shown) <= set(FAMILIES)
    assert all(metric.labels == FAMILIES[name].shown for name, metric in shown.items())
    assert counts(shown["headgate_requests_total"]) == {
        ("", "", "GET", "404"): 1,
        ("chat", "llm", "GET", "200"): 1,
        ("chat", "llm", "POST", "200"): 1,
        ("chat", "llm", "POST", "503"): 1,
    }
    assert counts(shown["headgate_request_duration_seconds"]) == {("", ""): 1, ("chat", "llm"): 3}


def test_a_form_may_say_of_itself_what_it_is() -> None:
    shown = show(settings(requests_total=[{}, {"name": "failed", "help": "Failures.", "only": {"class": ["5xx"]}}]))
    own = FAMILIES["headgate_requests_total"].help
    assert (shown["headgate_requests_total"].family.help, shown["failed"].family.help) == (own, "Failures.")
    assert "# HELP failed Failures.\n" in render(shown.values()).decode()


def test_what_is_not_asked_for_is_not_told_apart() -> None:
    assert asked(MetricsSettings()) == frozenset()
    fine = {
        each.name.labels[4] for each in read([busy(MetricsSettings())]) if each.name.family == "headgate_requests_total"
    }
    assert fine & set(REASONS) == set()
    chosen = settings(
        requests_total={"labels": {"why": "side"}, "only": {"reason": ["breaker_open"]}},
        request_duration_seconds={"labels": {"method": "method", "fixed": "=x"}},
    )
    assert asked(chosen) == {
        ("headgate_requests_total", "reason"),
        ("headgate_request_duration_seconds", "method"),
    }


def test_a_name_alone_keeps_the_labels() -> None:
    shown = show(settings(requests_total={"name": "asked_total"}))
    assert "headgate_requests_total" not in shown
    assert shown["asked_total"].labels == ("route", "service", "method", "status")


def test_several_forms_of_one_metric_and_none() -> None:
    chosen = settings(
        requests_total=[{}, {"name": "a_total", "labels": {"class": "class"}}, {"name": "b_total", "labels": {}}],
        errors_total=[],
    )
    shown = show(chosen)
    assert counts(shown["a_total"]) == {("2xx",): 2, ("4xx",): 1, ("5xx",): 1}
    assert counts(shown["b_total"]) == {(): 4}
    assert len(shown["headgate_requests_total"].series) == 4
    assert "headgate_errors_total" not in shown


def test_facts_values_texts_and_filters() -> None:
    form = {
        "name": "calls_total",
        "labels": {"endpoint": "pattern", "status": "class", "gateway": "=eu-1", "host": "host"},
        "values": {"endpoint": {"": "unmatched"}, "status": {"2xx": "ok", "*": "error"}},
        "only": {"method": ["GET", "DELETE"]},
    }
    assert counts(show(settings(requests_total=form))["calls_total"]) == {
        ("unmatched", "error", "eu-1", ""): 1,
        ("/v1/chat/{path}", "ok", "eu-1", "a.example"): 1,
    }


def test_what_the_configuration_names_is_told_of_before_anything_is_counted() -> None:
    chosen = settings(
        limit_refused_total=[{"name": "refused_total"}, {"name": "over", "labels": {"who": "caller"}}], errors_total=[]
    )
    shown = Naming(chosen, {}).show([])
    assert [(each.name, each.labels, each.series) for each in shown] == [
        ("refused_total", ("limit",), []),
        ("over", ("who",), []),
    ]
    assert render(shown).decode().splitlines()[1] == "# TYPE refused_total counter"
    assert render_openmetrics(shown).count(b"# TYPE") == 2
    assert render_protobuf(shown) == b""
    assert points(shown, 0.0) == []


def test_what_a_form_goes_without_is_left_out_and_all_else_is_there() -> None:
    without = {"method": ["GET"], "pattern": [""]}
    shown = show(settings(requests_total=[{}, {"name": "calls_total", "labels": {"by": "method"}, "without": without}]))
    whole = counts(shown["headgate_requests_total"])
    wanted: dict[tuple[str, ...], int] = {}
    for (route, _, method, _), count in whole.items():
        if method != "GET" and route:
            wanted[method,] = wanted.get((method,), 0) + count
    assert wanted
    assert counts(shown["calls_total"]) == wanted


def test_what_was_counted_for_an_unknown_route_is_not_shown_under_a_fact_of_routes() -> None:
    gone = Sample(SeriesName("headgate_requests_total", "counter", ("gone", "llm", "GET", "200", "")), [5])
    full = Sample(SeriesName("headgate_requests_total", "counter", ("other",) * 5), [6])
    chosen = settings(requests_total=[{}, {"name": "by_path_total", "labels": {"path": "pattern"}}])
    shown = show(chosen, gone, full)
    assert counts(shown["by_path_total"]) == {("",): 1, ("/v1/chat/{path}",): 3, ("other",): 6}
    assert counts(shown["headgate_requests_total"])["gone", "llm", "GET", "200"] == 5


def test_a_state_becomes_one_series_for_each() -> None:
    open_, closed = (
        Sample(SeriesName("headgate_breaker_state", "gauge", (service,)), [state])
        for service, state in (("llm", 1), ("ocr", 0))
    )
    form = {"name": "circuit_breaker_state", "labels": {"service": "service", "state": "state"}}
    assert counts(show(settings(breaker_state=form), open_, closed)["circuit_breaker_state"]) == {
        ("llm", "closed"): 0,
        ("llm", "open"): 1,
        ("llm", "half_open"): 0,
        ("ocr", "closed"): 1,
        ("ocr", "open"): 0,
        ("ocr", "half_open"): 0,
    }


def test_series_counted_with_other_bounds_go_on_in_those_of_now() -> None:
    name = "headgate_request_duration_seconds"
    before = MetricsSettings(buckets=[0.01, 0.1, 1.0])
    now = MetricsSettings(buckets=[0.05, 0.1, 0.5])
    region = SlotRegion.create(1 << 18, 1 << 15)
    metrics = Metrics(SlotWriter(region), "1")
    for chosen in (before, now):
        metrics.follow(chosen)
        series = metrics.requests("r", "s")
        for seconds in (0.005, 0.07, 0.3, 3.0):
            series.finish("GET", 200, seconds, 0, 0)
    (shown,) = [each for each in Naming(now, {}).show(read([region])) if each.name == name]
    (only,) = shown.series
    # Up to 0.05, 0.1, 0.5, above: the old 0.3 lay below 1.0, so of it is known only that it is not above.
    assert only.values == [2 * (5_000 + 70_000 + 300_000 + 3_000_000), 2, 2, 1, 3]


@given(
    old=st.lists(st.integers(1, 10**8), min_size=1, max_size=12, unique=True).map(sorted),
    new=st.lists(st.integers(1, 10**8), min_size=1, max_size=12, unique=True).map(sorted),
    seen=st.lists(st.integers(0, 2 * 10**8), max_size=30),
)
def test_no_observation_is_lost_or_shown_too_early_by_other_bounds(
    old: list[int], new: list[int], seen: list[int]
) -> None:
    name = "headgate_auth_wait_seconds"
    values = [sum(seen), *[0] * (len(old) + 1)]
    for each in seen:
        values[1 + bisect_left(old, each)] += 1
    sample = Sample(SeriesName(name, "histogram", ("jwt",), tuple(old)), values)
    chosen = MetricsSettings(buckets=[each / 1_000_000 for each in new])
    (shown,) = Naming(chosen, {}).show([sample])
    counted = shown.series[0].values
    assert (counted[0], sum(counted[1:])) == (sum(seen), len(seen))
    for place, bound in enumerate(new):
        true = sum(each <= bound for each in seen)
        assert sum(counted[1 : place + 2]) <= true
        if bound in old:
            assert sum(counted[1 : place + 2]) == true


def test_buckets_are_those_of_the_configuration() -> None:
    table = table_of(MetricsSettings(buckets=[0.5, 2.0], native=False))
    for name, family in table.items():
        assert family.buckets == ((0.5, 2.0) if name in DURATIONS else FAMILIES[name].buckets)


def test_native_bounds_stand_between_the_classic_ones() -> None:
    table = table_of(MetricsSettings(native=True))
    family = table["headgate_request_duration_seconds"]
    assert set(family.classic) <= set(family.bounds)
    assert set(native_bounds(60.0)) <= set(family.bounds)
    assert native_bounds(60.0)[0] == int(ZERO * 1_000_000)
    assert native_bounds(60.0)[-1] == 64_000_000
    assert native_bounds(3600.0)[-1] >= 3_600_000_000
    assert table["headgate_loop_lag_seconds"].between == ()


@given(st.integers(489, 10**9))
def test_the_native_bucket_of_a_duration_holds_it(micros: int) -> None:
    index = native_index(micros)
    seconds = micros / 1_000_000
    growth = 2.0 ** (2.0**-SCHEMA)
    assert growth ** (index - 1) * (1 - 1e-12) < seconds <= growth**index * (1 + 1e-12)


def test_exemplars_come_along_to_where_their_series_went() -> None:
    chosen = settings(request_duration_seconds={"name": "took_seconds", "labels": {"path": "pattern"}})
    seen = [
        Exemplar(("chat", "llm", "GET", "200"), 0.003, 5.0, "a" * 32, "b" * 16),
        Exemplar(("elsewhere", "", "GET", "200"), 0.003, 5.0, "c" * 32, "d" * 16),
    ]

    def exemplars(family: str) -> list[Exemplar]:
        return seen if family == "headgate_request_duration_seconds" else []

    shown = {each.name: each for each in Naming(chosen, FACTS).show(read([busy(chosen)]), exemplars)}
    found = {each.labels: each.exemplars for each in shown["took_seconds"].series}
    assert found == {("",): [], ("/v1/chat/{path}",): seen[:1]}


def test_a_family_that_is_not_in_the_table_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        Naming(MetricsSettings(), {}).show([Sample(SeriesName("invented", "counter", ()), [1])])


def test_sources_are_labels_facts_and_states() -> None:
    assert sources(FAMILIES["headgate_breaker_state"]) == ["service", "state"]
    assert {"pattern", "host", "class", "side", "reason"} <= set(sources(FAMILIES["headgate_requests_total"]))
