"""What a configuration says, read into a dataclass that a plugin declares.

Laws: standard library only, since a worker reads it too; no conversions between types, as everywhere in the
configuration; everything wrong is found at once, with the way to it; no sentence holds a value, which may be secret.
"""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from headgate.core.settings import Parsed

Where = tuple[str | int, ...]

_NOUNS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
_LISTS = (list, tuple, set, frozenset, Sequence)
_MISSING = object()


class Wrong(NamedTuple):
    """One thing wrong with the entry of a plugin, by the way to its key; `known` are the keys or words there are."""

    at: Where
    message: str
    known: tuple[str, ...] = ()


class UnknownType(TypeError):
    """A field of a plugin's Config has a type that no configuration can give."""


def read(cls: type, data: Any, at: Where, wrong: list[Wrong]) -> Any:
    """Make a `cls`, a dataclass, of plain data; None when something is wrong, which is then in `wrong`.

    Raises:
        UnknownType: for a type of a field that cannot be read.
    """
    if not isinstance(data, Mapping):
        wrong.append(Wrong(at, f"expected a mapping, got {_noun_of(data)}"))
        return None
    try:
        hints = get_type_hints(cls, include_extras=True)
    except Exception as error:
        raise UnknownType(f"the types of {cls.__qualname__} cannot be read: {error}") from None
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    before = len(wrong)
    wrong += [Wrong((*at, str(key)), "unknown key", tuple(fields)) for key in data if key not in fields]
    values = {}
    for name, field in fields.items():
        optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        value = data.get(name, _MISSING)
        if value is _MISSING or (value is None and optional):
            # An empty value means "as if not written".
            if not optional:
                wrong.append(Wrong((*at, name), "is required and missing"))
            continue
        so_far = len(wrong)
        values[name] = _value(hints[name], value, (*at, name), wrong)
        if len(wrong) == so_far:
            _bounds(field, values[name], (*at, name), wrong)
    if len(wrong) > before:
        return None
    try:
        return cls(**values)
    except (ValueError, TypeError) as error:
        wrong.append(Wrong(at, str(error) or f"{cls.__qualname__} refuses it"))
        return None


def _value(hint: Any, value: Any, at: Where, wrong: list[Wrong]) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin is Annotated:
        return _annotated(arguments, value, at, wrong)
    if origin is Literal:
        if any(type(each) is type(value) and each == value for each in arguments):
            return value
        wrong.append(Wrong(at, f"expected one of {', '.join(map(str, arguments))}", tuple(map(str, arguments))))
        return None
    if origin in (Union, types.UnionType):
        return _union(arguments, value, at, wrong)
    if hint in _NOUNS:
        return _scalar(hint, value, at, wrong)
    if (origin or hint) in _LISTS:
        return _list(origin or hint, arguments, value, at, wrong)
    if (origin or hint) in (dict, Mapping):
        return _table(arguments, value, at, wrong)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return read(hint, value, at, wrong)
    raise UnknownType(f"{'.'.join(map(str, at))} is declared as {hint}, which no configuration can give")


def _annotated(arguments: tuple[Any, ...], value: Any, at: Where, wrong: list[Wrong]) -> Any:
    for marker in arguments[1:]:
        if isinstance(marker, Parsed):
            try:
                value = marker.parse(value)
            except ValueError:
                wrong.append(Wrong(at, f"expected {marker.expected}"))
                return None
    return _value(arguments[0], value, at, wrong)


def _union(hints: tuple[Any, ...], value: Any, at: Where, wrong: list[Wrong]) -> Any:
    if value is None and type(None) in hints:
        return None
    tried: list[list[Wrong]] = []
    for hint in hints:
        if hint is not type(None):
            found: list[Wrong] = []
            read_ = _value(hint, value, at, found)
            if not found:
                return read_
            tried.append(found)
    if len(tried) == 1:
        wrong += tried[0]
    else:
        wrong.append(Wrong(at, "; or ".join(each.message for found in tried for each in found[:1])))
    return None


def _scalar(kind: type, value: Any, at: Where, wrong: list[Wrong]) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is kind:
        return value
    quotes = "; write it in quotes" if kind is str and isinstance(value, int | float) else ""
    wrong.append(Wrong(at, f"expected {_NOUNS[kind]}, got {_noun_of(value)}{quotes}"))
    return None


def _list(kind: Any, arguments: tuple[Any, ...], value: Any, at: Where, wrong: list[Wrong]) -> Any:
    if not isinstance(value, list):
        wrong.append(Wrong(at, f"expected a list, got {_noun_of(value)}"))
        return None
    if kind is tuple and arguments and arguments[-1] is not Ellipsis:
        raise UnknownType(f"{'.'.join(map(str, at))} is a tuple of fixed length; write list[...] or tuple[X, ...]")
    item = arguments[0] if arguments else Any
    items = [_value(item, each, (*at, place), wrong) for place, each in enumerate(value)]
    return items if kind in (list, Sequence) else kind(items)


def _table(arguments: tuple[Any, ...], value: Any, at: Where, wrong: list[Wrong]) -> Any:
    if not isinstance(value, Mapping):
        wrong.append(Wrong(at, f"expected a mapping, got {_noun_of(value)}"))
        return None
    item = arguments[1] if arguments else Any
    return {key: _value(item, each, (*at, key), wrong) for key, each in value.items()}


def _bounds(field: dataclasses.Field[Any], value: Any, at: Where, wrong: list[Wrong]) -> None:
    """Hold a value against the rules that `setting` gave its field."""
    rules = field.metadata
    if isinstance(value, int | float):
        low, above, high = rules.get("ge"), rules.get("gt"), rules.get("le")
        if low is not None and value < low:
            wrong.append(Wrong(at, f"expected {low} or more"))
        if above is not None and value <= above:
            wrong.append(Wrong(at, f"expected more than {above}"))
        if high is not None and value > high:
            wrong.append(Wrong(at, f"expected at most {high}"))
    elif isinstance(value, str):
        shortest, longest, pattern = rules.get("min_length"), rules.get("max_length"), rules.get("pattern")
        if shortest is not None and len(value) < shortest:
            wrong.append(Wrong(at, f"expected text of at least {shortest} characters"))
        if longest is not None and len(value) > longest:
            wrong.append(Wrong(at, f"expected text of at most {longest} characters"))
        if pattern is not None and re.search(pattern, value) is None:
            wrong.append(Wrong(at, f"expected text of the form {pattern}"))


def _noun_of(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list) else _NOUNS.get(type(value), type(value).__name__)
