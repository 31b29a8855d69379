"""The dashboard's files: /ui/ and what it loads. Whoever reaches the address may read them; they hold nothing.

Laws: the files are read once, from the package, and a path is looked up among their names, never opened; a page of
them runs only what stands in these files, asks nobody but this listener, and can be framed by nobody (CSP level 3).
The session that the page trades a token for is made in sessions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from headgate.control.admin.answers import Refused, answers

FOLDER: Final = Path(__file__).parent.parent / "ui"
INDEX: Final = "index.html"

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # No text becomes markup or code in any way: there is no policy that could make it trusted.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Kept, and asked for again each time: after an upgrade the page must not run with half of its old files.
    "Cache-Control": "no-cache",
}

router = APIRouter(tags=["dashboard"])


class Asset(NamedTuple):
    """One file as it is answered."""

    body: bytes
    etag: str
    media_type: str


def read_assets(folder: Path = FOLDER) -> dict[str, Asset]:
    """Read all files of the dashboard, by their path within the folder."""
    return {
        path.relative_to(folder).as_posix(): _asset(path)
        for path in sorted(folder.rglob("*"))
        if path.suffix in _TYPES and path.is_file()
    }


def _asset(path: Path) -> Asset:
    body = path.read_bytes()
    return Asset(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"', _TYPES[path.suffix])


_ASSETS: Final = read_assets()


def _answer(name: str, request: Request) -> Response:
    found = _ASSETS.get(name)
    if found is None:
        raise Refused(404, "the dashboard has no such file")
    headers = {**_HEADERS, "ETag": found.etag}
    if found.etag in (each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")):
        return Response(status_code=304, headers=headers)
    return Response(found.body, headers=headers, media_type=found.media_type)


_FILE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The file", "content": {kind.partition(";")[0]: {} for kind in _TYPES.values()}},
    304: {"description": "The file that If-None-Match names is the one there is"},
}


@router.get("/ui", status_code=307, responses=answers(), response_class=RedirectResponse)
async def without_slash() -> str:
    """Lead to the dashboard: what it loads is named relative to it."""
    # Relative, so that it also holds behind a proxy that puts a prefix before it.
    return "ui/"


@router.get("/ui/", responses={**answers(), **_FILE}, response_class=Response)
async def index(request: Request) -> Response:
    """Answer the dashboard's page."""
    return _answer(INDEX, request)


@router.get("/ui/{name:path}", responses={**answers(404), **_FILE}, response_class=Response)
async def asset(name: str, request: Request) -> Response:
    """Answer a file that the dashboard's page loads."""
    return _answer(name, request)
