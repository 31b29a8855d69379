"""From samples to words: medians, ratios, verdicts, and the tables on the terminal, in Markdown and in JSON. Pure.

A ratio is taken within each round and the median of those counts, because two peers of one round had the same
machine; the ratio of two medians would compare different minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.measure import Sample
from bench.peers import PEERS
from bench.rows import Bound
from bench.runner import RowResult

Samples = dict[str, list[Sample]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bound and what was measured; `value` is None when a side of it was not measured."""

    bound: Bound
    value: float | None

    @property
    def held(self) -> bool | None:
        """Tell whether the bound held; None when it could not be judged."""
        if self.value is None:
            return None
        return self.value >= self.bound.limit if self.bound.at_least else self.value <= self.bound.limit

    def __str__(self) -> str:
        operator = "-" if self.bound.difference else "/"
        over = f" {operator} {self.bound.relative_to}" if self.bound.relative_to else ""
        sign = ">=" if self.bound.at_least else "<="
        if self.value is None:
            return f"{self.bound.label}{over} {sign} {self.bound.limit:g}: not judged"
        word = "held" if self.held else "MISSED"
        return f"{self.bound.label}{over} {sign} {self.bound.limit:g}: {self.value:.2f} {word}"


def middle(samples: Sequence[Sample]) -> float:
    """Return the median of the figure over the rounds."""
    return median(sample.value for sample in samples)


def ratio(samples: Samples, label: str, relative_to: str) -> float | None:
    """Return the median over the rounds of one label's figure divided by another's; None when one is missing."""
    pairs = list(zip(samples.get(label, ()), samples.get(relative_to, ()), strict=False))
    return median(one.value / other.value for one, other in pairs) if pairs else None


def difference(samples: Samples, label: str, relative_to: str) -> float | None:
    """Return the median over the rounds of one label's figure less another's; None when one is missing."""
    pairs = list(zip(samples.get(label, ()), samples.get(relative_to, ()), strict=False))
    return median(one.value - other.value for one, other in pairs) if pairs else None


def judge(result: RowResult) -> list[Verdict]:
    """Return a verdict for each bound of the row."""
    verdicts = []
    for bound in result.row.bounds:
        own = result.samples.get(bound.label)
        if bound.relative_to and bound.difference:
            value = difference(result.samples, bound.label, bound.relative_to)
        elif bound.relative_to:
            value = ratio(result.samples, bound.label, bound.relative_to)
        else:
            value = middle(own) if own else None
        verdicts.append(Verdict(bound, value))
    return verdicts


def exit_code(results: Sequence[RowResult]) -> int:
    """Return 0 when every judged bound held, 1 when one was missed, 2 when nothing or not Headgate was measured."""
    if any(verdict.held is False for result in results for verdict in judge(result)):
        return 1
    measured = any(result.samples for result in results)
    failed = any(label.startswith("headgate") for result in results for label in result.failed)
    return 0 if measured and not failed else 2


def title_of(label: str) -> str:
    """Return how a label is shown: the title of its peer, and what its variation adds."""
    peer, _, rest = label.partition("-")
    if peer not in PEERS:
        return label
    return PEERS[peer].title + (f" ({rest})" if rest else "")


def table(result: RowResult) -> list[list[str]]:
    """Return the row as cells, the first line being the titles."""
    extras = next((list(samples[0].extras) for samples in result.samples.values()), [])
    lines = [["", result.row.unit, *(f"/ {title_of(other)}" for other in result.row.ratios), *extras]]
    for label, samples in result.samples.items():
        ratios = [ratio(result.samples, label, other) for other in result.row.ratios]
        lines.append(
            [
                title_of(label),
                number(middle(samples)),
                *("" if value is None else f"{value:.2f}" for value in ratios),
                *(number(median(sample.extras[extra] for sample in samples)) for extra in extras),
            ]
        )
    return lines


def number(value: float) -> str:
    """Write a figure with the digits it deserves."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def console(results: Sequence[RowResult]) -> str:
    """Return all rows as aligned text, each bound marked held or MISSED."""
    parts = []
    for result in results:
        lines = table(result)
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        parts.append(f"\n{result.row.name}: {result.row.title}")
        for line in lines:
            first = line[0].ljust(widths[0])
            rest = "  ".join(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
            parts.append(f"  {first}  {rest}".rstrip())
        parts += [f"  {verdict}" for verdict in judge(result)]
        parts += [f"  not measured: {note}" for note in result.notes]
    return "\n".join(parts)


def markdown(results: Sequence[RowResult], machine: dict[str, str], command: str) -> str:
    """Return the results as a page: how they were got, the machine, and one table for each row."""
    facts = "; ".join(f"{name} {value}" for name, value in machine.items())
    parts = [
        "# Bench results",
        "",
        f"Made by `{command}`. The gateway runs on one core; CPU is that of its whole process tree. Figures are",
        "medians over interleaved rounds, ratios medians of the ratios within a round. Headgate runs with correlation",
        "id, forwarded headers, metrics and JSON log switched on, the other peers without a log; with policies on all",
        "of them have these too. The load is wrk's, over HTTP/2 that of h2load: without TLS, by prior knowledge. From",
        "the cache comes the same answer of 200 bytes that is proxied beside it.",
        "",
        f"Machine: {facts}.",
    ]
    for result in results:
        parts += ["", f"## {result.row.title}", ""]
        lines = table(result)
        if len(lines) > 1:
            parts.append(_markdown_line(lines[0]))
            parts.append("|---|" + "---:|" * (len(lines[0]) - 1))
            parts += [_markdown_line(line) for line in lines[1:]]
        verdicts = judge(result)
        if verdicts:
            parts += ["", *(f"- {verdict}" for verdict in verdicts)]
        if result.failed:
            parts += ["", f"Not measured: {', '.join(sorted(map(title_of, result.failed)))}."]
    return "\n".join(parts) + "\n"


def _markdown_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def plain(results: Sequence[RowResult], machine: dict[str, str]) -> dict[str, object]:
    """Return everything measured as plain data, for JSON."""
    rows = {}
    for result in results:
        rows[result.row.name] = {
            "title": result.row.title,
            "unit": result.row.unit,
            "rounds": {
                label: [{"value": sample.value, **sample.extras} for sample in samples]
                for label, samples in result.samples.items()
            },
            "median": {label: middle(samples) for label, samples in result.samples.items()},
            "bounds": [
                {"bound": str(verdict), "value": verdict.value, "held": verdict.held} for verdict in judge(result)
            ],
            "notes": result.notes,
        }
    return {"machine": machine, "rows": rows}
