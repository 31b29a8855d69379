"""Sessions of the dashboard: a token traded for a cookie, so that no page has to keep it.

Laws: the cookie is out of reach of scripts (HttpOnly) and is sent by pages of this listener alone (SameSite=Strict);
only such a page begins or ends a session; the token stands in a body, never in a URL, and in no answer.
"""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from headgate.config.admin_settings import AdminRole
from headgate.control.admin.access import address_of, cookie_of, expect_own_page, operator_of, too_many
from headgate.control.admin.answers import Refused, answers
from headgate.control.admin.subject import TheGateway
from headgate.control.operators import Operator, TooManyTries
from headgate.control.sessions import LIFETIME

router = APIRouter(tags=["dashboard"], prefix="/ui/session")

_PATH: Final = "/"


class Shown(BaseModel):
    """A token, as it is typed in."""

    model_config = ConfigDict(extra="forbid")

    token: Annotated[str, Field(min_length=1, max_length=4096)]


class Session(BaseModel):
    """Who is signed in."""

    name: str | None = Field(description="Name of the token; null when nobody is.")
    role: AdminRole | None = Field(description="What its holder may do; null when nobody is.")


@router.get("", responses=answers())
async def show(request: Request, gateway: TheGateway) -> Session:
    """Say who is signed in."""
    return _session(operator_of(request, gateway.parts.operators))


@router.post("", responses=answers())
async def begin(shown: Shown, request: Request, response: Response, gateway: TheGateway) -> Session:
    """Trade a token for a session, from a page of this listener."""
    expect_own_page(request)
    try:
        found = gateway.parts.operators.begin_session(shown.token.strip(), address_of(request))
    except TooManyTries as error:
        raise too_many(error) from None
    if found is None:
        raise Refused(401, "this token is not known here")
    operator, id_ = found
    request.state.operator = operator
    # Cookies know no prefixes either: the path is that of all of it.
    response.set_cookie(
        cookie_of(request),
        id_,
        max_age=int(LIFETIME),
        path=_PATH,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return _session(operator)


@router.delete("", status_code=204, responses=answers())
async def end(request: Request, response: Response, gateway: TheGateway) -> None:
    """End the session, if there is one."""
    expect_own_page(request)
    operator_of(request, gateway.parts.operators)
    gateway.parts.operators.end_session(request.cookies.get(cookie_of(request), ""))
    response.delete_cookie(cookie_of(request), path=_PATH, httponly=True, samesite="strict")


def _session(operator: Operator | None) -> Session:
    return Session(name=operator.name, role=operator.role) if operator is not None else Session(name=None, role=None)
