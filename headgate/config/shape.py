"""The shape of the configuration language, read once from the settings classes.

Everything that has to know the language (typing of scalars, error texts, JSON Schema, reference page) reads it here,
so a new setting is one line in its class. Law: standard library only.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from headgate.core.settings import Between, OneOrMany, Parsed, Short, Tagged

Kind = Literal["settings", "tagged", "list", "table", "text", "integer", "number", "boolean", "parsed", "any"]

_SCALARS: dict[Any, Kind] = {str: "text", int: "integer", float: "number", bool: "boolean", Any: "any"}
_NOUNS: dict[Kind, str] = {
    "text": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "list": "a list",
    "any": "any value",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What may stand in one place. `words` are the only texts allowed, or those allowed beside a number."""

    kind: Kind
    cls: type | None = None
    item: Shape | None = None
    words: tuple[str, ...] = ()
    options: Mapping[str, type] = field(default_factory=dict)
    parsed: Parsed | None = None
    short: str | None = None
    one_or_many: bool = False
    nullable: bool = False
    rules: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Field:
    """One setting of a class: its key, and the attribute that holds it, which has a `_` behind a word of Python's."""

    name: str
    attribute: str
    shape: Shape
    help: str
    required: bool
    default: Any
    aliases: tuple[str, ...]
    secret: bool


@cache
def fields_of(cls: type) -> dict[str, Field]:
    """Read the settings of a class, in the order they stand there."""
    hints = get_type_hints(cls, include_extras=True)
    return {key_of(each.name): _field(each, hints[each.name]) for each in dataclasses.fields(cls)}


def key_of(attribute: str) -> str:
    """Return the key of the setting that an attribute holds."""
    return attribute.removesuffix("_")


@cache
def spellings_of(cls: type) -> dict[str, str]:
    """Map every alias of a class's settings to the setting's name."""
    return {alias: each.name for each in fields_of(cls).values() for alias in each.aliases}


@cache
def root_shape(cls: type) -> Shape:
    """Return the shape of a whole document."""
    return Shape("settings", cls=cls)


def _field(each: dataclasses.Field[Any], hint: Any) -> Field:
    metadata = dict(each.metadata)
    extra = metadata.pop("json_schema_extra", {})
    help_ = metadata.pop("description")
    metadata.pop("union_mode", None)
    required = each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
    default = each.default if each.default is not dataclasses.MISSING else None
    if each.default_factory is not dataclasses.MISSING:
        default = each.default_factory()
    shape = _shape(hint)
    shape = dataclasses.replace(shape, rules={**shape.rules, **metadata})
    aliases, secret = tuple(extra.get("aliases", ())), extra.get("secret", False)
    return Field(key_of(each.name), each.name, shape, help_, required, default, aliases, secret)


def _shape(hint: Any) -> Shape:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        shape = _shape(arguments[0])
        for marker in arguments[1:]:
            shape = _marked(shape, marker)
        return shape
    if origin is Literal:
        return Shape("text", words=tuple(arguments))
    if origin in (Union, types.UnionType):
        return _union([each for each in arguments if each is not type(None)], nullable=type(None) in arguments)
    if origin is list:
        return Shape("list", item=_shape(arguments[0]))
    if origin is dict:
        return Shape("table", item=_shape(arguments[1]), words=_shape(arguments[0]).words)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return Shape("settings", cls=hint)
    return Shape(_SCALARS[hint])


def _union(hints: list[Any], *, nullable: bool) -> Shape:
    """Read `X | None`, and a scalar or some words, such as `int | Literal["auto"]`."""
    shapes = [_shape(each) for each in hints]
    first = next((shape for shape in shapes if not shape.words), shapes[0])
    words = tuple(word for shape in shapes for word in shape.words)
    return dataclasses.replace(first, nullable=nullable, words=words)


def _marked(shape: Shape, marker: Any) -> Shape:
    match marker:
        case Short():
            return dataclasses.replace(shape, short=marker.key)
        case OneOrMany():
            return dataclasses.replace(shape, one_or_many=True)
        case Between():
            return dataclasses.replace(shape, rules={"ge": marker.lowest, "le": marker.highest})
        case Tagged():
            return Shape("tagged", options=marker.choices)
        case Parsed():
            return dataclasses.replace(shape, kind="parsed", parsed=marker)
    return shape


# -- in words ---------------------------------------------------------------------------------------------------


def expected(shape: Shape) -> str:
    """Say what a place takes, as a phrase behind "expected"."""
    phrase = _phrase(shape)
    if shape.one_or_many and shape.item is not None:
        return f"{_phrase(shape.item)}, or a list of such"
    if shape.short is not None:
        return f"{short_noun(shape)} (its {shape.short}) or {phrase}"
    return phrase


def short_noun(shape: Shape) -> str:
    """Say what the short form of a mapping is: "text", "a whole number"."""
    assert shape.cls is not None
    assert shape.short is not None
    below = fields_of(shape.cls)[shape.short].shape
    return below.parsed.expected.partition(" ")[0] if below.parsed is not None else _NOUNS[below.kind]


def _phrase(shape: Shape) -> str:
    if shape.kind in ("settings", "table", "tagged"):
        return _mapping_phrase(shape)
    words = ", ".join(word or "an empty text" for word in shape.words)
    if shape.kind == "text" and shape.words:
        return f"one of {words}" if len(shape.words) > 1 else words
    noun = shape.parsed.expected if shape.parsed is not None else _NOUNS[shape.kind]
    form = f"like {pattern.removeprefix('^').removesuffix('$')}" if (pattern := shape.rules.get("pattern")) else ""
    return " ".join(part for part in (noun, limits(shape.rules), form, f"or {words}" if words else "") if part)


def _mapping_phrase(shape: Shape) -> str:
    if shape.kind == "tagged":
        return f"one of {', '.join(shape.options)}, or a mapping with it as `type`"
    if shape.cls is None:
        item = shape.item
        values = _phrase(item) if item is not None and item.kind == "text" else "mappings"
        if item is not None and item.one_or_many and item.item is not None and item.item.kind == "text":
            values = f"{_phrase(item.item)}, or lists of such"
        return f"a mapping of names to {values}"
    keys = list(fields_of(shape.cls))
    phrase = f"a mapping with {', '.join(keys)}" if len(keys) <= 6 else f"a mapping with {', '.join(keys[:6])}, ..."
    return f"{phrase}, or {' or '.join(shape.words)}" if shape.words else phrase


def limits(rules: Mapping[str, Any]) -> str:
    """Say the bounds of a setting: "between 1 and 65535", "above 0 and at most 60"; "" without any."""
    low, above, high = rules.get("ge"), rules.get("gt"), rules.get("le")
    if low is not None and high is not None:
        return f"between {low} and {high}"
    parts = []
    if low is not None:
        parts.append(f"of {low} or more")
    if above is not None:
        parts.append(f"above {above}")
    if high is not None:
        parts.append(f"of at most {high}" if not parts else f"and at most {high}")
    if "min_length" in rules and "max_length" in rules:
        parts.append(f"of {rules['min_length']} to {rules['max_length']} characters")
    elif "min_length" in rules:
        parts.append("that is not empty")
    return " ".join(parts)
