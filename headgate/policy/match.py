"""What a route asks of a request: the settings of `match`, and nothing that decides."""

from __future__ import annotations

from typing import Annotated

from headgate.core.settings import OneOrMany, Short, setting, settings


@settings
class PathMatch:
    """How the path is compared: exactly one of the four forms. A bare string is a prefix."""

    prefix: str | None = setting(
        default=None,
        help="Segments the path begins with: /api matches /api and /api/x, not /apiary. With a $ at its end it is the"
        " whole path.",
    )
    segments: bool = setting(
        default=True, help="false: `prefix` is text the path begins with, so that /api matches /apiary, too."
    )
    exact: str | None = setting(default=None, help="The whole path, to the letter.")
    template: str | None = setting(
        default=None,
        help="Segments with named parts: /v1/{service}/{path}; the last name takes the rest of the path.",
    )
    regex: str | None = setting(
        default=None,
        help="RE2 expression (linear time) for the whole path; its named groups can be used in rewrites.",
    )


@settings
class ValueMatch:
    """How a header or query value is compared: exactly one of the three forms. A bare string is exact."""

    exact: str | None = setting(default=None, help="The value, to the letter.")
    regex: str | None = setting(default=None, help="RE2 expression (linear time) for the whole value.")
    present: bool | None = setting(default=None, help="true: must be there, with any value; false: must be absent.")


@settings
class Match:
    """What a request must be for the route to take it; an absent criterion matches all."""

    path: Annotated[PathMatch | None, Short("prefix")] = setting(default=None, help="The path, in its normal form.")
    host: Annotated[list[str], OneOrMany()] = setting(
        default=list, help="Host names, without port; *.example.com takes every name below it, at any depth."
    )
    method: Annotated[list[str], OneOrMany()] = setting(default=list, help="Methods, in any case.")
    headers: dict[str, Annotated[ValueMatch, Short("exact")]] = setting(
        default=dict, help="Header fields and what their value must be; names in any case."
    )
    query: dict[str, Annotated[ValueMatch, Short("exact")]] = setting(
        default=dict, help="Query parameters and what their (decoded) value must be."
    )
