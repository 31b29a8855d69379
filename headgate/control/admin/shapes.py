"""Shapes that the data has elsewhere, for the OpenAPI document: a TypedDict as a model of the same name.

Law: the TypedDict is the one source; a field marked NotRequired may be absent, and is never null for it.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NotRequired, get_args, get_origin, get_type_hints, is_typeddict

from pydantic import BaseModel, create_model

_ABSENT: Any = None


@cache
def shape_of(typed: Any, *more: tuple[str, Any]) -> type[BaseModel]:
    """Return the model of a TypedDict; `more` are further fields, name and type, and make it another shape."""
    fields: dict[str, Any] = {}
    for name, hint in get_type_hints(typed, include_extras=True).items():
        optional = get_origin(hint) is NotRequired
        kind = _translated(get_args(hint)[0] if optional else hint)
        fields[name] = (kind, _ABSENT) if optional else (kind, ...)
    fields |= {name: (_translated(kind), ...) for name, kind in more}
    suffix = "".join(name.capitalize() for name, _ in more)
    return create_model(f"{typed.__name__}{suffix}", __doc__=typed.__doc__, **fields)


def _translated(hint: Any) -> Any:
    """Put models in the place of TypedDicts inside of lists and dicts."""
    if is_typeddict(hint):
        return shape_of(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (list, dict):
        return origin[tuple(_translated(each) for each in arguments)]
    return hint
