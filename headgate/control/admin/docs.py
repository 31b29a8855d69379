"""The OpenAPI document of this listener, and a page that shows it: no other host is asked for either.

The document lists what is answered here; the page holds nothing of the gateway and so is for everybody.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

from fastapi import APIRouter, Request, Response

from headgate.control.admin.access import allowed
from headgate.control.admin.answers import answers

router = APIRouter(tags=["documentation"])

_FOLDER: Final = Path(__file__).parent / "pages"
_TYPES: Final = {"docs.html": "text/html", "docs.js": "text/javascript", "docs.css": "text/css"}
_PAGES: Final = {name: (_FOLDER / name).read_bytes() for name in _TYPES}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)


def _page(name: str) -> Response:
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
    return Response(_PAGES[name], media_type=_TYPES[name], headers=headers)


def _shown(*kinds: str) -> dict[int | str, dict[str, Any]]:
    content = {kind: {"schema": {"type": "string"}} for kind in kinds}
    return {**answers(), 200: {"description": "The file", "content": content}}


@router.get("/openapi.json", dependencies=[allowed("read")], responses=answers())
async def openapi(request: Request) -> dict[str, Any]:
    """Answer the OpenAPI document of this listener."""
    document: dict[str, Any] = request.app.openapi()
    return document


@router.get("/docs", responses=_shown("text/html"), response_class=Response)
async def docs() -> Response:
    """Answer a page that shows the document to people."""
    return _page("docs.html")


@router.get("/docs/{name}", responses=_shown("text/javascript", "text/css"), response_class=Response)
async def part(name: Literal["docs.js", "docs.css"]) -> Response:
    """Answer what the page loads."""
    return _page(name)
