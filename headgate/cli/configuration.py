"""The configuration a command line names, loaded, and what is wrong with it said to people."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from headgate.cli.arguments import Namespace
from headgate.cli.sources import sources_of
from headgate.cli.terminal import wants_colour
from headgate.config.declarations import Layer
from headgate.config.loader import LoadResult, load
from headgate.config.problems import Problem, render
from headgate.config.resolve import ResolvedConfig


def load_named(arguments: Namespace) -> LoadResult | None:
    """Load what the command line names; None when it names nothing, which has been said."""
    sources = sources_of(arguments)
    if sources is None:
        return None
    layers = [Layer(*preset, own=False) for preset in sources.presets]
    return load(sources.paths, overrides=arguments.set, environ=os.environ, layers=layers, dotenv=sources.dotenv)


def load_valid(arguments: Namespace) -> ResolvedConfig | None:
    """Load what the command line names; None when there is an error, which has been said."""
    result = load_named(arguments)
    if result is None:
        return None
    say(result.problems)
    return result.config


def say(problems: Sequence[Problem]) -> None:
    """Write problems to standard error."""
    if problems:
        print(render(problems, colour=wants_colour(sys.stderr)), file=sys.stderr)
