"""The cache: what it holds, what became of requests at it, and purging from it."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from headgate.control.admin.access import about, allowed
from headgate.control.admin.answers import Refused, answers
from headgate.control.admin.subject import TheGateway
from headgate.control.caching import MOST_VALUE, Away, purge_of
from headgate.stores.cache.store import Scope

router = APIRouter(tags=["cache"], prefix="/api/v1/cache")

_Value = Annotated[str, Field(min_length=1, max_length=MOST_VALUE)]


class CacheResults(BaseModel):
    """Requests since the gateway was started, by what the cache made of them."""

    hit: int = Field(description="Answered from a fresh entry.")
    stale: int = Field(description="Answered from a stale entry, as stale-while-revalidate or stale-if-error allow.")
    revalidated: int = Field(description="Answered from an entry that the service said is still good.")
    collapsed: int = Field(description="Answered with what was being fetched for another request.")
    miss: int = Field(description="Answered by the service.")
    bypass: int = Field(description="The cache had no part in them.")


class CacheCounts(BaseModel):
    """What became of requests."""

    results: CacheResults
    hit_rate: float | None = Field(
        description="Share of those answered from the cache, from 0 to 1, of all but bypass; null without any."
    )
    response_bytes: int = Field(description="Bytes of bodies answered from the cache.")


class CacheHeld(BaseModel):
    """Where answers are kept. What a kind of store cannot know is null, what is not known at present is absent."""

    type: Literal["memory", "redis"]
    away: bool = Field(description="Whether it cannot be asked; services are, then.")
    entries: int | None = Field(default=None, description="Answers that are kept.")
    bytes: int | None = Field(default=None, description="Bytes that they take.")
    size: int | None = Field(default=None, description="Bytes that they may take.")
    stored: int | None = Field(default=None, description="Answers put into it since its beginning.")
    evicted: int | None = Field(default=None, description="Of these, those that made room for others before their end.")
    refused: int | None = Field(default=None, description="Answers not taken: too large, or purged while fetched.")
    purged: int | None = Field(default=None, description="Answers that were purged.")


class CacheOfRoute(CacheCounts):
    """The cache of one route; durations in seconds."""

    route: str
    ttl: float | None = Field(description="How long answers are fresh whatever they say; null: as they say.")
    default_ttl: float
    stale_while_revalidate: float
    stale_if_error: float
    partition: Literal["auto", "identity", "shared"] = Field(description="Who shares answers.")
    max_entry: int = Field(description="Bytes of a body; larger ones are not kept.")


class CacheShown(CacheCounts):
    """The cache, with all routes that have one."""

    store: CacheHeld | None = Field(description="null where no route has a cache.")
    routes: list[CacheOfRoute]


class CachePurge(BaseModel):
    """What is to be forgotten: exactly one of these."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"minProperties": 1, "maxProperties": 1})

    url: _Value | None = Field(default=None, description="All answers of this URL.", examples=["https://a.example/x"])
    prefix: _Value | None = Field(default=None, description="All answers of URLs that begin so.")
    tag: _Value | None = Field(default=None, description="All answers with this tag.")
    all: Literal[True] | None = Field(default=None, description="All answers.")

    @model_validator(mode="after")
    def _one(self) -> CachePurge:
        if len(self.model_fields_set) != 1 or self.named() is None:
            raise ValueError("expected exactly one of url, prefix, tag and all: true")
        return self

    def named(self) -> tuple[Scope, str] | None:
        """Return what was named, and its value."""
        values: dict[Scope, str | None] = {"url": self.url, "prefix": self.prefix, "tag": self.tag}
        named = [(scope, value) for scope, value in values.items() if value is not None]
        return named[0] if named else ("all", "") if self.all else None


class CachePurged(BaseModel):
    """What became of it."""

    by: Literal["url", "prefix", "tag", "all"]
    purged: int = Field(description="Answers that there were.")


@router.get("", dependencies=[allowed("read")], responses=answers(), response_model_exclude_unset=True)
async def cache(gateway: TheGateway) -> CacheShown:
    """Show what the cache holds, and what became of requests at it."""
    caching = gateway.parts.caching
    held = await caching.statistics()
    # All cells are looked at.
    counts = await asyncio.to_thread(caching.counts)
    return CacheShown(**caching.describe(counts, held))


@router.post("/purge", dependencies=[allowed("operate")], responses=answers(409, 503))
async def purge(asked: CachePurge, request: Request, gateway: TheGateway) -> CachePurged:
    """Forget cached answers by URL, prefix, tag, or all; what is being fetched at this moment is not kept, either."""
    named = asked.named()
    assert named is not None
    scope, value = named
    # A query may carry secrets.
    about(request, {"cache": scope}, value.partition("?")[0][:256])
    caching = gateway.parts.caching
    if not caching.used:
        raise Refused(409, "no route has a cache")
    try:
        what = purge_of(scope, value)
    except ValueError as error:
        raise Refused(422, str(error)) from None
    try:
        return CachePurged(by=scope, purged=await caching.purge(what))
    except Away as error:
        raise Refused(503, str(error)) from None
