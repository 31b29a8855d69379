"""Declared variables: each type reads what it should and refuses the rest, by the variable's name without its value."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headgate.config.environment import Value
from headgate.config.language import Variable
from headgate.config.variables import MOST_SECRET, Variables


def read(variable: Variable, text: str) -> tuple[str, ...] | None:
    """Read a text as the variable V; None when it is refused."""
    variables = Variables({"V": variable}, {"V": text})
    value = variables.value_of("V")
    assert value is not None
    for problem in variables.problems:
        assert str(problem).startswith("environment: error: V: ")
        assert text not in str(problem)
    return None if variables.problems else value.texts


@pytest.mark.parametrize(
    ("kind", "text", "wanted"),
    [
        ("text", " as it is ", (" as it is ",)),
        ("bool", "True", ("true",)),
        ("bool", "on", ("true",)),
        ("bool", "1", ("true",)),
        ("bool", "No", ("false",)),
        ("bool", "ja!", None),
        ("int", " 0042 ", ("42",)),
        ("int", "4.20", None),
        ("int", "9" * 19, None),
        ("number", "0.250", ("0.25",)),
        ("number", "1e9x", None),
        ("duration", "30", ("30",)),
        ("duration", "500ms", ("0.5",)),
        ("bool", "T", ("true",)),
        ("bool", "f", ("false",)),
        ("duration", "1h30m", ("5400",)),
        ("duration", "+.5s1.ms", ("0.501",)),
        ("duration", "1m0.5s250us", ("60.50025",)),
        ("duration", "5 weeks", None),
        ("size", "16MiB", ("16777216",)),
        ("size", "many", None),
        ("list", "a, b ,,c", ("a", "b", "c")),
        ("list", '["a", "b,c"]', ("a", "b,c")),
        ("list", '["a", 1111]', None),
        ("list", "[broken", None),
        ("url", "http://host:8000/x", ("http://host:8000/x",)),
        ("url", "elsewhere:8000", None),
        ("url", "http://host:eighty", None),
    ],
)
def test_a_type_reads_its_texts(kind: str, text: str, wanted: tuple[str, ...] | None) -> None:
    assert read(Variable(type=kind), text) == wanted  # type: ignore[arg-type]


def test_an_enum_is_compared_without_case_and_spelt_as_declared() -> None:
    level = Variable(type="enum", values=["DEBUG", "INFO"], default="info")
    assert read(level, "debug") == ("DEBUG",)
    assert read(level, "verbose") is None
    assert Variables({"V": level}, {}).value_of("V") == Value(("INFO",), False, False, words=True)


def test_an_empty_variable_is_none() -> None:
    value = Variables({"V": Variable(type="int", default=7)}, {"V": ""}).value_of("V")
    assert value == Value(("7",), False, False)


def test_its_own_name_goes_before_other_names() -> None:
    table = {"TIMEOUT": Variable(type="int", aliases=["OLD", "OLDER"])}
    both = Variables(table, {"OLD": "2", "OLDER": "1"})
    assert both["TIMEOUT"] == both["OLD"] == both["OLDER"] == "2"
    assert Variables(table, {"OLDER": "1", "TIMEOUT": "3"})["OLD"] == "3"


def test_only_secrets_come_from_files(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("hidden\n")
    table = {"KEY": Variable(secret=True), "NAME": Variable()}
    variables = Variables(table, {"KEY_FILE": str(file), "NAME_FILE": str(file)})
    assert variables["KEY"] == "hidden"
    assert variables["NAME"] == ""
    assert Variables(table, {"KEY": "own", "KEY_FILE": str(file)})["KEY"] == "own"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff", b"x" * (MOST_SECRET + 1)])
def test_a_file_that_holds_no_secret_is_refused_by_the_variable(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    variables = Variables({"KEY": Variable(secret=True)}, {"KEY_FILE": str(file)})
    (problem,) = variables.problems
    assert problem.message.startswith("KEY_FILE: the file ")


def test_a_pipe_that_nobody_writes_into_stops_nothing(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (problem,) = Variables({"KEY": Variable(secret=True)}, {"KEY_FILE": str(pipe)}).problems
    assert problem.message == "KEY_FILE: the file cannot be read: it is a pipe"


def test_no_depth_of_a_list_is_too_much() -> None:
    (problem,) = Variables({"LIST": Variable(type="list")}, {"LIST": "[" * 100_000}).problems
    assert problem.message.startswith("LIST: expected a JSON list")


def test_a_family_has_the_members_that_are_set() -> None:
    table = {"UPSTREAM_*_URLS": Variable(type="list"), "UPSTREAM_*_WEIGHTS": Variable(default="1")}
    variables = Variables(table, {"UPSTREAM_B_URLS": "http://b", "UPSTREAM_A_C_URLS": "x,y", "UPSTREAM_D_URLS": ""})
    assert variables.members("UPSTREAM_*_URLS") == ["A_C", "B"]
    assert variables["UPSTREAM_A_C_URLS"] == "x,y"
    assert variables["UPSTREAM_B_WEIGHTS"] == "1"


def test_of_a_family_every_value_is_read() -> None:
    table = {"UPSTREAM_*_INTERVAL": Variable(type="duration", default="10s")}
    variables = Variables(table, {"UPSTREAM_CHAT_INTERVAL": "soon", "UPSTREAM_FILES_INTERVAL": "5s"})
    assert [str(problem) for problem in variables.problems] == [
        "environment: error: UPSTREAM_CHAT_INTERVAL: expected seconds, or text such as 500ms, 30s, 5m, 1h30m"
    ]
    assert variables.value_of("DOWNSTREAM_B_URLS") is None


def test_only_a_users_own_file_may_use_what_nobody_declared() -> None:
    variables = Variables({"KNOWN": Variable(default="1")}, {"OTHER": "2"})
    assert (variables.get("KNOWN"), variables.get("OTHER")) == ("1", "2")
    assert (variables.closed().get("KNOWN"), variables.closed().get("OTHER")) == ("1", None)
    assert set(variables) == {"KNOWN", "OTHER"}
    assert set(variables.closed()) == {"KNOWN"}


def test_small_letters_stand_for_a_name_that_is_not_set() -> None:
    table = {"PORT": Variable(type="int", default=1), "KEY": Variable(secret=True), "AT_*_URL": Variable()}

    def texts(name: str, environ: dict[str, str]) -> tuple[str, ...]:
        value = Variables(table, environ).value_of(name)
        assert value is not None
        return value.texts

    assert texts("PORT", {"port": "2"}) == texts("PORT", {"Port": "2", "PORT": ""}) == ("2",)
    assert texts("PORT", {"port": "2", "PORT": "3"}) == ("3",)
    assert texts("AT_CHAT_URL", {"at_chat_url": "x"}) == ("x",)
    assert Variables(table, {"at_chat_url": "x"}).members("AT_*_URL") == ["CHAT"]
    assert Variables(table, {"key_file": "/none"}).unread == {"KEY"}


def test_what_nobody_declared_is_used_by_its_own_letters() -> None:
    variables = Variables({}, {"zone": "a"})
    assert variables["zone"] == "a"
    assert "ZONE" not in variables
