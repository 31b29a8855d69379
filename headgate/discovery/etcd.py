"""The keys below a prefix in etcd (version 3), through its JSON gateway.

    read all -> watch from the next revision on -> whatever ends the watch: read all again

Laws: the first read of each talk goes through the cluster's quorum (a linearizable range), so what is said is never
older than what was said before; a watch only ever adds to it what came after. A watch that has been silent for SILENCE
is given up and all is read anew: so nothing is missed for longer, whatever lies between us and etcd. Members are
asked in turn, another one after each failure. A token of etcd that has expired is asked for anew.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, Final

import httpx

from headgate.core.endpoint import Endpoint
from headgate.core.strict_json import read_json, read_object
from headgate.discovery.asking import (
    ANSWER_SECONDS,
    checked_secret,
    checked_url,
    lines,
    make_client,
    parsed,
    read_body,
    told,
)
from headgate.discovery.backoff import Backoff, persist
from headgate.discovery.endpoint_set import endpoint_at, endpoint_of, usable, weight_in
from headgate.discovery.settings import EtcdDiscovery
from headgate.discovery.source import MOST_ENDPOINTS, Given, NotFound, Sink
from headgate.wire.patience import within

# Seconds.
SILENCE: float = 60.0
_LONGEST_LINE: Final = 4 << 20
# Of what is kept between two messages.
_LONGEST_KEY: Final = 8 << 10
LONGEST_VALUE: Final = 16 << 10
_REVISION: Final = re.compile(r"[0-9]{1,19}")


class _Expired(NotFound):
    """Our token is no longer taken."""


class EtcdSource:
    """The keys below one prefix."""

    def __init__(self, settings: EtcdDiscovery, given: Given) -> None:
        """Take the settings.

        Raises:
            ValueError: with a sentence, for URLs that cannot be used, or for an empty prefix.
        """
        self._settings = settings
        self._members = [checked_url(url) for url in settings.url]
        if not self._members:
            raise ValueError("expected the URL of at least one member")
        prefix = f"/services/{given.service}/" if settings.prefix is None else settings.prefix
        if not prefix:
            raise ValueError("an empty prefix would take every key of etcd for an endpoint")
        self._range = {"key": _encoded(prefix.encode()), "range_end": _encoded(_behind(prefix.encode()))}
        self._member = int(given.chance() * len(self._members)) % len(self._members)
        self._token = ""
        self._backoff = Backoff(given.chance)

    async def run(self, sink: Sink) -> None:
        """Read, watch and say, until cancelled."""
        await persist(lambda: self._talk(sink), sink, self._backoff)

    async def _talk(self, sink: Sink) -> None:
        settings = self._settings
        url = self._members[self._member]
        try:
            with told():
                async with make_client(url, ANSWER_SECONDS, settings.ca, settings.cert, settings.key) as client:
                    if settings.username and not self._token:
                        await self._authenticate(client, url)
                    try:
                        known, revision = await self._read(client, url)
                    except _Expired:
                        await self._authenticate(client, url)
                        known, revision = await self._read(client, url)
                    sink.take(_set_of(known))
                    await self._watch(client, url, known, revision, sink)
        except NotFound:
            # Whichever way this one failed, another may do better; and the token may have been its reason.
            self._member = (self._member + 1) % len(self._members)
            self._token = ""
            raise

    async def _authenticate(self, client: httpx.AsyncClient, url: str) -> None:
        self._token = ""
        login = {"name": self._settings.username, "password": self._settings.password}
        answer = await self._ask(client, f"{url}/v3/auth/authenticate", login)
        token = answer.get("token")
        if not isinstance(token, str) or not token:
            raise NotFound("etcd gave no token for the user")
        self._token = checked_secret(token, "the token that etcd gave")

    async def _read(self, client: httpx.AsyncClient, url: str) -> tuple[dict[str, bytes], int]:
        """Return all keys with their values, and the revision that they are of."""
        answer = await self._ask(client, f"{url}/v3/kv/range", {**self._range, "limit": MOST_ENDPOINTS + 1})
        listed = answer.get("kvs", [])
        revision = _part(answer, "header").get("revision")
        if not isinstance(listed, list) or not isinstance(revision, str) or not _REVISION.fullmatch(revision):
            raise NotFound("the answer is no range of keys")
        if len(listed) > MOST_ENDPOINTS:
            raise NotFound(f"there are more than {MOST_ENDPOINTS} keys, which is the most that a service can have")
        known: dict[str, bytes] = {}
        for entry in listed:
            _put(known, entry)
        return known, int(revision)

    async def _ask(self, client: httpx.AsyncClient, url: str, question: Any) -> dict[str, Any]:
        async with (
            within(ANSWER_SECONDS),
            client.stream("POST", url, json=question, headers=self._fields()) as response,
        ):
            body = await read_body(response)
        if response.status_code == 401 and self._token:
            raise _Expired(_refusal(401, body))
        if response.status_code != 200:
            raise NotFound(_refusal(response.status_code, body))
        answer = parsed(body)
        if not isinstance(answer, dict):
            raise NotFound("the answer is none of etcd's")
        return answer

    def _fields(self) -> dict[str, str]:
        return {"Authorization": self._token} if self._token else {}

    async def _watch(
        self, client: httpx.AsyncClient, url: str, known: dict[str, bytes], revision: int, sink: Sink
    ) -> None:
        """Follow what changes until the watch is silent or ends in an orderly way.

        Raises:
            NotFound: it was refused.
        """
        question = {"create_request": {**self._range, "start_revision": str(revision + 1)}}
        # Only a watch may be silent for so long.
        patience = httpx.Timeout(ANSWER_SECONDS, connect=client.timeout.connect, read=SILENCE)
        try:
            async with client.stream(
                "POST", f"{url}/v3/watch", json=question, headers=self._fields(), timeout=patience
            ) as response:
                if response.status_code != 200:
                    raise NotFound(_refusal(response.status_code, await read_body(response)))
                async for line in lines(response, _LONGEST_LINE):
                    if not line.strip():
                        continue
                    result = _result(line)
                    self._backoff.succeeded()
                    if result.get("canceled"):
                        _end(result)
                        return
                    if _apply(known, result.get("events", [])):
                        sink.take(_set_of(known))
        except httpx.ReadTimeout:
            return


def _result(line: bytes) -> dict[str, Any]:
    """Return what one message of a watch says.

    Raises:
        NotFound: it is none, or an error.
    """
    message = parsed(line)
    if isinstance(message, dict) and isinstance(message.get("result"), dict):
        return _part(message, "result")
    error = _part(message, "error")
    if error:
        raise NotFound(f"the watch ended: {_sentence(error)}")
    raise NotFound("the watch said something that is none of etcd's messages")


def _end(result: dict[str, Any]) -> None:
    """Take the end of a watch for orderly when the revision was compacted away: reading anew heals that.

    Raises:
        NotFound: it ended for another reason.
    """
    if not result.get("compact_revision"):
        reason = result.get("cancel_reason")
        raise NotFound(f"the watch was cancelled: {_plain(reason)}" if reason else "the watch was cancelled")


def _apply(known: dict[str, bytes], events: Any) -> bool:
    """Put events into what is known; tell whether there were any.

    Raises:
        NotFound: something is no event.
    """
    if not isinstance(events, list):
        raise NotFound("the watch said something that is none of etcd's messages")
    for event in events:
        entry = _part(event, "kv")
        if isinstance(event, dict) and event.get("type") == "DELETE":
            known.pop(_text(entry, "key"), None)
        else:
            _put(known, entry)
    if len(known) > MOST_ENDPOINTS:
        raise NotFound(f"there are more than {MOST_ENDPOINTS} keys, which is the most that a service can have")
    return bool(events)


def _put(known: dict[str, bytes], entry: Any) -> None:
    key, value = _text(entry, "key"), _decoded(_text(entry, "value") if entry.get("value") else "")
    if len(key) > _LONGEST_KEY:
        raise NotFound(f"a key of more than {_LONGEST_KEY} characters")
    # No endpoint takes so much to write; an empty value is none either.
    known[key] = value if len(value) <= LONGEST_VALUE else b""


def _text(entry: Any, name: str) -> str:
    found = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(found, str) or not found:
        raise NotFound("a key or value is none of etcd's")
    return found


def _set_of(known: dict[str, bytes]) -> tuple[Endpoint, ...]:
    return usable(known.values(), _made)


def _made(value: bytes) -> Endpoint:
    """Read a value: a URL, or an object with url, or host and port."""
    text = value.strip()
    if not text.startswith(b"{"):
        try:
            return endpoint_of(text.decode())
        except UnicodeDecodeError:
            raise ValueError("the value is no text") from None
    found = read_object(text)
    weight, zone = weight_in(found.get("weight")), found.get("zone")
    zone = zone if isinstance(zone, str) else ""
    if "url" in found:
        return endpoint_of(found["url"], weight, zone)
    scheme = found.get("scheme", "http")
    if scheme not in ("http", "https"):
        raise ValueError("the scheme must be http or https")
    return endpoint_at(found.get("host"), found.get("port"), scheme, weight, zone)


def _refusal(status: int, body: bytes) -> str:
    """Say why etcd refused; its sentences hold no secrets, and are cut."""
    try:
        answer = read_json(body)
    except ValueError:
        answer = None
    return f"status {status}: {_sentence(answer)}" if isinstance(answer, dict) else f"status {status}"


def _sentence(error: dict[str, Any]) -> str:
    return _plain(error.get("message") or error.get("error"))


def _plain(text: Any) -> str:
    shown = text[:200] if isinstance(text, str) else "no reason was given"
    return "".join(char if char.isprintable() else "?" for char in shown)


def _part(parent: Any, name: str) -> dict[str, Any]:
    found = parent.get(name) if isinstance(parent, dict) else None
    return found if isinstance(found, dict) else {}


def _encoded(text: bytes) -> str:
    return base64.b64encode(text).decode()


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NotFound("a key or value is none of etcd's") from None


def _behind(prefix: bytes) -> bytes:
    """Return the first key behind all keys that begin with `prefix` (etcd's range_end of a prefix)."""
    cut = prefix.rstrip(b"\xff")
    return cut[:-1] + bytes([cut[-1] + 1]) if cut else b"\0"
