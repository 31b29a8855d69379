"""Endpoints that variables of the gateway's environment name.

Law: read once, for a process' environment does not change while it runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from headgate.core.address import parse_endpoint
from headgate.core.endpoint import Endpoint
from headgate.discovery.endpoint_set import MOST_WEIGHT, whole_set
from headgate.discovery.places import urls_names, weights_name
from headgate.discovery.settings import EnvironmentDiscovery
from headgate.discovery.source import Given, NotFound, Sink


class EnvironmentSource:
    """The source."""

    __slots__ = ("_environ", "_service", "_settings")

    def __init__(self, settings: EnvironmentDiscovery, given: Given) -> None:
        self._settings = settings
        self._service = given.service
        self._environ = given.environ

    async def run(self, sink: Sink) -> None:
        """Read the variables, once."""
        try:
            sink.take(read_variables(self._settings, self._service, self._environ))
        except NotFound as error:
            sink.failed(str(error))


def read_variables(settings: EnvironmentDiscovery, service: str, environ: Mapping[str, str]) -> tuple[Endpoint, ...]:
    """Return the endpoints that the variables of a service name.

    Raises:
        NotFound: with a sentence that holds no value, when none is set, or what one holds is no such thing.
    """
    names = urls_names(settings, service)
    name = next((each for each in names if environ.get(each, "").strip()), "")
    urls = _items(environ[name] if name else settings.default or "")
    if not urls:
        raise NotFound(f"none of these variables is set: {', '.join(names)}")
    heavy = weights_name(settings, service)
    weights = _weights(environ.get(heavy, ""), heavy, len(urls)) if name else [1] * len(urls)
    try:
        return whole_set(parse_endpoint(url, weight) for url, weight in zip(urls, weights, strict=True))
    except ValueError as error:
        raise NotFound(f"{name or 'default'}: {error}") from None


def _items(text: str) -> list[str]:
    """Take a text apart: a JSON list, or items with commas between them."""
    try:
        items = json.loads(text) if text.lstrip().startswith("[") else text.split(",")
    except (ValueError, RecursionError):
        # Its first item is refused as what it is.
        items = [text]
    return [each for item in items if (each := str(item).strip())]


def _weights(text: str, name: str, count: int) -> list[int]:
    items = _items(text)
    if not items:
        return [1] * count
    if len(items) != count:
        raise NotFound(f"{name}: expected as many weights as there are URLs ({count}), got {len(items)}")
    if not all(re.fullmatch("[0-9]{1,7}", each) and int(each) <= MOST_WEIGHT for each in items):
        raise NotFound(f"{name}: a weight is a whole number from 0 to {MOST_WEIGHT}")
    return [int(each) for each in items]
