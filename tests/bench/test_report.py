"""From samples to verdicts and tables."""

from __future__ import annotations

import json

import pytest

from bench import report
from bench.chart import axis_limit
from bench.measure import Measure, Round, Sample, Up
from bench.rows import ROWS, Bound, Row, Subject
from bench.runner import RowResult


def never(_up: Up, _now: Round) -> Sample:
    raise AssertionError("the report measures nothing")


def row(*bounds: Bound, measure: Measure = never) -> Row:
    subjects = (Subject("headgate", "headgate"), Subject("nginx", "nginx"))
    return Row("bare", "Bare proxying", "CPU us/request", subjects, measure, bounds, ratios=("nginx",))


def samples(*values: float) -> list[Sample]:
    return [Sample(value, {"requests/s": value * 100}) for value in values]


def result(*bounds: Bound, **figures: list[Sample]) -> RowResult:
    return RowResult(row(*bounds), samples=figures)


def test_a_ratio_is_the_median_of_the_ratios_within_a_round() -> None:
    # The second minute was slow for both: the ratio of the medians would be 30 / 11.
    figures = {"headgate": samples(20, 60, 30), "nginx": samples(10, 40, 11)}
    assert report.ratio(figures, "headgate", "nginx") == pytest.approx(2.0)


def test_no_ratio_without_both_sides() -> None:
    assert report.ratio({"headgate": samples(1)}, "headgate", "nginx") is None


@pytest.mark.parametrize(
    ("bound", "held"),
    [
        (Bound("headgate", 2.0, "nginx"), True),
        (Bound("headgate", 1.99, "nginx"), False),
        (Bound("headgate", 20.0), True),
        (Bound("headgate", 19.9), False),
        (Bound("headgate", 2.0, "nginx", at_least=True), True),
        (Bound("headgate", 2.1, "nginx", at_least=True), False),
        (Bound("headgate", 2.0, "envoy"), None),
    ],
)
def test_a_bound_is_held_missed_or_not_judged(bound: Bound, held: bool | None) -> None:
    found = result(bound, headgate=samples(20), nginx=samples(10))
    assert [verdict.held for verdict in report.judge(found)] == [held]
    word = {True: "held", False: "MISSED", None: "not judged"}[held]
    assert word in report.console([found])


def test_what_one_thing_more_costs_is_the_median_of_the_differences_within_a_round() -> None:
    bound = Bound("headgate", 4.0, "nginx", difference=True)
    found = result(bound, headgate=samples(20, 60, 30), nginx=samples(17, 40, 27.5))
    assert [str(verdict) for verdict in report.judge(found)] == ["headgate - nginx <= 4: 3.00 held"]
    assert str(report.judge(result(bound, headgate=samples(20)))[0]) == "headgate - nginx <= 4: not judged"


def test_exit_codes() -> None:
    missed = result(Bound("headgate", 1.0), headgate=samples(2))
    held = result(Bound("headgate", 3.0), headgate=samples(2))
    unjudged = result(Bound("headgate", 3.0, "envoy"), headgate=samples(2))
    failed = result(nginx=samples(2))
    failed.failed.add("headgate")
    assert report.exit_code([held, unjudged]) == 0
    assert report.exit_code([held, missed]) == 1
    assert report.exit_code([held, failed]) == 2
    assert report.exit_code([]) == 2


def test_markdown_has_machine_table_ratios_and_verdicts() -> None:
    found = result(Bound("headgate", 1.6, "nginx"), headgate=samples(25.0, 26.0, 27.0), nginx=samples(10, 10, 10))
    found.failed.add("envoy")
    text = report.markdown([found], {"kernel": "Linux 6", "nginx": "1.22.1"}, "make bench")
    assert "Machine: kernel Linux 6; nginx 1.22.1." in text
    assert "|  | CPU us/request | / nginx | requests/s |\n|---|---:|---:|---:|" in text
    assert "| Headgate | 26.0 | 2.60 | 2,600 |" in text
    assert "- headgate / nginx <= 1.6: 2.60 MISSED" in text
    assert "Not measured: Envoy." in text


def test_plain_data_is_json_and_keeps_every_round() -> None:
    data = report.plain([result(headgate=samples(1, 2, 4))], {"kernel": "Linux"})
    rows = json.loads(json.dumps(data))["rows"]
    assert [one["value"] for one in rows["bare"]["rounds"]["headgate"]] == [1, 2, 4]
    assert rows["bare"]["median"] == {"headgate": 2}


@pytest.mark.parametrize(
    ("value", "text"), [(0.394, "0.39"), (9.96, "9.96"), (36.22, "36.2"), (999.9, "999.9"), (3694.6, "3,695")]
)
def test_numbers_have_the_digits_they_deserve(value: float, text: str) -> None:
    assert report.number(value) == text


def test_labels_are_shown_by_the_title_of_their_peer() -> None:
    assert report.title_of("haproxy") == "HAProxy"
    assert report.title_of("headgate-10000") == "Headgate (10000)"


def test_the_axis_leaves_out_a_bar_that_would_dwarf_the_others() -> None:
    assert axis_limit([10, 11, 25, 36, 3700]) < 50
    assert axis_limit([10, 11, 25, 36, 70]) > 70


def test_every_bound_and_ratio_of_the_table_names_a_subject_of_its_row() -> None:
    for entry in ROWS.values():
        labels = {subject.label for subject in entry.subjects}
        named = {bound.label for bound in entry.bounds} | {bound.relative_to for bound in entry.bounds} - {None}
        assert named | set(entry.ratios) <= labels, entry.name
