"""The rate limits: what there is, and the counts of one caller begun afresh."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from headgate.control.admin.access import about, allowed
from headgate.control.admin.answers import Refused, answers
from headgate.control.admin.subject import TheGateway
from headgate.control.limits import MOST_VALUE

router = APIRouter(tags=["limits"], prefix="/api/v1/limits")


class LimitCounts(BaseModel):
    """Requests since the gateway was started; limits of one name are counted together."""

    refused: int = 0
    shadow: int = Field(default=0, description="Those that it would have refused, were it not in shadow.")
    delayed: int = Field(default=0, description="Those that waited for their turn.")


class LimitShown(BaseModel):
    """One limit and its settings."""

    limit: str = Field(description="Its name.")
    scope: str = Field(description='Where it stands: "gateway", "service NAME" or "route NAME".')
    key: list[str] = Field(description="What is counted apart; an empty list counts all requests together.")
    type: Literal["sliding_window", "token_bucket", "leaky_bucket", "fixed_window", "concurrency"]
    requests: int
    window: float | None = Field(description="Seconds; null where it limits what is at the same time.")
    burst: int | None
    tiers: list[str] = Field(description="Tiers with other numbers.")
    shadow: bool = Field(description="Whether it only counts and refuses nobody.")
    on_error: Literal["local", "open", "closed"] = Field(description="Who decides while its store is away.")
    store: str = Field(description="Where it is counted.")
    counts: LimitCounts


class LimitsShown(BaseModel):
    """All limits."""

    limits: list[LimitShown]


class LimitReset(BaseModel):
    """Whose counts are to begin afresh."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[str, Field(min_length=1, max_length=100, description="Name of the limit.")]
    scope: Annotated[str, Field(min_length=1, max_length=2000)] | None = Field(
        default=None, description="Where it stands, as the list has it; all places of that name without it."
    )
    key: dict[
        Annotated[str, Field(min_length=1, max_length=200)], Annotated[str, Field(min_length=1, max_length=MOST_VALUE)]
    ] = Field(
        default_factory=dict,
        max_length=16,
        description="What the limit counts apart, by the names in its key; `address` stands for what a caller lacks.",
        examples=[{"address": "203.0.113.9"}, {"identity": "user:alice"}],
    )


class LimitWasReset(BaseModel):
    """What became of it."""

    limits: list[str] = Field(description="Limits that are counted together, and begin afresh together.")
    scopes: list[str]
    found: int = Field(description="Counts that there were; 0 when this caller was not counted there.")


@router.get("", dependencies=[allowed("read")], responses=answers())
async def limits(gateway: TheGateway) -> LimitsShown:
    """List all limits with their settings, and what became of requests at them."""
    # All cells are looked at.
    counts = await asyncio.to_thread(gateway.parts.limits.counts)
    shown = gateway.parts.limits.describe()
    return LimitsShown(
        limits=[LimitShown(**each, counts=LimitCounts(**counts.get(each["limit"], {}))) for each in shown]
    )


@router.post("/reset", dependencies=[allowed("operate")], responses=answers(404, 503))
async def reset(asked: LimitReset, request: Request, gateway: TheGateway) -> LimitWasReset:
    """Begin afresh with the counts of one key, in whichever store."""
    # Whose key it is stays out of the log: it may be an address or a name of a person.
    about(
        request, {"limit": asked.limit, "scope": asked.scope or ""}, f"key of {', '.join(sorted(asked.key)) or 'all'}"
    )
    try:
        done = await gateway.parts.limits.reset(asked.limit, asked.scope, asked.key)
    except ValueError as error:
        raise Refused(422, str(error)) from None
    except TimeoutError:
        raise Refused(503, "the store of the limits has not said that it is done") from None
    if done is None:
        raise Refused(404, "there is no such limit; GET /api/v1/limits lists them")
    return LimitWasReset(limits=list(done.limits), scopes=list(done.scopes), found=done.found)
