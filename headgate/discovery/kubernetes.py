"""The EndpointSlices of a Kubernetes service: listed, then watched.

    list all -> watch from its resourceVersion on -> the watch ends: watch again from the last version seen
                                                  -> 410 Gone, or something that is no event: list all again

Laws (Kubernetes API concepts, "Efficient detection of changes"): a resourceVersion is opaque; bookmarks move it on; an
event that was cut counts for nothing. A service is all slices with its label together, and an endpoint may be in two
of them while it moves. Those that are about to end are left out unless nothing else serves. The token is read from
its file for each question, for it is changed while we run.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeGuard

import httpx

from headgate.core.endpoint import Endpoint
from headgate.discovery.asking import (
    ANSWER_SECONDS,
    checked_secret,
    checked_url,
    lines,
    make_client,
    parsed,
    read_answer,
    refuse,
    told,
)
from headgate.discovery.backoff import Backoff, Throttled, persist
from headgate.discovery.endpoint_set import endpoint_at, usable
from headgate.discovery.settings import KubernetesDiscovery
from headgate.discovery.source import MOST_ENDPOINTS, Given, NotFound, Sink
from headgate.wire.patience import within

# Seconds after which the server ends a watch, and we begin the next one where it ended; up to twice as much by chance.
WATCH: float = 60.0
_SLACK_SECONDS: Final = 10.0
_PAGE: Final = 500
_MOST_PAGES: Final = 1000
_LONGEST_LINE: Final = 4 << 20
_LONGEST_FILE: Final = 64 << 10
# Of names, addresses and ids, all of which are shorter.
_LONGEST_TEXT: Final = 300
_GONE: Final = 410
# RFC 1123 label, as names of services and namespaces are (Kubernetes, "Object Names and IDs").
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_KINDS: Final = ("ADDED", "MODIFIED", "DELETED", "BOOKMARK")
_FAMILIES: Final = ("IPv4", "IPv6", "FQDN")


class _Gone(Exception):
    """What we know is too old to go on from."""


class Place(NamedTuple):
    """Where one endpoint of a slice is, and how it is: `well` takes traffic, `leaving` only when nothing else does."""

    family: int
    address: str
    port: int
    zone: str
    owner: str
    well: bool
    leaving: bool


class KubernetesSource:
    """One service of Kubernetes."""

    def __init__(self, settings: KubernetesDiscovery, given: Given) -> None:
        """Take the settings.

        Raises:
            ValueError: with a sentence, for names that are none, or where no server is known.
        """
        self._settings = settings
        self._service = settings.service or given.service
        if not _LABEL.fullmatch(self._service):
            raise ValueError("this is no name of a Kubernetes service: set discovery.service")
        if settings.namespace is not None and not _LABEL.fullmatch(settings.namespace):
            raise ValueError("this is no name of a namespace")
        self._server = checked_url(settings.server or _own_server(given.environ))
        self._chance = given.chance
        self._backoff = Backoff(given.chance)
        # What the next watch goes on from; no version: all is listed anew.
        self._version = ""
        self._slices: dict[str, tuple[Place, ...]] = {}

    async def run(self, sink: Sink) -> None:
        """List, watch and say, until cancelled."""
        await persist(lambda: self._talk(sink), sink, self._backoff)

    async def _talk(self, sink: Sink) -> None:
        seconds = int(WATCH * (1 + self._chance()))
        with told():
            settings = self._settings
            ca = settings.ca if self._server.startswith("https:") else None
            namespace = settings.namespace or await self._own_namespace()
            url = f"{self._server}/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
            async with make_client(self._server, seconds + _SLACK_SECONDS, ca) as client:
                listed = not self._version
                try:
                    if listed:
                        self._slices, self._version = await self._list(client, url)
                        sink.take(self._set())
                    await self._watch(client, url, seconds, sink)
                except _Gone:
                    self._version = ""
                    if listed:
                        raise NotFound("the server does not go on from the version that it gave itself") from None

    async def _list(self, client: httpx.AsyncClient, url: str) -> tuple[dict[str, tuple[Place, ...]], str]:
        """Return all slices by name, and the version that they are of, page by page."""
        found: dict[str, tuple[Place, ...]] = {}
        query = {"limit": str(_PAGE)}
        for _ in range(_MOST_PAGES):
            fields = await self._fields()
            async with (
                within(ANSWER_SECONDS),
                client.stream("GET", url, params=self._query(query), headers=fields) as response,
            ):
                _refuse(response)
                answer = await read_answer(response)
            meta, items = _part(answer, "metadata"), answer.get("items") if isinstance(answer, dict) else None
            version, more = meta.get("resourceVersion"), meta.get("continue")
            if not isinstance(items, list | None) or not isinstance(version, str) or not version:
                raise NotFound("the answer is no list of EndpointSlices")
            for item in items or ():
                self._put(found, item)
            if not isinstance(more, str) or not more:
                return found, version
            query = {"limit": str(_PAGE), "continue": more}
        raise NotFound(f"the list has more than {_MOST_PAGES} pages")

    async def _watch(self, client: httpx.AsyncClient, url: str, seconds: int, sink: Sink) -> None:
        """Follow what changes until the server ends it.

        Raises:
            NotFound: it was refused.
            _Gone: all is to be listed anew.
        """
        query = {"watch": "1", "resourceVersion": self._version, "allowWatchBookmarks": "true"}
        asked = self._query({**query, "timeoutSeconds": str(seconds)})
        async with client.stream("GET", url, params=asked, headers=await self._fields()) as response:
            _refuse(response)
            sink.take(self._set())
            async for line in lines(response, _LONGEST_LINE):
                if not line.strip():
                    continue
                news = self._apply(line)
                self._backoff.succeeded()
                if news:
                    sink.take(self._set())

    def _apply(self, line: bytes) -> bool:
        """Take one event; tell whether it was about a slice.

        Raises:
            NotFound: the server says that something is wrong, or the event cannot be understood.
            _Gone: it is too old what we go on from.
        """
        event = parsed(line)
        slice_ = _part(event, "object")
        kind = event.get("type") if isinstance(event, dict) else None
        if kind == "ERROR":
            _fail(slice_)
        version = _part(slice_, "metadata").get("resourceVersion")
        if kind not in _KINDS or not isinstance(version, str) or not version:
            self._version = ""
            raise NotFound("the watch said something that is no event")
        if kind in ("ADDED", "MODIFIED"):
            self._put(self._slices, slice_)
        elif kind == "DELETED":
            self._slices.pop(_name(slice_), None)
        self._version = version
        return bool(kind != "BOOKMARK")

    def _put(self, slices: dict[str, tuple[Place, ...]], slice_: Any) -> None:
        slices[_name(slice_)] = tuple(_places(slice_, self._settings.port))
        if len(slices) > MOST_ENDPOINTS or sum(map(len, slices.values())) > 2 * MOST_ENDPOINTS:
            # Twice as many as a service can have: each may be there by two families.
            self._version = ""
            raise NotFound(f"the slices have more endpoints than {MOST_ENDPOINTS}, the most that a service can have")

    def _set(self) -> tuple[Endpoint, ...]:
        try:
            return usable(chosen(self._slices), self._made)
        except NotFound:
            # Only a list can tell that it has become another.
            self._version = ""
            raise

    def _made(self, place: Place) -> Endpoint:
        return endpoint_at(place.address, place.port, self._settings.scheme, zone=place.zone)

    def _query(self, more: Mapping[str, str]) -> dict[str, str]:
        return {"labelSelector": f"kubernetes.io/service-name={self._service}", **more}

    async def _fields(self) -> dict[str, str]:
        path = Path(self._settings.token_path)
        try:
            token = checked_secret((await asyncio.to_thread(_read, path)).strip(), "the token")
        except FileNotFoundError:
            # A server that asks for none, such as a local proxy of kubectl.
            return {}
        return {"Authorization": f"Bearer {token}"} if token else {}

    async def _own_namespace(self) -> str:
        path = Path(self._settings.token_path).with_name("namespace")
        try:
            found = (await asyncio.to_thread(_read, path)).strip()
        except OSError as error:
            raise NotFound(f"the namespace is not known: set discovery.namespace ({error})") from None
        if not _LABEL.fullmatch(found):
            raise NotFound("the namespace is not known: set discovery.namespace")
        return found


def chosen(slices: Mapping[str, tuple[Place, ...]]) -> list[Place]:
    """Return who takes traffic: who is well, else who is leaving and still serves; each owner by one family."""
    every = [place for name in sorted(slices) for place in slices[name]]
    able = [place for place in every if place.well] or [place for place in every if place.leaving]
    families: dict[str, int] = {}
    for place in able:
        if place.owner:
            families[place.owner] = min(families.get(place.owner, place.family), place.family)
    return [place for place in able if not place.owner or place.family == families[place.owner]]


def _places(slice_: Any, wanted: str | int | None) -> Iterator[Place]:
    """Read the endpoints of one slice, as discovery.k8s.io/v1 has them; what is none is left out."""
    family, port = slice_.get("addressType"), _port(slice_, wanted)
    endpoints = slice_.get("endpoints")
    if port is None or family not in _FAMILIES or not isinstance(endpoints, list):
        return
    for endpoint in endpoints:
        addresses = endpoint.get("addresses") if isinstance(endpoint, dict) else None
        # All addresses of an endpoint are one and the same to its clients, and one is enough.
        if not isinstance(addresses, list) or not addresses or not _is_text(addresses[0]):
            continue
        conditions, zone = _part(endpoint, "conditions"), endpoint.get("zone")
        # What is not said of conditions: it is ready, serves as it is ready, and is not leaving.
        ready = conditions.get("ready") is not False
        serving = conditions["serving"] is True if isinstance(conditions.get("serving"), bool) else ready
        leaving = conditions.get("terminating") is True
        owner = _part(endpoint, "targetRef").get("uid")
        yield Place(
            _FAMILIES.index(family),
            addresses[0],
            port,
            zone if _is_text(zone) else "",
            owner if _is_text(owner) else "",
            ready and not leaving,
            serving and leaving,
        )


def _port(slice_: Any, wanted: str | int | None) -> int | None:
    """Return the port of a slice: the wanted one by name or number, else the only or first one; of TCP."""
    listed = slice_.get("ports")
    ports = [
        port
        for port in (listed if isinstance(listed, list) else ())
        if isinstance(port, dict) and port.get("protocol", "TCP") == "TCP"
    ]
    for port in ports:
        number = port.get("port")
        if number is None and isinstance(wanted, int):
            # No number in a slice stands for all ports.
            return wanted
        if isinstance(number, int) and (wanted is None or wanted in (number, port.get("name"))):
            return number
    return None


def _name(slice_: Any) -> str:
    name = _part(slice_, "metadata").get("name")
    if not _is_text(name) or not name:
        raise NotFound("the answer has a slice without a name")
    return name


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) <= _LONGEST_TEXT


def _refuse(response: httpx.Response) -> None:
    if response.status_code == _GONE:
        raise _Gone
    hints = {
        401: "the token is not taken",
        403: "the service account may not list and watch endpointslices in this namespace",
    }
    refuse(response, hints.get(response.status_code, ""))


def _fail(status: dict[str, Any]) -> None:
    """Tell of an event of type ERROR, whose object is a Status."""
    code, details = status.get("code"), _part(status, "details")
    if code == _GONE:
        raise _Gone
    wait = details.get("retryAfterSeconds")
    sentence = f"the watch ended with status {code}" if isinstance(code, int) else "the watch ended with an error"
    if isinstance(wait, int) and wait > 0:
        raise Throttled(sentence, wait)
    raise NotFound(sentence)


def _part(parent: Any, name: str) -> dict[str, Any]:
    found = parent.get(name) if isinstance(parent, dict) else None
    return found if isinstance(found, dict) else {}


def _own_server(environ: Mapping[str, str]) -> str:
    """Return the API server of the cluster we run in ("Accessing the API from within a Pod")."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise ValueError("this gateway does not run in Kubernetes: set discovery.server")
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_LONGEST_FILE).decode("ascii")
