"""The instances of a service in Consul, by blocking queries of its health endpoint.

    ask with the last index -> the server answers when something has changed, or `wait` is over -> ask again

Laws (Consul, "Blocking Queries"): an index that is none, or goes back, is begun anew at 0; after any failure too, for
a server that was restored may have a lower one and would let us wait for nothing. An empty answer counts only of a
server that has a leader and hid nothing from our token.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final
from urllib.parse import quote

import httpx

from headgate.core.clock import monotonic
from headgate.core.endpoint import Endpoint
from headgate.discovery.asking import (
    ANSWER_SECONDS,
    checked_secret,
    checked_url,
    make_client,
    read_answer,
    refuse,
    told,
)
from headgate.discovery.backoff import BETWEEN, Backoff, persist
from headgate.discovery.endpoint_set import endpoint_at, usable, weight_in
from headgate.discovery.settings import ConsulDiscovery
from headgate.discovery.source import Given, NotFound, Sink
from headgate.wire.patience import within

# The server waits up to a sixteenth longer, so that not all of its clients come back at once.
_JITTER: Final = 1 / 16
_SLACK_SECONDS: Final = 5.0
# Seconds from one question to the next, where the server has no news and does not let us wait.
AT_LEAST: float = 1.0
_INDEX: Final = re.compile(r"[1-9][0-9]{0,19}")


class ConsulSource:
    """One service of Consul."""

    def __init__(self, settings: ConsulDiscovery, given: Given) -> None:
        """Take the settings.

        Raises:
            ValueError: with a sentence, for a URL or a token that cannot be used.
        """
        self._settings = settings
        name = quote(settings.service or given.service, safe="")
        self._url = f"{checked_url(settings.url)}/v1/health/service/{name}"
        token = checked_secret(settings.token, "the token")
        self._fields = {"X-Consul-Token": token} if token else {}
        self._longest = settings.wait * (1 + _JITTER) + _SLACK_SECONDS
        self._backoff = Backoff(given.chance)

    async def run(self, sink: Sink) -> None:
        """Ask and say, until cancelled."""
        await persist(lambda: self._talk(sink), sink, self._backoff)

    async def _talk(self, sink: Sink) -> None:
        settings = self._settings
        with told():
            async with make_client(settings.url, self._longest, settings.ca) as client:
                index = 0
                while True:
                    began = monotonic()
                    endpoints, latest = await self._ask(client, index)
                    sink.take(endpoints)
                    self._backoff.succeeded()
                    # A server that does not let us wait, or has news all the time, is not asked all the time.
                    least = AT_LEAST if latest == index else BETWEEN
                    await asyncio.sleep(max(0.0, least - (monotonic() - began)))
                    index = latest if latest >= index else 0

    async def _ask(self, client: httpx.AsyncClient, index: int) -> tuple[tuple[Endpoint, ...], int]:
        settings = self._settings
        query = {"passing": "1"}
        if index:
            query |= {"index": str(index), "wait": f"{settings.wait:g}s"}
        if settings.datacenter:
            query["dc"] = settings.datacenter
        if settings.tag:
            query["tag"] = settings.tag
        async with (
            within(self._longest if index else ANSWER_SECONDS),
            client.stream("GET", self._url, params=query, headers=self._fields) as response,
        ):
            refuse(response, "the token may not read this service" if response.status_code == 403 else "")
            listed = await read_answer(response)
        if not isinstance(listed, list):
            raise NotFound("the answer is no list of instances")
        if not listed:
            _believe_empty(response.headers)
        return usable(listed, self._made), _index(response.headers)

    def _made(self, entry: Any) -> Endpoint:
        node, service = _part(entry, "Node"), _part(entry, "Service")
        weight = weight_in(_part(service, "Weights").get("Passing"))
        host = service.get("Address") or node.get("Address")
        return endpoint_at(host, service.get("Port"), self._settings.scheme, weight, _zone(service, node))


def _believe_empty(fields: httpx.Headers) -> None:
    if fields.get("x-consul-knownleader", "true").lower() == "false":
        raise NotFound("the servers have no leader at the moment")
    if fields.get("x-consul-results-filtered-by-acls", "false").lower() == "true":
        raise NotFound("the token may not read the instances of this service")


def _index(fields: httpx.Headers) -> int:
    text = fields.get("x-consul-index", "")
    return int(text) if _INDEX.fullmatch(text) else 0


def _part(parent: Any, name: str) -> dict[str, Any]:
    found = parent.get(name) if isinstance(parent, dict) else None
    return found if isinstance(found, dict) else {}


def _zone(service: dict[str, Any], node: dict[str, Any]) -> str:
    """Return where an instance runs: what it says itself in its metadata, else the locality of service or node."""
    places = (_part(service, "Meta").get("zone"), *(_part(each, "Locality").get("Zone") for each in (service, node)))
    return next((place for place in places if isinstance(place, str) and place), "")
