"""The sources of a configuration: how one is made, what is kept of it, and that workers get none of it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from importlib import import_module
from typing import Any, NamedTuple

from headgate.catalog import DISCOVERY
from headgate.config.resolve import ResolvedConfig
from headgate.core.endpoint import Endpoint
from headgate.discovery.source import Given, Source

Build = Callable[[Any, Given], Awaitable[Source]]


class KeptSource(NamedTuple):
    """What is known of one source, as its successor gets it: `endpoints` None before it said any."""

    source: str
    service: str
    settings: Any
    endpoints: tuple[Endpoint, ...] | None
    confirmed_at: float


async def source_of(settings: Any, given: Given) -> Source:
    """Make the source that these settings name.

    Raises:
        ValueError: with a sentence, when they cannot be used.
    """
    module, _, name = DISCOVERY[settings.type].source.partition(":")
    # An HTTP client takes a tenth of a second to import, and this loop has others to serve.
    found = sys.modules.get(module) or await asyncio.to_thread(import_module, module)
    source: Source = getattr(found, name)(settings, given)
    return source


def without_sources(config: ResolvedConfig) -> ResolvedConfig:
    """Return a configuration as workers get it: no worker asks a source, or has a use for its secrets."""
    services = (replace(each, discovery=None) if each.source else each for each in config.services)
    return replace(config, services=tuple(services))


def with_sources(config: ResolvedConfig, kept: Iterable[KeptSource]) -> ResolvedConfig:
    """Return a configuration from the one that workers got."""
    settings = {each.source: each.settings for each in kept}
    services = (
        replace(each, discovery=settings[each.source]) if each.source in settings else each for each in config.services
    )
    return replace(config, services=tuple(services))
