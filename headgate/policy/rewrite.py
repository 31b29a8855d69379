"""What changes on the way: path rewrite, header and query edits, redirects and fixed answers."""

from __future__ import annotations

from typing import Annotated

from headgate.core.settings import Short, setting, settings


@settings
class Rewrite:
    """How the upstream's path is made. strip_prefix, then add_prefix; or path, a template, alone."""

    strip_prefix: str | None = setting(default=None, help="Leading segments to take off.")
    add_prefix: str | None = setting(default=None, help="Leading segments to put on.")
    path: str | None = setting(
        default=None, help="Template of the whole path: /models/{path}, with the named parts of the match."
    )
    host: str | None = setting(
        default=None,
        help="Host sent upstream: a name, or `preserve` for the client's; by default the endpoint's own.",
    )


@settings
class FieldEdits:
    """Edits of one direction, in this order: remove, set, add.

    Placeholders in values: {client} {host} {method} {path} {query} {request_id} {route} {service} {trace_id},
    {duration} (seconds since the first byte of the request) and {duration_ms}, {attempts} (tries at the upstream) and
    {upstream_ms} (the last one, to the head of its answer), {attempt} (which of the tries a request goes with, from 1
    on), {version} of the gateway, {services} (how many it has), and the named parts of the path. A field whose
    placeholder has no value is not put on.
    """

    remove: list[str] = setting(default=list, help="Fields to take off.")
    # What is put on may be the gateway's own credential towards an upstream.
    set: dict[str, str] = setting(default=dict, help="Fields to replace or put on.", repr=False)
    add: dict[str, str] = setting(default=dict, help="Fields to append beside existing ones.", repr=False)


@settings
class HeaderEdits:
    """Edits of header fields in both directions."""

    request: FieldEdits = setting(default=FieldEdits, help="Edits of what is sent upstream.")
    response: FieldEdits = setting(default=FieldEdits, help="Edits of what is returned to the client.")


@settings
class QueryEdits:
    """Edits of the query, in this order: remove, set, add."""

    remove: list[str] = setting(default=list, help="Parameters to take off.")
    set: dict[str, str] = setting(default=dict, help="Parameters to replace or put on.")
    add: dict[str, str] = setting(default=dict, help="Parameters to append beside existing ones.")


@settings
class Redirect:
    """Answer with a redirect instead of proxying. A bare string is the URL."""

    url: str = setting(help="Location, a template: https://example.com{path} ({path}, {query}, {host}, named parts).")
    status: int = setting(default=308, help="301, 302, 303, 307 or 308.", ge=301, le=308)


@settings
class Respond:
    """Answer with a fixed response instead of proxying."""

    status: int = setting(default=200, help="Status code.", ge=200, le=599)
    body: str = setting(default="", help="Body, as text.")
    content_type: str = setting(default="text/plain; charset=utf-8", help="Content-Type of the body.")
    headers: dict[str, str] = setting(default=dict, help="Further header fields.")


@settings
class Mirror:
    """Send a copy of the request to another service and ignore its answer."""

    service_name: str = setting(help="Name of the service that gets the copies.", min_length=1)
    percent: float = setting(default=100.0, help="Share of requests that are copied.", ge=0, le=100)


RedirectSetting = Annotated[Redirect | None, Short("url")]
