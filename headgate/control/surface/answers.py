"""One request for an own endpoint, one answer: found by the configured items, filled from the record of its view.

Laws: what is no configured item is 404, and so are names that nothing has; an answer never says more of an error than a
sentence of our own.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote

from headgate.config.admin_settings import BREAKER_ACTIONS, LOCAL_VIEWS, Surface
from headgate.config.body_templates import Body, Refused
from headgate.config.resolve import ResolvedConfig, ResolvedRoute
from headgate.control.exposition import preferred
from headgate.control.log import Log
from headgate.control.surface import records
from headgate.control.surface.docs_page import POLICY, page
from headgate.control.surface.moments import in_words
from headgate.control.surface.subject import Subject
from headgate.control.surface.views import SERVICE_NOT_FOUND, VIEWS, NotFound, Question
from headgate.policy.route import Matched, RouteRule, RouteTable
from headgate.telemetry.audit import Actor

JSON = "application/json"


class Given(NamedTuple):
    """One answer."""

    status: int
    content_type: str
    body: bytes
    fields: tuple[tuple[str, str], ...] = ()


class Asked(NamedTuple):
    """One request, as the worker passed it on."""

    method: str
    path: str
    query: str = ""
    accept: str = ""
    caller: str = ""


class Item(NamedTuple):
    """A configured endpoint and its body, compiled."""

    surface: Surface
    route: ResolvedRoute
    body: Body | None


class Answers:
    """All own endpoints that control answers."""

    def __init__(self, subject: Subject, log: Log) -> None:
        self._subject = subject
        self._log = log
        self._table: RouteTable[Item] = RouteTable([])
        self._exposed: list[str] = []
        self.items: list[Item] = []

    def follow(self, config: ResolvedConfig) -> None:
        """Answer what this configuration has, from now on."""
        self.items = [
            Item(surface, route, compiled(surface))
            for surface, route in zip(config.surface, config.own_routes, strict=True)
        ]
        self._exposed = list(config.admin.expose)
        own = [item for item in self.items if item.surface.view not in (*LOCAL_VIEWS, "proxy")]
        self._table = RouteTable(
            [RouteRule(each.route.name, each.route.settings.match, each, each.route.order) for each in own]
        )

    async def answer(self, asked: Asked) -> Given:
        """Answer one request, of no configuration older than the one by which a worker has sent it here."""
        await self._subject.parts.fleet.settled()
        found = self._table.match("", asked.path, asked.method, [], b"")
        if not isinstance(found, Matched):
            return _json(404, {"detail": "Not Found"})
        item: Item = found.payload
        params = {name: unquote(value) for name, value in found.params.items()}
        try:
            if item.surface.view == "metrics" and (given := await self._metrics_text(item, asked.accept)) is not None:
                return given
            if item.surface.view == "reset_breaker":
                await self._reset(asked, params)
            question = Question(self._subject, self.items, self._exposed, params, parse_qs(asked.query))
            shown = await VIEWS[item.surface.view](question)
            text = item.body.render(shown.record) if item.body is not None else b""
            if item.surface.view == "docs" and (item.body is None or not item.body.text):
                # A template of mappings makes another document to read.
                return Given(200, _HTML, _page(json.loads(text) if text else shown.plain), _PAGE_FIELDS)
            if item.body is None:
                plain = shown.plain if item.surface.times == "seconds" else in_words(shown.plain)
                return _json(200, plain, shown.fields)
        except NotFound as missing:
            return _json(404, missing.body)
        except Refused as error:
            self._log("error", f"own endpoint {item.surface.path}: {error}")
            return _json(500, {"detail": "The answer cannot be made; the log of the gateway says why."})
        return Given(200, content_type_of(item.surface), text, shown.fields)

    async def _metrics_text(self, item: Item, accept: str) -> Given | None:
        """Return the metrics as a scraper reads them; None where JSON is wanted, which the record is for."""
        asked = accept if accept and accept.strip() != "*/*" else item.surface.content_type or "text/plain"
        exposition = self._subject.parts.exposition
        if not exposition.enabled:
            raise NotFound({"error": "Metrics not enabled"})
        if item.body is not None and preferred(asked, False) == JSON:
            return None
        exposition.scrapers += 1
        try:
            await self._subject.parts.latest.fetch()
            scrape = await exposition.scrape(asked)
        finally:
            exposition.scrapers -= 1
        return Given(200, scrape.content_type, scrape.body)

    async def _reset(self, asked: Asked, params: dict[str, str]) -> None:
        name, wanted = params.get("service") or params.get("service_name") or "", params.get("action") or "reset"
        action = next((each for each in BREAKER_ACTIONS if each == wanted), None)
        # What it is to forget, too.
        await records.latest_numbers(self._subject)
        found = self._subject.parts.breakers.steer(name, action) if action is not None else None
        act, who = f"{asked.method} {asked.path}", _actor(asked.caller)
        self._subject.audit("admin.request", who, act, "done" if found else "failed", {"breaker": name}, wanted)
        if found is None:
            raise NotFound(SERVICE_NOT_FOUND if action is not None else {"detail": "Not Found"})


_Fields = tuple[tuple[str, str], ...]
_HTML = "text/html; charset=utf-8"
_PAGE_FIELDS = (("Content-Security-Policy", POLICY),)


def compiled(item: Surface) -> Body | None:
    """Compile the body of an item.

    Raises:
        Refused: with a sentence.
    """
    if item.body is None:
        return None
    return Body(item.body, item.content_type)


def content_type_of(item: Surface) -> str:
    """Return the Content-Type of what a template makes."""
    if item.content_type is not None:
        return item.content_type
    return "text/plain; charset=utf-8" if isinstance(item.body, str) else JSON


def _page(document: Any) -> bytes:
    try:
        return page(document).encode()
    except (LookupError, TypeError, AttributeError):
        raise Refused("the template makes no OpenAPI document") from None


def _json(status: int, body: Any, fields: _Fields = ()) -> Given:
    return Given(status, JSON, json.dumps(body).encode(), fields)


def _actor(caller: str) -> Actor:
    try:
        said = json.loads(caller)
        return Actor(said["kind"], said["id"], said["tenant"], said["method"], said["address"])
    except (ValueError, KeyError, TypeError):
        return Actor("anonymous")
