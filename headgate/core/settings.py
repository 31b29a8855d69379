"""How a part states its settings: once, beside the part, with default, bounds and one sentence of help.

Law: standard library only. A settings class is a frozen, slotted dataclass, so a worker can receive it without
the validation library; the configuration floor builds validator, JSON Schema and reference page from it.
The markers below (short forms, units, tags) speak to the library through its documented hooks, which take
plain dictionaries: nothing has to be imported for them here.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar, dataclass_transform

T = TypeVar("T")

_DURATION = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*(ms|s|m|h|d)?", re.ASCII)
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION_EXPECTED = "seconds (a number, or text such as 500ms, 30s, 5m, 1h)"
_SIZE = re.compile(r"(\d{1,15})\s*(B|kB|KB|KiB|MB|MiB|GB|GiB)?", re.ASCII)
_SIZE_UNITS = {
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "KiB": 1024,
    "MB": 1000**2,
    "MiB": 1024**2,
    "GB": 1000**3,
    "GiB": 1024**3,
}
_SIZE_EXPECTED = "bytes (a whole number, or text such as 64KiB, 10MiB, 1GB)"


def setting(default: Any = dataclasses.MISSING, *, help: str, **rules: Any) -> Any:  # noqa: A002
    """Declare one setting: `default` (a callable makes it anew), a sentence of `help`, and `rules` such as ge, le.

    `aliases=("other_name",)` names further spellings that the loader accepts; `secret=True` keeps the value out of
    every error and dump, and out of the repr; `repr=False` only out of the repr, where it may hold something secret.
    """
    shown = rules.pop("repr", not rules.get("secret", False))
    extra = {name: rules.pop(name) for name in ("aliases", "secret") if name in rules}
    metadata = {"description": help, **rules}
    if extra:
        metadata["json_schema_extra"] = extra
    if default is not dataclasses.MISSING and callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata, repr=shown)
    return dataclasses.field(default=default, metadata=metadata, repr=shown)


@dataclass_transform(field_specifiers=(setting,), kw_only_default=True, frozen_default=True)
def settings(cls: type[T]) -> type[T]:
    """Make `cls` a frozen keyword-only dataclass whose unknown keys are errors when it is loaded from a file."""
    made = dataclasses.dataclass(frozen=True, slots=True, kw_only=True)(cls)
    made.__pydantic_config__ = {"extra": "forbid"}  # type: ignore[attr-defined]
    return made


class Short:
    """Accept a bare scalar for a mapping: `path: /x` stands for `path: {prefix: /x}`."""

    __slots__ = ("key", "kinds")

    def __init__(self, key: str, *kinds: type) -> None:
        self.key = key
        self.kinds = kinds or (str,)

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        return _before(self._expand, handler(source))

    def _expand(self, value: Any) -> Any:
        return {self.key: value} if isinstance(value, self.kinds) else value


class OneOrMany:
    """Accept one item where a list is expected: `method: GET` stands for `method: [GET]`."""

    __slots__ = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        return _before(lambda value: value if isinstance(value, list) else [value], handler(source))


class Tagged:
    """Choose a settings class by the key `type`; a bare string names the type alone."""

    __slots__ = ("choices",)

    def __init__(self, choices: Mapping[str, type]) -> None:
        self.choices = choices

    def __get_pydantic_core_schema__(self, _source: Any, handler: Any) -> Any:
        union = {
            "type": "tagged-union",
            "discriminator": "type",
            "choices": {name: handler.generate_schema(cls) for name, cls in self.choices.items()},
        }
        return _before(lambda value: {"type": value} if isinstance(value, str) else value, union)


class Parsed:
    """Read a scalar through `parse`, which raises ValueError for what is not `expected`, a phrase for people."""

    __slots__ = ("expected", "json_type", "parse")

    def __init__(self, parse: Callable[[Any], Any], json_type: Mapping[str, Any], expected: str) -> None:
        self.parse = parse
        self.json_type = json_type
        self.expected = expected

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        return _before(self.parse, handler(source))


class Between:
    """Bound the numbers of a type that takes words too, which the rules of a setting would be held against."""

    __slots__ = ("highest", "lowest")

    def __init__(self, lowest: int, highest: int) -> None:
        self.lowest = lowest
        self.highest = highest

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        return {**handler(source), "ge": self.lowest, "le": self.highest}


def _before(function: Callable[[Any], Any], schema: Any) -> dict[str, Any]:
    return {
        "type": "function-before",
        "function": {"type": "no-info", "function": function},
        "schema": schema,
    }


def parse_duration(value: Any) -> Any:
    """Read seconds from a number or from text such as `500ms`, `30s`, `5m`, `1h`.

    Raises:
        ValueError: for any other text.
    """
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip())
    if not match:
        raise ValueError(f"expected {_DURATION_EXPECTED}")
    return float(match[1]) * _DURATION_UNITS[match[2] or "s"]


def parse_size(value: Any) -> Any:
    """Read bytes from an integer or from text such as `64KiB`, `10MiB`, `1GB`.

    Raises:
        ValueError: for any other text.
    """
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if not match:
        raise ValueError(f"expected {_SIZE_EXPECTED}")
    return int(match[1]) * _SIZE_UNITS[match[2] or "B"]


# The same two, as JSON Schema writes them.
_DURATION_TEXT = r"^\s*\d{1,15}(\.\d{1,9})?\s*(ms|s|m|h|d)?\s*$"
_SIZE_TEXT = r"^\s*\d{1,15}\s*(B|kB|KB|KiB|MB|MiB|GB|GiB)?\s*$"

Seconds = Annotated[
    float,
    Parsed(
        parse_duration,
        {"anyOf": [{"type": "number"}, {"type": "string", "pattern": _DURATION_TEXT}]},
        _DURATION_EXPECTED,
    ),
]
Bytes = Annotated[
    int,
    Parsed(parse_size, {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": _SIZE_TEXT}]}, _SIZE_EXPECTED),
]
