"""Instances that registered with this gateway itself, as control keeps them.

Law: it asks nobody; whoever keeps registrations says when they may have changed.
"""

from __future__ import annotations

import asyncio
from typing import Final

from headgate.core.endpoint import Endpoint
from headgate.discovery.endpoint_set import whole_set
from headgate.discovery.settings import RegistryDiscovery
from headgate.discovery.source import Given, NotFound, Sink

# Seconds.
GATHER: Final = 0.05


class RegistrySource:
    """The instances of one name."""

    def __init__(self, settings: RegistryDiscovery, given: Given) -> None:
        self._name = settings.service or given.service
        self._given = given

    async def run(self, sink: Sink) -> None:
        """Say the set whenever it is another one, until cancelled."""
        changed = asyncio.Event()
        stop = self._given.on_registered(changed.set)
        said: tuple[Endpoint, ...] | None = None
        try:
            while True:
                changed.clear()
                try:
                    found = whole_set(self._given.registered(self._name))
                except NotFound as error:
                    said = None
                    # Without a word they are about to be known, as whenever control has just begun.
                    if str(error):
                        sink.failed(str(error))
                else:
                    if found != said:
                        said = found
                        sink.take(found)
                await changed.wait()
                # Of a thousand that register together, each is news.
                await asyncio.sleep(GATHER)
        finally:
            stop()
