"""Endpoints that another registry lists over HTTP, one question each `interval`.

The list is a JSON array, or an object with one under `services`, of {id, name, host, port, status, metadata}; metadata
may say weight and zone. `protocol` (http, https) goes before the scheme of the settings.

Laws: no redirect is followed; whatever is no such list changes nothing. Nor does one that is empty altogether: a
registry that knows nobody has just begun. One that lists others, but nobody of this name, says that nobody is there.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import httpx

from headgate.core.endpoint import Endpoint
from headgate.discovery.asking import checked_secret, make_client, read_answer, refuse, told
from headgate.discovery.backoff import Backoff, persist
from headgate.discovery.endpoint_set import MOST_WEIGHT, endpoint_at, usable, weight_in
from headgate.discovery.places import list_urls
from headgate.discovery.settings import HttpDiscovery
from headgate.discovery.source import Given, NotFound, Sink
from headgate.wire.patience import within

# Part of the interval by which it varies, so that not all gateways ask at once.
_JITTER: Final = 0.1
_NOT_HERE: Final = (404, 405, 410)


class HttpSource:
    """One service of one registry."""

    def __init__(self, settings: HttpDiscovery, given: Given) -> None:
        """Take the settings.

        Raises:
            ValueError: with a sentence, for a URL or a token that cannot be used.
        """
        self._settings = settings
        self._name = settings.service or given.service
        self._urls = list_urls(settings)
        token = checked_secret(settings.token, "the token")
        self._fields = {"Authorization": f"Bearer {token}"} if token else {}
        self._chance = given.chance
        # One that fails is asked as often as one that is well: by then it may have begun to know somebody.
        self._backoff = Backoff(given.chance, settings.interval)

    async def run(self, sink: Sink) -> None:
        """Ask and say, until cancelled."""
        await persist(lambda: self._talk(sink), sink, self._backoff)

    async def _talk(self, sink: Sink) -> None:
        settings = self._settings
        with told():
            async with make_client(self._urls[0], settings.timeout, settings.ca) as client:
                while True:
                    async with within(settings.timeout):
                        listed = await self._ask(client)
                    sink.take(self._read(listed))
                    self._backoff.succeeded()
                    await asyncio.sleep(settings.interval * (1 + _JITTER * (2 * self._chance() - 1)))

    async def _ask(self, client: httpx.AsyncClient) -> Any:
        """Return the list, from the first of the paths that is there; that one is asked first from then on.

        Raises:
            NotFound: with a sentence.
        """
        for url in tuple(self._urls):
            async with client.stream("GET", url, headers=self._fields) as response:
                if response.status_code in _NOT_HERE:
                    continue
                refuse(response)
                listed = await read_answer(response)
            self._urls.remove(url)
            self._urls.insert(0, url)
            return listed
        raise NotFound("the registry has no list of services there")

    def _read(self, listed: Any) -> tuple[Endpoint, ...]:
        """Return the instances that get requests.

        Raises:
            NotFound: this is no list of services.
        """
        if isinstance(listed, dict):
            listed = listed.get("services")
        if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
            raise NotFound("the answer is no list of services")
        if not listed:
            raise NotFound("the registry lists no service at all")
        own = [each for each in listed if each.get("name") == self._name]
        return usable([each for each in own if not self._is_out(each.get("status"))], self._endpoint)

    def _is_out(self, status: object) -> bool:
        return isinstance(status, str) and status.lower() in self._settings.unhealthy

    def _endpoint(self, instance: dict[str, Any]) -> Endpoint:
        """Make an endpoint of an instance.

        Raises:
            ValueError: with a sentence.
        """
        metadata = instance.get("metadata")
        more: dict[str, Any] = metadata if isinstance(metadata, dict) else {}
        zone, protocol = more.get("zone"), instance.get("protocol")
        return endpoint_at(
            instance.get("host"),
            _number(instance.get("port")),
            protocol if protocol in ("http", "https") else self._settings.scheme,
            weight_in(_number(more.get("weight"))),
            zone if isinstance(zone, str) else "",
        )


def _number(value: object) -> object:
    """Return a number that was written as text as one, anything else as it is."""
    most = len(str(MOST_WEIGHT))
    return (
        int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= most else value
    )
