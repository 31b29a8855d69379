"""Answers that need no upstream: redirects and fixed responses.

Laws: a value from the request is escaped before it stands in a Location, so that it can neither end the field nor
begin another URL; no value but the host itself may stand where a URL names its host, and a Location without host
never begins with two slashes: both would let a link to us lead to anybody.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple
from urllib.parse import quote

from headgate.core.message import Field
from headgate.core.objection import Objection
from headgate.policy.edits import check_edits
from headgate.policy.rewrite import FieldEdits, Redirect, Respond
from headgate.policy.template import Template, Values, unknown_names

STATUSES = (301, 302, 303, 307, 308)

_IN_URL = frozenset(("host", "path", "query"))
# Everything RFC 3986 allows in path and query, and the percent sign of what is escaped already.
_SAFE = "/:?@!$&'()*+,;=-._~%[]"
_AUTHORITY = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)
_CONTROLS = re.compile(r"[\x00-\x20\x7f]")


class FixedAnswer(NamedTuple):
    """Status, fields (without Content-Length) and body."""

    status: int
    fields: tuple[Field, ...]
    body: bytes


def fixed_answer(respond: Respond) -> FixedAnswer:
    """Compile a fixed response; without a body it has no Content-Type."""
    body = respond.body.encode()
    fields = [(name.encode(), value.encode()) for name, value in respond.headers.items()]
    if body and not any(name.lower() == "content-type" for name in respond.headers):
        fields.insert(0, (b"Content-Type", respond.content_type.encode()))
    return FixedAnswer(respond.status, tuple(fields), body)


def check_respond(respond: Respond) -> Iterator[Objection]:
    """Yield what is wrong with a fixed response."""
    # RFC 9110 sections 15.3.5 and 15.4.5.
    if respond.body and respond.status in (204, 304):
        yield Objection(("body",), f"an answer with status {respond.status} has no body; use 200")
    for objection in check_edits(FieldEdits(set={"content-type": respond.content_type}), "response"):
        yield Objection(("content_type",), objection.message)
    for objection in check_edits(FieldEdits(set=respond.headers), "response"):
        yield Objection(("headers", *objection.at[1:]), objection.message)


class Redirection:
    """A redirect compiled. `{query}` has no question mark of its own: in "?{query}" an empty one takes the mark along.

    Example: https://example.com{path}?{query}
    """

    __slots__ = ("_bare", "_own", "_status", "_url")

    def __init__(self, redirect: Redirect) -> None:
        url = redirect.url
        self._status = redirect.status
        self._url = Template(url, _IN_URL)
        bare = url.replace("?{query}&", "?").replace("&{query}", "").replace("?{query}", "")
        self._bare = Template(bare, _IN_URL)
        self._own = _AUTHORITY.match(url) is None

    def answer(self, values: Values) -> FixedAnswer:
        """Make the answer; `values` gives the text of a placeholder (see Template), missing ones are empty."""
        url = self._url if values("query") else self._bare
        text = url.fill(lambda name: quote(values(name) or "", safe=_SAFE)) or ""
        if self._own:
            text = "/" + text.lstrip("/")
        return FixedAnswer(self._status, ((b"Location", text.encode()),), b"")


def check_redirect(redirect: Redirect, parts: Collection[str] = ()) -> Iterator[Objection]:
    """Yield what is wrong with a redirect of a route whose path has those named parts."""
    if redirect.status not in STATUSES:
        yield Objection(("status",), f"write one of {', '.join(map(str, STATUSES))}")
    url = redirect.url
    authority = _AUTHORITY.match(url)
    said = unknown_names(url, parts, _IN_URL)
    if said is None and (not url.isascii() or _CONTROLS.search(url)):
        said = "a URL holds neither spaces nor control characters, and all beyond ASCII only escaped, such as %C3%A9"
    if said is None and authority is not None:
        said = _bad_authority(authority[1])
    if said is None and authority is None and (url.startswith("//") or not url.startswith(("/", "{path}"))):
        said = "begin with https://, http:// or one slash"
    if said is not None:
        yield Objection(("url",), said)


def _bad_authority(text: str) -> str | None:
    """Say why that text cannot stand between "://" and the path."""
    host = text.removesuffix("{path}")
    if not host:
        return "name a host behind ://, or {host} for the request's own"
    names = set(Template(host, _IN_URL).names) - {"host"}
    if names:
        return f"{', '.join(f'{{{name}}}' for name in sorted(names))} cannot be part of the host; put a slash before it"
    return None
