"""API keys in the database: made, listed, revoked and rotated; a running gateway notices within seconds.

Laws: a key itself stands in the answer that makes it, and nowhere else; the audit log has its id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import ip_network
from itertools import islice
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Path, Query, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from headgate.auth.api_key import read_moment
from headgate.control.admin.access import about, allowed
from headgate.control.admin.answers import Refused, answers
from headgate.control.admin.subject import Subject, TheGateway
from headgate.control.keys.shown import record_of
from headgate.control.keys.sync import KeyPlace
from headgate.core.clock import wall

T = TypeVar("T")

router = APIRouter(tags=["keys"], prefix="/api/v1/keys", dependencies=[allowed("admin")])

_LONGEST_GRACE = 366 * 86400.0
# The last day that can be written: 9999-12-31 in UTC.
_LAST_MOMENT = 253_402_214_400.0


def _printable(text: str) -> str:
    # It is shown on terminals, which obey some characters.
    if not text.isprintable():
        raise ValueError("expected printable characters")
    return text


def _network(text: str) -> str:
    try:
        return str(ip_network(text.strip(), strict=False))
    except ValueError:
        raise ValueError("expected a network, such as 10.0.0.0/8 or 2001:db8::/32") from None


_Text = Annotated[str, Field(max_length=200), AfterValidator(_printable)]
_Word = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S"), AfterValidator(_printable)]
_Network = Annotated[str, Field(max_length=50), AfterValidator(_network)]
_Id = Annotated[str, Path(max_length=64, pattern=r"^key_[0-9a-f]+$", description="As the list has it.")]


class KeyAsked(BaseModel):
    """What a key is to be."""

    model_config = ConfigDict(extra="forbid")

    name: _Text = Field(default="", description="What it is for.")
    owner: _Text = Field(default="", description="Whose it is.")
    tenant: _Text = ""
    roles: list[_Word] = Field(default=[], max_length=50)
    tier: _Text = Field(default="", description="Its tier of limits.")
    scopes: list[_Word] = Field(default=[], max_length=50, description="route:NAME and service:NAME bind it to those.")
    addresses: list[_Network] = Field(default=[], max_length=50, description="From where it may be used; empty: any.")
    expires_at: Annotated[str, Field(max_length=40)] | None = Field(
        default=None, description="A day or moment of ISO 8601; null for never.", examples=["2031-01-31T12:00:00Z"]
    )


class KeyShown(BaseModel):
    """A key, but not itself; moments in ISO 8601."""

    id: str
    hint: str = Field(description="How it begins.")
    name: str
    owner: str
    tenant: str
    roles: list[str]
    tier: str
    scopes: list[str]
    addresses: list[str]
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None
    replaced_by: str | None = Field(description="Id of the key that takes its place.")
    state: Literal["active", "rotated", "expired", "revoked"]


class KeyMade(KeyShown):
    """A key that was made."""

    key: str = Field(description="The key itself: this is the only time it is shown.")


class KeysShown(BaseModel):
    """Keys in the order they were made."""

    items: list[KeyShown]
    next: str | None = Field(description="The cursor of the next page; null on the last.")


class Rotation(BaseModel):
    """How a key is replaced."""

    model_config = ConfigDict(extra="forbid")

    grace: float = Field(default=3600, ge=0, le=_LONGEST_GRACE, description="Seconds that it goes on working.")


@router.get("", responses=answers(409, 503))
async def keys(
    gateway: TheGateway,
    revoked: Annotated[bool, Query(description="Also those that were revoked.")] = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(max_length=64, description="`next` of the page before.")] = None,
) -> KeysShown:
    """List keys, but not themselves."""

    def listed(store: Any) -> list[KeyShown]:
        found = store.each(revoked=revoked, after=cursor)
        return [KeyShown(**record_of(key, wall())) for key in islice(found, limit + 1)]

    items = await _in_store(gateway, listed)
    return KeysShown(items=items[:limit], next=items[limit - 1].id if len(items) > limit else None)


@router.get("/{key_id}", responses=answers(404, 409, 503))
async def key(key_id: _Id, gateway: TheGateway) -> KeyShown:
    """Show one key, but not itself."""
    found = await _in_store(gateway, lambda store: store.find(key_id))
    if found is None:
        raise _missing()
    return KeyShown(**record_of(found, wall()))


@router.post("", status_code=201, responses=answers(409, 503))
async def create(asked: KeyAsked, request: Request, gateway: TheGateway) -> KeyMade:
    """Make a key; it is in the answer, and shown this one time."""
    from headgate.control.keys.key_store import NewKey

    expires = None
    if asked.expires_at is not None:
        try:
            expires = read_moment(asked.expires_at)
        except (ValueError, OverflowError):
            raise Refused(422, "body.expires_at: expected a day or moment, such as 2031-01-31T12:00:00Z") from None
        if expires > _LAST_MOMENT:
            raise Refused(422, "body.expires_at: that is too far away; leave it out for never")
        if expires <= wall():
            raise Refused(422, "body.expires_at: that moment is over already")
    lists = [tuple(dict.fromkeys(each)) for each in (asked.roles, asked.scopes, asked.addresses)]
    new = NewKey(asked.name, asked.owner, asked.tenant, lists[0], asked.tier, lists[1], lists[2], expires)
    made = await _in_store(gateway, lambda store: store.create(new, _prefix(gateway)))
    about(request, {"key": made.stored.id})
    return KeyMade(key=made.key, **record_of(made.stored, wall()))


@router.delete("/{key_id}", responses=answers(404, 409, 503))
async def revoke(key_id: _Id, request: Request, gateway: TheGateway) -> KeyShown:
    """End a key at once; one that was revoked stays so."""
    about(request, {"key": key_id})
    (found,) = await _in_store(gateway, lambda store: store.revoke([key_id]))
    return KeyShown(**record_of(found, wall()))


@router.post("/{key_id}/rotate", status_code=201, responses=answers(404, 409, 503))
async def rotate(key_id: _Id, request: Request, gateway: TheGateway, asked: Rotation | None = None) -> KeyMade:
    """Make a key like another, which ends after the grace; the new one is in the answer, and shown this one time."""
    about(request, {"key": key_id})
    grace = asked.grace if asked is not None else Rotation().grace

    def replaced(store: Any) -> Any:
        old = store.find(key_id)
        if old is not None and (state := old.state(wall())) != "active":
            raise Refused(409, f"the key is {state}, and only an active one can be rotated")
        return store.rotate(key_id, grace, _prefix(gateway))

    made = await _in_store(gateway, replaced)
    about(request, {"key": key_id, "replaced_by": made.stored.id})
    return KeyMade(key=made.key, **record_of(made.stored, wall()))


def _missing() -> Refused:
    return Refused(404, "there is no key of that id")


def _prefix(gateway: Subject) -> str:
    config = gateway.parts.configuration.resolved
    keys = config.identity.api_keys if config is not None else None
    return keys.prefix if keys is not None else ""


async def _in_store(gateway: Subject, work: Callable[[Any], T]) -> T:
    place = gateway.parts.keys.current
    if place is None:
        raise Refused(409, "identity.api_keys takes no keys of a database here")
    return await asyncio.to_thread(_with_store, place, work)


def _with_store(place: KeyPlace, work: Callable[[Any], T]) -> T:
    from sqlalchemy.engine import make_url

    from headgate.control.database import DatabaseError
    from headgate.control.keys.key_store import open_store

    try:
        store = open_store(make_url(place.url), place.pepper)
        try:
            return work(store)
        finally:
            store.close()
    except KeyError:
        raise _missing() from None
    except DatabaseError as error:
        raise Refused(503, str(error)) from None
    except ValueError as error:
        raise Refused(422, str(error)) from None
