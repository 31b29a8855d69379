"""Configurations of plugins, read into what they declare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from headgate.plugin import Bytes, Seconds, setting, settings
from headgate.plugin.typed import UnknownType, Wrong, read


@dataclass
class Inner:
    host: str
    port: int = 80


@dataclass(frozen=True)
class Outer:
    text: str
    whole: int = 1
    number: float = 1.0
    flag: bool = False
    mode: Literal["a", "b", 3] = "a"
    maybe: str | None = None
    either: int | list[int] = 0
    texts: list[str] = field(default_factory=list)
    several: tuple[int, ...] = ()
    names: frozenset[str] = frozenset()
    row: Sequence[Any] = ()
    table: dict[str, float] = field(default_factory=dict)
    inner: Inner | None = None
    inners: Mapping[str, Inner] = field(default_factory=dict)
    free: Any = None
    anything: dict = field(default_factory=dict)  # type: ignore[type-arg]
    made: int = field(default=0, init=False)


@settings
class Bounded:
    """Declared as the gateway's own settings are."""

    size: Bytes = setting(default=1, help="A size.", ge=1, le=1024)
    wait: Seconds = setting(default=1.0, help="A wait.", gt=0)
    name: str = setting(default="abc", help="A name.", min_length=2, max_length=4, pattern="^[a-z]+$")


def test_everything_that_a_plugin_may_declare() -> None:
    data = {
        "text": "t",
        "whole": 2,
        "number": 2,
        "flag": True,
        "mode": 3,
        "maybe": "m",
        "either": [1, 2],
        "texts": ["a"],
        "several": [1, 2],
        "names": ["a", "a"],
        "row": [1, "a"],
        "table": {"a": 1},
        "inner": {"host": "h"},
        "inners": {"x": {"host": "h", "port": 1}},
        "free": {"a": [1]},
        "anything": {"b": None},
    }
    wrong: list[Wrong] = []
    made = read(Outer, data, (), wrong)
    assert wrong == []
    assert made == Outer(
        text="t",
        whole=2,
        number=2.0,
        flag=True,
        mode=3,
        maybe="m",
        either=[1, 2],
        texts=["a"],
        several=(1, 2),
        names=frozenset("a"),
        row=[1, "a"],
        table={"a": 1.0},
        inner=Inner("h"),
        inners={"x": Inner("h", 1)},
        free={"a": [1]},
        anything={"b": None},
    )
    assert type(made.number) is float


def test_an_empty_value_is_as_if_not_written() -> None:
    wrong: list[Wrong] = []
    assert read(Outer, {"text": "t", "whole": None, "texts": None, "maybe": None}, (), wrong) == Outer(text="t")
    assert wrong == []


@pytest.mark.parametrize(
    ("data", "at", "says"),
    [
        ([], (), "expected a mapping, got a list"),
        (None, (), "expected a mapping, got nothing"),
        ({}, ("text",), "is required and missing"),
        ({"text": None}, ("text",), "expected text, got nothing"),
        ({"text": "t", "other": 1}, ("other",), "unknown key"),
        ({"text": 12345}, ("text",), "expected text, got a whole number; write it in quotes"),
        ({"text": True}, ("text",), "expected text, got true or false; write it in quotes"),
        ({"text": "t", "whole": "1"}, ("whole",), "expected a whole number, got text"),
        ({"text": "t", "whole": True}, ("whole",), "expected a whole number, got true or false"),
        ({"text": "t", "whole": 1.5}, ("whole",), "expected a whole number, got a number"),
        ({"text": "t", "number": "x"}, ("number",), "expected a number, got text"),
        ({"text": "t", "flag": 1}, ("flag",), "expected true or false, got a whole number"),
        ({"text": "t", "mode": "c"}, ("mode",), "expected one of a, b, 3"),
        ({"text": "t", "mode": "3"}, ("mode",), "expected one of a, b, 3"),
        ({"text": "t", "maybe": 1}, ("maybe",), "expected text, got a whole number; write it in quotes"),
        ({"text": "t", "either": "x"}, ("either",), "expected a whole number, got text; or expected a list, got text"),
        ({"text": "t", "texts": "a"}, ("texts",), "expected a list, got text"),
        ({"text": "t", "texts": ["a", 1]}, ("texts", 1), "expected text, got a whole number; write it in quotes"),
        ({"text": "t", "table": {"a": "b"}}, ("table", "a"), "expected a number, got text"),
        ({"text": "t", "table": []}, ("table",), "expected a mapping, got a list"),
        ({"text": "t", "inner": {}}, ("inner", "host"), "is required and missing"),
        ({"text": "t", "inners": {"x": {"host": 1}}}, ("inners", "x", "host"), "expected text, got a whole number"),
        ({"text": "t", "made": 1}, ("made",), "unknown key"),
    ],
)
def test_what_is_wrong_is_said_at_its_place(data: Any, at: tuple[str | int, ...], says: str) -> None:
    wrong: list[Wrong] = []
    assert read(Outer, data, ("config",), wrong) is None
    assert [each.at for each in wrong] == [("config", *at)]
    assert wrong[0].message.startswith(says)


def test_everything_wrong_is_found_at_once() -> None:
    wrong: list[Wrong] = []
    read(Outer, {"whole": "a", "flag": "b", "tetx": "c"}, (), wrong)
    assert [each.at for each in wrong] == [("tetx",), ("text",), ("whole",), ("flag",)]
    assert "text" in wrong[0].known


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"size": "2KiB"}, "expected at most 1024"),
        ({"size": 0}, "expected 1 or more"),
        ({"size": "many"}, "expected bytes"),
        ({"wait": 0}, "expected more than 0"),
        ({"wait": "soon"}, "expected seconds"),
        ({"name": "a"}, "expected text of at least 2 characters"),
        ({"name": "abcde"}, "expected text of at most 4 characters"),
        ({"name": "AB"}, "expected text of the form"),
    ],
)
def test_bounds_of_settings_hold(data: Any, says: str) -> None:
    wrong: list[Wrong] = []
    assert read(Bounded, data, (), wrong) is None
    assert wrong[0].message.startswith(says)
    wrong.clear()
    assert read(Bounded, {"size": "1KiB", "wait": "500ms"}, (), wrong) == Bounded(size=1024, wait=0.5)


def test_what_a_class_refuses_is_said_in_its_words() -> None:
    @dataclass
    class Picky:
        a: Any = 1

        def __post_init__(self) -> None:
            raise ValueError("a is never right")

    wrong: list[Wrong] = []
    assert read(Picky, {}, ("config",), wrong) is None
    assert wrong == [Wrong(("config",), "a is never right")]


def test_types_that_no_configuration_can_give_are_the_authors_mistake() -> None:
    @dataclass
    class Odd:
        a: complex = 1j

    with pytest.raises(UnknownType, match="a is declared as"):
        read(Odd, {"a": 1}, (), [])

    @dataclass
    class Fixed:
        a: tuple[int, str] = (1, "a")

    with pytest.raises(UnknownType, match="tuple of fixed length"):
        read(Fixed, {"a": [1, "a"]}, (), [])


def test_no_sentence_holds_a_value() -> None:
    wrong: list[Wrong] = []
    read(Outer, {"whole": "hunter2hunter2", "mode": "hunter2", "inner": "hunter2", "text": 31337}, (), wrong)
    assert len(wrong) == 4
    assert not [each for each in wrong if "hunter2" in each.message or "31337" in each.message]
