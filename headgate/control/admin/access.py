"""Who may use a route of the admin API.

Each route, or its router, says it: `dependencies=[allowed("read")]`; a role that is named lets those in who have it or
a higher one (control.operators). A bearer token counts, else the cookie of a session. What a browser sends along by
itself, the cookie, changes something only from a page of this listener: Sec-Fetch-Site (W3C Fetch Metadata) or Origin
(RFC 6454) have to say so. Paths of `admin.public` are read without either.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from fastapi import Depends, Request, Security
from fastapi.routing import APIRoute
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from headgate.config.admin_settings import AdminRole
from headgate.control.admin.answers import Refused
from headgate.control.admin.subject import subject_of
from headgate.control.operators import Operator, Operators, TooManyTries
from headgate.telemetry.audit import Actor

COOKIE: Final = "headgate_session"
_PORT: Final = re.compile(r":([0-9]{1,5})\Z")
READING: Final = ("GET", "HEAD")

_BEARER = HTTPBearer(auto_error=False, scheme_name="token", description="admin.token, or one of admin.tokens")
_COOKIE = APIKeyCookie(
    name=f"{COOKIE}_8081",
    auto_error=False,
    scheme_name="session",
    description="made by POST /ui/session; its name ends with the port that is asked",
)
_CHALLENGE: Final = {"WWW-Authenticate": "Bearer"}


class Allowed:
    """Lets those in who may do what any of the roles may; made by `allowed`."""

    def __init__(self, roles: Sequence[AdminRole]) -> None:
        self.roles = tuple(roles)

    async def __call__(
        self,
        request: Request,
        _bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
        _cookie: Annotated[str | None, Security(_COOKIE)],
    ) -> None:
        """Let the request go on, or refuse it."""
        operators = subject_of(request).parts.operators
        # Whatever is shown there besides: an old token must not keep a scraper out.
        # By the path that the route was found by: request.url is made of what Host says, too.
        if request.method in READING and request.scope["path"] in operators.public:
            return
        operator = operator_of(request, operators)
        if operator is not None and operator.may(*self.roles):
            _expect_known_parameters(request)
            return
        if operator is None:
            text = "this needs the header Authorization: Bearer TOKEN with a token of the admin API"
            raise Refused(401, text, _CHALLENGE)
        raise Refused(403, f"the role {operator.role} may not do this: it needs {' or '.join(self.roles)}")


def allowed(*roles: AdminRole) -> Any:
    """Make the dependency of a route, or of a router, that any of these roles may use."""
    return Depends(Allowed(roles))


def _expect_known_parameters(request: Request) -> None:
    """Refuse a parameter that the route does not have: a filter with a slip would find all, `dryrun` change it."""
    route = request.scope.get("route")
    known = {each.alias for each in route.dependant.query_params} if isinstance(route, APIRoute) else set()
    if not known.issuperset(request.query_params):
        text = f"it knows {', '.join(sorted(known))}" if known else "it knows none"
        raise Refused(422, f"the query has a parameter that this path does not know; {text}")


def operator_of(request: Request, operators: Operators) -> Operator | None:
    """Return who asks; None when nothing that counts was shown.

    Raises:
        Refused: too much that was wrong came from there, or a session is used from a page of somebody else.
    """
    address = address_of(request)
    scheme, _, shown = request.headers.get("authorization", "").partition(" ")
    try:
        if scheme.lower() == "bearer":
            operator = operators.of_token(shown.strip(), address) if shown.strip() else None
        elif session := request.cookies.get(cookie_of(request), ""):
            operator = operators.of_session(session, address)
            if operator is not None and request.method not in READING:
                expect_own_page(request)
        else:
            operator = None
    except TooManyTries as error:
        raise too_many(error) from None
    request.state.operator = operator
    return operator


def too_many(error: TooManyTries) -> Refused:
    """Make the answer to whoever has shown too much that was wrong."""
    text = "too much that was wrong came from this address"
    return Refused(429, text, {"Retry-After": str(max(1, round(error.wait)))})


def expect_own_page(request: Request) -> None:
    """Refuse what a browser did not send from a page of this listener.

    Raises:
        Refused: with 403.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    # A page on another port of the same host is same-site, and somebody else's.
    own = site in ("same-origin", "none") if site is not None else origin is not None
    if origin is not None:
        own = own and urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower()
    if not own:
        raise Refused(403, "a session changes something only from a page of this listener; use a token instead")


def cookie_of(request: Request) -> str:
    """Name the cookie of a session: cookies know no ports (RFC 6265 section 8.5), and gateways may share a host.

    The port is the one that a browser sees, whatever stands between it and this listener.
    """
    port = _PORT.search(request.headers.get("host", ""))
    return f"{COOKIE}_{port[1]}" if port is not None else COOKIE


def address_of(request: Request) -> str:
    """Return where a request comes from; empty for a Unix socket."""
    return request.client.host if request.client is not None else ""


def actor_of(request: Request) -> Actor:
    """Name who asks, for the audit log: an operator once access has let him pass, nobody until then."""
    operator: Operator | None = getattr(request.state, "operator", None)
    if operator is None:
        return Actor("anonymous", address=address_of(request))
    return Actor("operator", operator.name, method=operator.method, address=address_of(request))


def about(request: Request, target: dict[str, str], detail: str = "") -> None:
    """Tell the audit log what a request that changes something is about, in names."""
    request.state.target = target
    request.state.detail = detail
