"""The sums of all slots, written down: the Prometheus text format 0.0.4, and a flat list for JSON.

Both forms hold the same points: one for a counter or a gauge, one for each cumulative bucket, the sum and the count
of a histogram.

The record of the metrics view, one for each point of the list:
    name        str, as in the text form, with `_bucket`, `_sum`, `_count` for a histogram's parts
    value       int, or float for seconds
    timestamp   float, wall clock seconds at which the cells were read
    labels      dict of str to str; `le` of a bucket is text, "+Inf" for the one above all bounds
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate, groupby
from typing import NamedTuple, TypedDict

from headgate.telemetry.cells import Sample
from headgate.telemetry.families import FAMILIES, Family

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_ESCAPED_LABEL = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
# A help text is not quoted, so its quotes stay.
_ESCAPED_HELP = str.maketrans({"\\": r"\\", "\n": r"\n"})


class Point(TypedDict):
    """One number with its name; the fields are described at the top of this file."""

    name: str
    value: int | float
    timestamp: float
    labels: dict[str, str]


class _Number(NamedTuple):
    suffix: str
    bound: str | None
    value: int | float


def render(samples: Iterable[Sample], families: Mapping[str, Family] = FAMILIES) -> bytes:
    """Write samples as Prometheus text, families in the order of the table, series sorted by their labels.

    Raises:
        KeyError: if a sample's family is not in the table.
    """
    lines: list[str] = []
    for family, series in _grouped(samples, families):
        lines.append(f"# HELP {family.name} {family.help.translate(_ESCAPED_HELP)}\n")
        lines.append(f"# TYPE {family.name} {family.kind}\n")
        for sample in series:
            labels = ",".join(
                f'{label}="{value.translate(_ESCAPED_LABEL)}"'
                for label, value in zip(family.labels, sample.name.labels, strict=True)
            )
            for suffix, bound, value in _numbers(family, sample):
                inside = labels
                if bound is not None:
                    inside = f'{labels},le="{bound}"' if labels else f'le="{bound}"'
                braced = f"{{{inside}}}" if inside else ""
                lines.append(f"{family.name}{suffix}{braced} {value}\n")
    # A lone surrogate can come out of a configuration file; it must not cost the whole scrape.
    return "".join(lines).encode("utf-8", "replace")


def points(samples: Iterable[Sample], timestamp: float, families: Mapping[str, Family] = FAMILIES) -> list[Point]:
    """List samples for JSON, `timestamp` in wall clock seconds.

    Raises:
        KeyError: if a sample's family is not in the table.
    """
    listed: list[Point] = []
    for family, series in _grouped(samples, families):
        for sample in series:
            labels = dict(zip(family.labels, sample.name.labels, strict=True))
            for suffix, bound, value in _numbers(family, sample):
                listed.append(
                    {
                        "name": family.name + suffix,
                        "value": value,
                        "timestamp": timestamp,
                        "labels": labels if bound is None else {**labels, "le": bound},
                    }
                )
    return listed


def _grouped(samples: Iterable[Sample], families: Mapping[str, Family]) -> Iterator[tuple[Family, Iterator[Sample]]]:
    """Put the series of one family together: the text format allows a family's lines in one place only."""
    place = {name: number for number, name in enumerate(families)}
    ordered = sorted(samples, key=lambda sample: (place[sample.name.family], sample.name.labels))
    for name, series in groupby(ordered, key=lambda sample: sample.name.family):
        yield families[name], series


def _numbers(family: Family, sample: Sample) -> Iterator[_Number]:
    scale = family.unit
    if sample.name.kind != "histogram":
        yield _Number("", None, _scaled(sample.values[0], scale))
        return
    total, *buckets = sample.values
    counts = list(accumulate(buckets))
    for bound, count in zip(sample.name.bounds, counts, strict=False):
        yield _Number("_bucket", f"{bound / scale:.15g}", count)
    yield _Number("_bucket", "+Inf", counts[-1])
    yield _Number("_sum", None, _scaled(total, scale))
    yield _Number("_count", None, counts[-1])


def _scaled(value: int, scale: int) -> int | float:
    return value if scale == 1 else value / scale
