"""Exposition: read back by a parser that accepts the text format 0.0.4 and nothing looser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable

from hypothesis import given
from hypothesis import strategies as st

from headgate.telemetry.cells import Sample, SeriesName, SlotRegion, SlotWriter, read
from headgate.telemetry.families import FAMILIES, Family
from headgate.telemetry.metrics import Metrics
from headgate.telemetry.naming import Exemplar, Naming, Series, Shown
from headgate.telemetry.prometheus import CONTENT_TYPE, counted, newest, points, render, render_openmetrics
from headgate.telemetry.settings import Metrics as MetricsSettings

Parsed = dict[tuple[str, tuple[tuple[str, str], ...]], float]

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"'
_SAMPLE = re.compile(rf"({_NAME})(?:\{{({_LABEL}(?:,{_LABEL})*)\}})? (-?[0-9.e+-]+)")
_HELP = re.compile(rf"# HELP ({_NAME}) ((?:[^\\\n]|\\[\\n])*)")
_TYPE = re.compile(rf"# TYPE ({_NAME}) (counter|gauge|histogram)")
_SUFFIXES = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], text)


def parse(text: bytes) -> Parsed:
    """Read the text strictly: HELP, TYPE, then the family's samples and no other's; nothing twice, one last feed."""
    lines = text.decode().split("\n")
    assert lines.pop() == ""
    seen: Parsed = {}
    families: set[str] = set()
    rest = iter(lines)
    line = next(rest, None)
    while line is not None:
        helped = _HELP.fullmatch(line)
        assert helped, line
        typed = _TYPE.fullmatch(next(rest))
        assert typed and typed[1] == helped[1] and typed[1] not in families
        families.add(typed[1])
        allowed = {typed[1] + suffix for suffix in _SUFFIXES[typed[2]]}
        while (line := next(rest, None)) is not None and not line.startswith("#"):
            sample = _SAMPLE.fullmatch(line)
            assert sample, line
            assert sample[1] in allowed, line
            labels = tuple((name, unescaped(value)) for name, value in re.findall(_LABEL, sample[2] or ""))
            assert (sample[1], labels) not in seen, line
            seen[sample[1], labels] = float(sample[7])
    return seen


COUNT = Family("hits_total", "counter", "Hits.", ("route", "status"))
LEVEL = Family("level", "gauge", "A level.")
TIME = Family(
    "time_seconds", "histogram", 'Back\\slash, "quote"\nand feed.', ("route",), 1_000_000, (0.0025, 1.0, 60.0)
)
TABLE = {family.name: family for family in (COUNT, LEVEL, TIME)}


def counter(value: int, *labels: str) -> Sample:
    return Sample(SeriesName("hits_total", "counter", labels), [value])


def gauge(value: int) -> Sample:
    return Sample(SeriesName("level", "gauge", ()), [value])


def histogram(values: list[int], *labels: str) -> Sample:
    return Sample(SeriesName("time_seconds", "histogram", labels, TIME.bounds), values)


def shown(samples: Iterable[Sample], table: dict[str, Family] = TABLE) -> list[Shown]:
    """Show samples as they are, in the order that Naming gives them."""
    made: list[Shown] = []
    for name, family in table.items():
        own = sorted((each for each in samples if each.name.family == name), key=lambda each: each.name.labels)
        if own:
            made.append(Shown(name, family.labels, family, [Series(each.name.labels, each.values) for each in own]))
    return made


def test_the_text_to_the_letter() -> None:
    samples = [
        histogram([2_503_000, 3, 0, 1, 2], "b"),
        counter(4, "b", "200"),
        gauge(-2),
        counter(9, 'a"\\\n', "200"),
    ]
    assert render(shown(samples)).decode() == (
        "# HELP hits_total Hits.\n"
        "# TYPE hits_total counter\n"
        'hits_total{route="a\\"\\\\\\n",status="200"} 9\n'
        'hits_total{route="b",status="200"} 4\n'
        "# HELP level A level.\n"
        "# TYPE level gauge\n"
        "level -2\n"
        '# HELP time_seconds Back\\\\slash, "quote"\\nand feed.\n'
        "# TYPE time_seconds histogram\n"
        'time_seconds_bucket{route="b",le="0.0025"} 3\n'
        'time_seconds_bucket{route="b",le="1"} 3\n'
        'time_seconds_bucket{route="b",le="60"} 4\n'
        'time_seconds_bucket{route="b",le="+Inf"} 6\n'
        'time_seconds_sum{route="b"} 2.503\n'
        'time_seconds_count{route="b"} 6\n'
    )


def test_a_histogram_without_labels_has_le_alone() -> None:
    bare = TIME._replace(labels=())
    text = render(shown([histogram([0, 0, 0, 0, 0])], {bare.name: bare})).decode()
    assert 'time_seconds_bucket{le="+Inf"} 0\n' in text
    assert "time_seconds_sum 0.0\n" in text


def test_the_json_form_to_the_letter() -> None:
    samples = [counter(4, "b", "200"), histogram([2_503_000, 3, 0, 1, 2], "b")]
    listed = points(shown(samples), 1764239400.5)
    assert [(point["name"], point["value"], point["labels"]) for point in listed] == [
        ("hits_total", 4, {"route": "b", "status": "200"}),
        ("time_seconds", 2.503 / 6, {"route": "b"}),
        ("time_seconds_bucket", 3, {"route": "b", "le": "0.0025"}),
        ("time_seconds_bucket", 3, {"route": "b", "le": "1"}),
        ("time_seconds_bucket", 4, {"route": "b", "le": "60"}),
        ("time_seconds_bucket", 6, {"route": "b", "le": "+Inf"}),
        ("time_seconds_sum", 2.503, {"route": "b"}),
        ("time_seconds_count", 6, {"route": "b"}),
    ]
    assert {point["timestamp"] for point in listed} == {1764239400.5}
    assert json.loads(json.dumps(listed)) == listed


def test_nothing_counted_gives_an_empty_text() -> None:
    assert render([]) == b""
    assert points([], 0.0) == []


def test_a_lone_surrogate_does_not_cost_the_scrape() -> None:
    assert b'route="?"' in render(shown([counter(1, "\ud800", "200")]))


def test_the_content_type_names_the_format() -> None:
    assert CONTENT_TYPE == "text/plain; version=0.0.4; charset=utf-8"


LABELS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    counters=st.dictionaries(st.tuples(LABELS, LABELS), st.integers(0, 2**53), max_size=8),
    histograms=st.dictionaries(LABELS, st.lists(st.integers(0, 2**50), min_size=5, max_size=5), max_size=4),
)
def test_what_was_counted_is_read_back(counters: dict[tuple[str, str], int], histograms: dict[str, list[int]]) -> None:
    samples = [counter(value, *labels) for labels, value in counters.items()]
    samples += [histogram(values, label) for label, values in histograms.items()]
    expected: Parsed = {
        ("hits_total", (("route", route), ("status", status))): value for (route, status), value in counters.items()
    }
    for label, (total, *buckets) in histograms.items():
        route = ("route", label)
        for number, bound in enumerate(("0.0025", "1", "60", "+Inf"), start=1):
            expected["time_seconds_bucket", (route, ("le", bound))] = sum(buckets[:number])
        expected["time_seconds_sum", (route,)] = total / 1_000_000
        expected["time_seconds_count", (route,)] = sum(buckets)
    assert parse(render(shown(samples))) == expected
    means = {
        ("time_seconds", (("route", label),)): total / 1_000_000 / sum(buckets)
        for label, (total, *buckets) in histograms.items()
        if sum(buckets)
    }
    assert {
        (point["name"], tuple(point["labels"].items())): point["value"] for point in points(shown(samples), 0.0)
    } == expected | means


def test_the_whole_default_table_parses_after_real_counting() -> None:
    regions = [SlotRegion.create(1 << 18, 1 << 14) for _ in range(2)]
    for slot, region in enumerate(regions):
        metrics = Metrics(SlotWriter(region), worker=str(slot))
        metrics.begin()
        metrics.requests("chat", "chat").finish("GET", 200, 0.003, 1, 2)
        upstream = metrics.upstream("chat")
        upstream.answered(200, 0.002)
        upstream.retried("connect_refused")
        metrics.error("internal")
        metrics.cells[metrics.gauge("headgate_connections_open", "0.0.0.0:8080")] += 1
        register: dict[str, Callable[..., object]] = {
            "counter": metrics.counter,
            "gauge": metrics.gauge,
            "histogram": metrics.histogram,
        }
        for family in FAMILIES.values():
            if family.name not in ("headgate_connections_open", "headgate_config_version"):
                register[family.kind](family.name, *("other" for _ in family.labels))
    seen = parse(render(Naming(MetricsSettings(), {}).show(read(regions))))
    request = (("route", "chat"), ("service", "chat"))
    assert seen["headgate_requests_total", (*request, ("method", "GET"), ("status", "200"))] == 2
    assert seen["headgate_request_duration_seconds_count", request] == 2
    assert seen["headgate_request_duration_seconds_sum", request] == 0.006
    assert seen["headgate_connections_open", (("listener", "0.0.0.0:8080"),)] == 2
    exposed = {re.sub("_(bucket|sum|count)$", "", name) for name, _ in seen}
    assert exposed == set(FAMILIES)


def test_openmetrics_to_the_letter() -> None:
    made = shown([counter(4, "b", "200"), gauge(-2), histogram([2_503_000, 3, 0, 1, 2], "b")])
    made[2].series[0].exemplars.append(Exemplar(("b",), 0.002, 1700000000.5, "a" * 32, "b" * 16))
    made.append(Shown("hits", ("route",), COUNT._replace(name="hits"), [Series(("c",), [1])]))
    assert render_openmetrics(made).decode() == (
        "# TYPE hits counter\n"
        "# HELP hits Hits.\n"
        'hits_total{route="b",status="200"} 4\n'
        "# TYPE level gauge\n"
        "# HELP level A level.\n"
        "level -2\n"
        "# TYPE time_seconds histogram\n"
        '# HELP time_seconds Back\\\\slash, \\"quote\\"\\nand feed.\n'
        f'time_seconds_bucket{{route="b",le="0.0025"}} 3 # {{trace_id="{"a" * 32}",span_id="{"b" * 16}"}} 0.002'
        " 1700000000.500\n"
        'time_seconds_bucket{route="b",le="1.0"} 3\n'
        'time_seconds_bucket{route="b",le="60.0"} 4\n'
        'time_seconds_bucket{route="b",le="+Inf"} 6\n'
        'time_seconds_sum{route="b"} 2.503\n'
        'time_seconds_count{route="b"} 6\n'
        # A counter that is not called _total has no type that OpenMetrics knows.
        "# TYPE hits unknown\n"
        "# HELP hits Hits.\n"
        'hits{route="c"} 1\n'
        "# EOF\n"
    )


def test_the_newest_exemplar_of_a_bucket_is_shown() -> None:
    (made,) = shown([histogram([0, 0, 0, 2, 0], "b")])
    made.series[0].exemplars += [Exemplar(("b",), 30.0, at, str(at), "s") for at in (2.0, 3.0, 1.0)]
    assert [each and each.trace_id for each in newest(made.series[0], TIME)] == [None, None, "3.0", None]


def test_bounds_between_the_buckets_are_not_shown() -> None:
    family = TIME._replace(between=(1_000, 500_000, 64_000_000))
    values = [9, 1, 2, 4, 8, 16, 32, 64]
    assert counted(Series(("b",), values), family) == [3, 15, 31, 127]
    text = render([Shown("time_seconds", ("route",), family, [Series(("b",), values)])]).decode()
    assert [line.split()[-1] for line in text.splitlines() if "_bucket" in line] == ["3", "15", "31", "127"]
