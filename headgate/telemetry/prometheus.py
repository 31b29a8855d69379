"""Metrics as they are shown, written down: the Prometheus text format 0.0.4, OpenMetrics 1.0, and a flat list for JSON.

All forms hold the same points: one for a counter or a gauge, one for each cumulative bucket, the sum and the count
of a histogram.

The record of the metrics view, one for each point of the list:
    name        str, as in the text form, with `_bucket`, `_sum`, `_count` for a histogram's parts
    value       int, or float for seconds
    timestamp   float, wall clock seconds at which the cells were read
    labels      dict of str to str; `le` of a bucket is text, "+Inf" for the one above all bounds
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple, TypedDict

from headgate.telemetry.families import Family
from headgate.telemetry.naming import Exemplar, Series, Shown

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_ESCAPED_LABEL = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
# A help text is not quoted, so its quotes stay; in OpenMetrics they are escaped too.
_ESCAPED_HELP = str.maketrans({"\\": r"\\", "\n": r"\n"})
_TOTAL = "_total"


class Point(TypedDict):
    """One number with its name; the fields are described at the top of this file."""

    name: str
    value: int | float
    timestamp: float
    labels: dict[str, str]


class Cuts(NamedTuple):
    """Where the classic buckets of a histogram lie among its cells: how many cells are up to each, and their text.

    OpenMetrics writes every bound as a float: 1.0 (specification, "Canonical Numbers").
    """

    ends: tuple[int, ...]
    texts: tuple[str, ...]
    floats: tuple[str, ...]


@lru_cache(128)
def cuts(family: Family) -> Cuts:
    """Return them for a family; the bucket above all is the last."""
    bounds = family.bounds
    ends = (*(bisect_left(bounds, bound) + 1 for bound in family.classic), len(bounds) + 1)
    exposed = [bound / family.unit for bound in family.classic]
    return Cuts(ends, (*(f"{bound:.15g}" for bound in exposed), "+Inf"), (*(str(bound) for bound in exposed), "+Inf"))


def render(shown: Iterable[Shown]) -> bytes:
    """Write Prometheus text."""
    parts: list[str] = []
    for metric in shown:
        name, labels, family, series = metric
        parts.append(f"# HELP {name} {family.help.translate(_ESCAPED_HELP)}\n# TYPE {name} {family.kind}\n")
        parts += _histograms(name, labels, family, series) if family.kind == "histogram" else _numbers(metric, name)
    # A lone surrogate can come out of a configuration file; it must not cost the whole scrape.
    return "".join(parts).encode("utf-8", "replace")


def render_openmetrics(shown: Iterable[Shown]) -> bytes:
    """Write OpenMetrics text, with the exemplars.

    A counter is called without _total there and its number with it; one whose name says nothing of it has no type.
    """
    parts: list[str] = []
    for metric in shown:
        name, labels, family, series = metric
        kind: str = family.kind
        base = name
        if kind == "counter":
            base, kind = (name.removesuffix(_TOTAL), kind) if name.endswith(_TOTAL) else (name, "unknown")
        parts.append(f"# TYPE {base} {kind}\n# HELP {base} {_escaped(family.help)}\n")
        if family.kind == "histogram":
            parts += _histograms(name, labels, family, series, openmetrics=True)
        else:
            parts += _numbers(metric, name)
    parts.append("# EOF\n")
    return "".join(parts).encode("utf-8", "replace")


def points(shown: Iterable[Shown], timestamp: float) -> list[Point]:
    """List all points for JSON, `timestamp` in wall clock seconds; a histogram's name alone is its mean."""
    listed: list[Point] = []

    def add(name: str, value: float, labels: dict[str, str]) -> None:
        listed.append({"name": name, "value": value, "timestamp": timestamp, "labels": labels})

    for name, label_names, family, series in shown:
        for each in series:
            labels = dict(zip(label_names, each.labels, strict=True))
            if family.kind != "histogram":
                add(name, _scaled(each.values[0], family.unit), labels)
                continue
            counts = counted(each, family)
            if counts[-1]:
                add(name, each.values[0] / family.unit / counts[-1], labels)
            for text, count in zip(cuts(family).texts, counts, strict=True):
                add(f"{name}_bucket", count, {**labels, "le": text})
            add(f"{name}_sum", each.values[0] / family.unit, labels)
            add(f"{name}_count", counts[-1], labels)
    return listed


def counted(series: Series, family: Family) -> list[int]:
    """Return the cumulative counts of the classic buckets, the one above all last."""
    running = list(accumulate(series.values[1:]))
    return [running[end - 1] for end in cuts(family).ends]


def newest(series: Series, family: Family) -> list[Exemplar | None]:
    """Return the newest exemplar of each classic bucket."""
    found: list[Exemplar | None] = [None] * len(cuts(family).ends)
    for exemplar in sorted(series.exemplars, key=lambda each: each.at):
        found[bisect_left(family.buckets, exemplar.value)] = exemplar
    return found


def _numbers(metric: Shown, name: str) -> Iterator[str]:
    unit = metric.family.unit
    for series in metric.series:
        yield f"{_head(name, metric.labels, series)} {_scaled(series.values[0], unit)}\n"


def _histograms(
    name: str, labels: tuple[str, ...], family: Family, all_series: list[Series], *, openmetrics: bool = False
) -> Iterator[str]:
    # Thousands of series have the same buckets: what does not change from one to the next is written once.
    _, texts, floats = cuts(family)
    tails = [f'le="{text}"}} ' for text in (floats if openmetrics else texts)]
    for series in all_series:
        inside = _inside(labels, series)
        counts = counted(series, family)
        start = f"{name}_bucket{{{inside}," if inside else f"{name}_bucket{{"
        braced = f"{{{inside}}}" if inside else ""
        ends = f"{name}_sum{braced} {series.values[0] / family.unit}\n{name}_count{braced} {counts[-1]}\n"
        if openmetrics and series.exemplars:
            found = zip(tails, counts, newest(series, family), strict=True)
            yield "".join([f"{start}{tail}{count}{_shown(exemplar)}\n" for tail, count, exemplar in found]) + ends
        else:
            yield "".join([f"{start}{tail}{count}\n" for tail, count in zip(tails, counts, strict=True)]) + ends


def _shown(exemplar: Exemplar | None) -> str:
    if exemplar is None:
        return ""
    ids = f'trace_id="{exemplar.trace_id}",span_id="{exemplar.span_id}"'
    return f" # {{{ids}}} {exemplar.value:.9g} {exemplar.at:.3f}"


def _head(name: str, labels: tuple[str, ...], series: Series) -> str:
    inside = _inside(labels, series)
    return f"{name}{{{inside}}}" if inside else name


def _inside(labels: tuple[str, ...], series: Series) -> str:
    return ",".join([f'{label}="{_escape(value)}"' for label, value in zip(labels, series.labels, strict=True)])


def _escape(text: str) -> str:
    return text.translate(_ESCAPED_LABEL) if "\\" in text or '"' in text or "\n" in text else text


def _escaped(text: str) -> str:
    return text.translate(_ESCAPED_LABEL)


def _scaled(value: int, scale: int) -> int | float:
    return value if scale == 1 else value / scale
