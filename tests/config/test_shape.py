"""The shape of the language, as it is read from settings classes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest

from headgate.config.schema import Config
from headgate.config.shape import Shape, expected, fields_of, limits, spellings_of
from headgate.core.settings import Bytes, OneOrMany, Seconds, Short, Tagged, setting, settings


@settings
class Inner:
    """An inner block."""

    path: str = setting(default="/", help="A path.")
    type: Literal["inner"] = setting(default="inner", help="The type.")


@settings
class Outer:
    """An outer block."""

    name: str = setting(help="A name.", min_length=1)
    count: int | Literal["auto"] = setting(default="auto", help="A count.", union_mode="left_to_right")
    ratio: float | None = setting(default=None, help="A ratio.", ge=0, le=1)
    wait: Seconds = setting(default=1.0, help="A wait.", gt=0, le=60, aliases=("delay", "pause"))
    size: Bytes = setting(default=1, help="A size.", ge=1)
    mode: Literal["a", "b"] = setting(default="a", help="A mode.")
    hosts: Annotated[list[str], OneOrMany()] = setting(default=list, help="Hosts.")
    inner: Annotated[Inner | None, Short("path")] = setting(default=None, help="A block.")
    inners: dict[Literal["x", "y"], Annotated[Inner, Short("path")]] = setting(default=dict, help="Blocks.")
    choice: Annotated[Any, Tagged({"inner": Inner})] = setting(default=None, help="A choice.")
    secret: str = setting(default="", help="A secret.", secret=True)
    free: Any = setting(default=None, help="Anything.")


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("name", "text that is not empty"),
        ("count", "a whole number or auto"),
        ("ratio", "a number between 0 and 1"),
        ("wait", "seconds (a number, or text such as 500ms, 30s, 5m, 1h) above 0 and at most 60"),
        ("size", "bytes (a whole number, or text such as 64KiB, 10MiB, 1GB) of 1 or more"),
        ("mode", "one of a, b"),
        ("hosts", "text, or a list of such"),
        ("inner", "text (its path) or a mapping with path, type"),
        ("inners", "a mapping of names to mappings"),
        ("choice", "one of inner, or a mapping with it as `type`"),
        ("free", "any value"),
    ],
)
def test_expected(name: str, phrase: str) -> None:
    assert expected(fields_of(Outer)[name].shape) == phrase


def test_fields_know_defaults_aliases_and_secrets() -> None:
    fields = fields_of(Outer)
    assert fields["name"].required
    assert (fields["wait"].required, fields["wait"].default) == (False, 1.0)
    assert fields["secret"].secret
    assert not fields["name"].secret
    assert spellings_of(Outer) == {"delay": "wait", "pause": "wait"}
    assert fields["ratio"].shape.nullable
    assert fields["inners"].shape.words == ("x", "y")


def test_limits_alone() -> None:
    assert limits({"le": 5}) == "of at most 5"
    assert limits({}) == ""


def all_classes(shape: Shape, seen: set[type]) -> set[type]:
    for each in (shape, shape.item, *(Shape("settings", cls=cls) for cls in shape.options.values())):
        if each is not None and each.cls is not None and each.cls not in seen:
            seen.add(each.cls)
            for field in fields_of(each.cls).values():
                all_classes(field.shape, seen)
    return seen


def test_every_setting_of_the_language_is_described() -> None:
    classes = all_classes(Shape("settings", cls=Config), set())
    assert len(classes) > 25
    assert len({cls.__name__ for cls in classes}) == len(classes), "names of blocks are names in the schema"
    for cls in classes:
        assert cls.__doc__, cls
        for field in fields_of(cls).values():
            assert field.help.endswith("."), f"{cls.__name__}.{field.name}"
