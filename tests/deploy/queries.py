"""What a query for Prometheus names: its metrics, and the labels that it asks of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from headgate.telemetry.families import FAMILIES, Family

DEPLOY = Path(__file__).parents[2] / "deploy"
# Of the scrape itself, and of Prometheus.
_GIVEN = {"instance", "job", "le", "alertstate", "alertname"}
_SELECTOR = re.compile(r"\b(headgate_\w+)(?:\{([^}]*)\})?")
_GROUPED = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
_PARTS = {"_bucket", "_sum", "_count"}


class Asked(NamedTuple):
    metric: str
    labels: set[str]


def family_of(metric: str) -> Family | None:
    """Return the family of a series' name, which may be a histogram's part."""
    if metric in FAMILIES:
        return FAMILIES[metric] if FAMILIES[metric].kind != "histogram" else None
    base, _, part = metric.rpartition("_")
    family = FAMILIES.get(base)
    return family if family is not None and family.kind == "histogram" and f"_{part}" in _PARTS else None


def objections(query: str) -> list[str]:
    """Say what the query names and no scrape has."""
    found = [
        Asked(name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", inside)))
        for name, inside in _SELECTOR.findall(query)
    ]
    if not found:
        return [f"{query!r} names no metric of the gateway"]
    said = []
    known = set(_GIVEN)
    for metric, labels in found:
        family = family_of(metric)
        if family is None:
            said.append(f"there is no {metric}")
            continue
        known |= set(family.shown)
        said += [f"{metric} has no label {label}" for label in labels - set(family.shown) - _GIVEN]
    grouped = {label.strip() for group in _GROUPED.findall(query) for label in group.split(",") if label.strip()}
    return said + [f"nothing in {query!r} has a label {label}" for label in sorted(grouped - known)]
