"""The sources of a configuration: how one is made, and what is kept of it for a successor of control."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any, NamedTuple

from headgate.catalog import DISCOVERY
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
