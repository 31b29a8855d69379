"""Who tells where services run, and how that goes."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from headgate.control.admin.access import allowed
from headgate.control.admin.answers import answers
from headgate.control.admin.subject import TheGateway

router = APIRouter(tags=["discovery"], prefix="/api/v1/discovery")


class LastError(BaseModel):
    """The last look that came to nothing, whether or not later ones did better."""

    message: str
    age: float = Field(description="Seconds since then.")


class SourceShown(BaseModel):
    """Who tells the endpoints of one service."""

    service: str
    source: Literal["static", "environment", "dns", "http", "registry", "consul", "etcd", "kubernetes"]
    where: str = Field(description="Where the source asks; empty for endpoints that are configured.")
    state: Literal["static", "waiting", "current", "failing"] = Field(
        description="waiting: for the first set; failing: the last look came to nothing, those from before stay."
    )
    endpoints: int = Field(description="How many it has.", ge=0)
    age: float | None = Field(description="Seconds since the source last said them; null for never.")
    last_error: LastError | None


class SourcesShown(BaseModel):
    """Of all services."""

    services: list[SourceShown]


@router.get("", dependencies=[allowed("read")], responses=answers())
async def sources(gateway: TheGateway) -> SourcesShown:
    """Show who tells where each service runs."""
    return SourcesShown(services=[SourceShown(**each) for each in gateway.parts.discovery.describe()])
