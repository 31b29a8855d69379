"""Who may tell the gateway to do something (POST on the admin address).

With `admin.token` set, whoever shows it as a bearer token; the comparison takes the same time for every wrong one.
Without a token only a program on this machine, and no browser or proxy on its behalf: the peer must be loopback or the
Unix socket, the Host a loopback name (a page of a stranger whose name was pointed at 127.0.0.1 has another), and
neither Origin nor a forwarding header may be present.
"""

from __future__ import annotations

import hmac

from fastapi import Request
from fastapi.responses import JSONResponse

from headgate.core.address import is_loopback
from headgate.telemetry.audit import Actor

_MARKS_OF_OTHERS = (
    "origin",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "via",
)


def denied(request: Request, token: str) -> JSONResponse | None:
    """Return the refusal of a request that may not change anything, or None when it may: then it has an operator."""
    if token:
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(shown.strip().encode(), token.encode())
        if scheme.lower() == "bearer" and right:
            request.state.shown = "admin.token"
            return None
        text = "this needs the header Authorization: Bearer TOKEN with the token of admin.token"
        return JSONResponse({"error": text}, status_code=401, headers={"WWW-Authenticate": "Bearer"})
    if _is_local(request):
        request.state.shown = "local"
        return None
    text = "without admin.token only a direct request from this machine may do this; set admin.token to allow others"
    return JSONResponse({"error": text}, status_code=403)


def actor_of(request: Request) -> Actor:
    """Name who asks: an operator once `denied` has let him pass, nobody until then."""
    shown = getattr(request.state, "shown", "")
    address = request.client.host if request.client is not None else ""
    return Actor("operator" if shown else "anonymous", method=shown, address=address)


def _is_local(request: Request) -> bool:
    if any(mark in request.headers for mark in _MARKS_OF_OTHERS):
        return False
    # A Unix socket has no peer address, and its own permissions.
    if request.client is None or not request.client.host:
        return True
    return is_loopback(request.client.host) and is_loopback(request.url.hostname or "")
