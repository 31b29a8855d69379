"""What cannot be right in the forms of metrics: names that a scraper refuses, sources that nobody knows, collisions.

Law: what passes here is a scrape that Prometheus takes, in each of its formats.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from headgate.config.check_values import Finding
from headgate.config.problems import Path, did_you_mean, printable
from headgate.config.schema import Config
from headgate.telemetry.families import FAMILIES, Family
from headgate.telemetry.naming import ELSE, STATE, labels_of, source_of, sources
from headgate.telemetry.settings import MetricForm, Metrics

_PATH: Path = ("telemetry", "metrics")
_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_MOST_BUCKETS = 100
# What a name may be followed by in a scrape, by kind.
_SUFFIXES = {"counter": ("",), "gauge": ("",), "histogram": ("", "_bucket", "_sum", "_count")}


def check_metrics(config: Config) -> Iterator[Finding]:
    """Find what is wrong with buckets, and with the forms in which metrics are shown."""
    metrics = config.telemetry.metrics
    yield from _buckets(metrics.buckets)
    for name, forms in metrics.names.items():
        path: Path = (*_PATH, "names", name)
        if name not in FAMILIES:
            yield Finding(path, "there is no such metric", did_you_mean(name, FAMILIES) or "see docs/metrics.md")
            continue
        for place, form in enumerate(forms):
            yield from _form(FAMILIES[name], form, (*path, place))
    yield from _collisions(metrics)


def _buckets(buckets: list[float]) -> Iterator[Finding]:
    path: Path = (*_PATH, "buckets")
    if len(buckets) > _MOST_BUCKETS:
        yield Finding(path, f"{len(buckets)} buckets, of which each route has its own", f"at most {_MOST_BUCKETS}")
    for place, bound in enumerate(buckets):
        if not 0.000_001 <= bound <= 86_400:
            yield Finding((*path, place), "expected a bound between a microsecond and a day", "+Inf is always there")
        elif place and bound <= buckets[place - 1]:
            yield Finding((*path, place), "bounds ascend, and each stands there once", "such as [0.01, 0.1, 1]")


def _form(family: Family, form: MetricForm, path: Path) -> Iterator[Finding]:
    if form.name is not None and not _METRIC.fullmatch(form.name):
        message = f'"{printable(form.name)}" is not the name of a metric'
        yield Finding((*path, "name"), message, "letters, digits, _ and :, no digit in front")
    known = sources(family)
    shown = labels_of(family, form)
    for label, text in shown.items():
        yield from _label(family, label, (*path, "labels", label))
        if not text.startswith("=") and text not in known:
            message = f'{family.name} knows no "{printable(text)}"'
            hint = did_you_mean(text, known) or "text of your own stands after an equals sign"
            yield Finding((*path, "labels", label), message, hint)
    for label in form.values:
        if label not in shown:
            yield Finding((*path, "values", label), "no such label is shown", did_you_mean(label, shown))
        elif shown[label] == STATE or shown[label].startswith("="):
            yield Finding((*path, "values", label), "a state or a text of your own has no other values")
    for key, told in (("only", form.only), ("without", form.without)):
        for text, values in told.items():
            if source_of(family, text) is None:
                yield Finding((*path, key, text), f"{family.name} knows no such label", did_you_mean(text, known))
            elif not values or ELSE in values:
                yield Finding((*path, key, text), "expected the values that are meant", "such as [GET, POST]")
    if family.states and not set(family.shown) <= set(shown.values()):
        left = ", ".join(family.shown)
        message = f"states of several cannot be added up, and without the label {left} they would be"
        yield Finding((*path, "labels"), message, f"show {left}, under whatever name")
    if list(shown.values()).count(STATE) > 1:
        yield Finding((*path, "labels"), "the state stands here twice", "write it once")


def _label(family: Family, label: str, path: Path) -> Iterator[Finding]:
    if not _LABEL.fullmatch(label):
        message = f'"{printable(label)}" is not the name of a label'
        yield Finding(path, message, "letters, digits and _, no digit in front")
    elif label.startswith("__"):
        yield Finding(path, "labels that begin with two underscores are Prometheus' own", "write another name")
    elif family.kind == "histogram" and label == "le":
        yield Finding(path, "le names the bucket of a histogram", "write another name")


def _collisions(metrics: Metrics) -> Iterator[Finding]:
    """Find two metrics that would be shown under one name, be it that of a histogram's part."""
    taken = {
        occupied: name
        for name, family in FAMILIES.items()
        if name not in metrics.names
        for occupied in _occupied(family, name)
    }
    for name, forms in metrics.names.items():
        if name not in FAMILIES:
            continue
        for place, form in enumerate(forms):
            shown = form.name or name
            occupied = _occupied(FAMILIES[name], shown)
            clash = next((each for each in occupied if each in taken), None)
            if clash is not None:
                path: Path = (*_PATH, "names", name, place, *(("name",) if form.name else ()))
                message = f"what {taken[clash]} is shown as takes {clash} already"
                yield Finding(path, message, "give each form a name of its own")
            taken.update(dict.fromkeys(occupied, name))


def _occupied(family: Family, shown: str) -> list[str]:
    """List what a scrape calls a metric, its parts, and its family in OpenMetrics."""
    names = [shown + suffix for suffix in _SUFFIXES[family.kind]]
    return [*names, shown.removesuffix("_total")] if family.kind == "counter" else names
