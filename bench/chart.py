"""The picture of the bench: CPU per request of each peer as bars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.report import middle, number, title_of
from bench.runner import RowResult

_INK, _QUIET, _OURS, _THEIRS = "#1f2933", "#7b8794", "#0b7285", "#b6c2cd"


def draw(result: RowResult, path: Path, footnote: str) -> None:
    """Write the medians of a row as a bar chart; the ending of `path` says whether SVG or PNG.

    One bar may be a hundred times the others: it is cut, and says so, or the others could not be told apart.
    """
    # Imported here: the bench measures without matplotlib, and a picture is made at the end of some runs only.
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figures = {label: middle(samples) for label, samples in result.samples.items()}
    order = sorted(figures, key=lambda label: figures[label])
    limit = axis_limit([figures[label] for label in order])
    # Text stays text and nothing depends on the day: a picture made twice differs only where figures do.
    style: Any = {"svg.fonttype": "none", "svg.hashsalt": "headgate", "font.family": "sans-serif", "font.size": 12}
    with mpl.rc_context(style):
        figure, axes = pyplot.subplots(figsize=(8, 0.62 * len(order) + 1.5), facecolor="white")
        for place, label in enumerate(order):
            value = figures[label]
            cut = value > limit
            colour = _OURS if label.startswith("headgate") else _THEIRS
            axes.barh(place, min(value, limit * 0.86), height=0.62, color=colour)
            if cut:
                axes.text(limit * 0.8, place, "//", va="center", ha="center", color="white", fontsize=24)
            axes.text(
                min(value, limit * 0.86) + limit * 0.012,
                place,
                number(value) + (" (bar cut)" if cut else ""),
                va="center",
                color=_INK,
                fontweight="bold" if label.startswith("headgate") else "normal",
            )
        axes.set_yticks(range(len(order)), [title_of(label) for label in order], color=_INK)
        axes.invert_yaxis()
        axes.set_xlim(0, limit)
        axes.set_xticks([])
        axes.tick_params(length=0)
        for side in axes.spines.values():
            side.set_visible(False)
        axes.set_title(f"{result.row.unit}, less is better", loc="left", color=_INK, fontsize=13, pad=10)
        figure.text(0.01, 0.02, footnote, color=_QUIET, fontsize=9)
        figure.tight_layout(rect=(0, 0.06, 1, 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
        pyplot.close(figure)


def axis_limit(ascending: list[float]) -> float:
    """Return the end of the axis: a bar three times as long as the one before it, and all after it, are cut."""
    kept = ascending[:1]
    for value in ascending[1:]:
        if value > 3 * kept[-1]:
            break
        kept.append(value)
    return kept[-1] * 1.22
