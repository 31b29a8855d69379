"""Configurations of several documents: a preset below, a user's file above."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from headgate.config.declarations import Layer
from headgate.config.effective import shown
from headgate.config.loader import LoadResult, load


def load_layers(
    preset: str,
    own: str = "",
    *overrides: str,
    environ: Mapping[str, str] | None = None,
    dotenv: Set[str] = frozenset(),
) -> LoadResult:
    """Load a preset with a file over it."""
    layers = [Layer("preset p", preset, own=False), *([Layer("own.yaml", own)] if own else [])]
    return load([], overrides=overrides, environ=environ or {}, layers=layers, dotenv=dotenv)


def document(result: LoadResult) -> dict[str, Any]:
    """Return what was loaded, as it is shown."""
    assert result.source is not None, [str(problem) for problem in result.problems]
    return shown(result.source, result.origins).document()


def said(result: LoadResult) -> list[str]:
    """Return the lines that people read."""
    return [str(problem) for problem in (*result.problems, *result.notices)]
