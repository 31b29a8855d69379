"""YAML with positions: what is read, what is said when it cannot be, and that it stays in bounds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.config.tree import plain
from headgate.config.yaml_nodes import MAX_BYTES, MAX_DEPTH, Map, Scalar, Seq, read_value, read_yaml, typed
from tests.config.golden import ENVIRON, Case, cases, check_case


@pytest.mark.parametrize("case", cases("yaml_nodes"), ids=lambda case: case.title)
def test_says_what_is_wrong(case: Case) -> None:
    check_case(case)


def read(text: str) -> Any:
    root, wrong = read_yaml(text, "gw.yaml", ENVIRON)
    assert wrong == []
    assert root is not None
    return plain(root, None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("on", "on"),
        ("yes", "yes"),
        ("NO", "NO"),
        ("", None),
        ("~", None),
        ("Null", None),
        ("5", 5),
        ("-5", -5),
        ("010", "010"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("22:30", "22:30"),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1.2.3", "1.2.3"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("-", "-"),
        ("2026-11-21", "2026-11-21"),
        ("9" * 40, "9" * 40),
    ],
)
def test_scalars_hold_no_surprise(text: str, value: object) -> None:
    assert typed(text) == value
    assert type(typed(text)) is type(value)


def test_quoted_scalars_are_text() -> None:
    assert read("a: '5'\nb: \"true\"\nc: ''") == {"a": "5", "b": "true", "c": ""}


def test_variables_may_stand_in_flow_mappings() -> None:
    text = 'a: {b: ${NUMBER}, c: ${MISSING:-x, y: [z] # w}, d: "${WORD}!"} # ${NOT_READ}'
    assert read(text) == {"a": {"b": 8080, "c": "x, y: [z] # w", "d": "some secret text!"}}


def test_positions_count_from_one() -> None:
    root, _ = read_yaml("a: ${WORD}\nbc:\n  - {d: 1,   é: 2}\n", "gw.yaml", ENVIRON)
    assert isinstance(root, Map)
    items = root.items["bc"]
    assert isinstance(items, Seq)
    first = items.items[0]
    assert isinstance(first, Map)
    assert str(root.keys["bc"]) == "gw.yaml:2:1"
    assert str(first.at) == "gw.yaml:3:5"
    assert str(first.keys["é"]) == "gw.yaml:3:14"
    assert str(first.items["é"].at) == "gw.yaml:3:17"


def test_values_of_the_command_line_have_their_option_as_origin() -> None:
    node, wrong = read_value("[1, {a: b}]", "--set x", {})
    assert not wrong
    assert isinstance(node, Seq)
    assert str(node.items[1].at) == "--set x"


def test_anchors_and_merge_keys() -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [{y: 4}, *a]}\nd: *a\ne: {'<<': 1}"
    assert read(text) == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 3},
        "c": {"x": 1, "y": 4},
        "d": {"x": 1, "y": 2},
        "e": {"<<": 1},
    }


def said(text: str) -> str:
    root, wrong = read_yaml(text, "gw.yaml", {})
    assert root is None
    return wrong[-1].problem.message


def test_billion_laughs_are_counted_not_made() -> None:
    lines = ["a: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"b{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 12)]
    assert said("\n".join(lines)) == "more than 1,000,000 values, aliases included"


def test_depth_is_bounded() -> None:
    assert read("[" * MAX_DEPTH + "]" * MAX_DEPTH) is not None
    assert said("[" * 5000) == f"nested deeper than {MAX_DEPTH} levels"
    half = MAX_DEPTH // 2 + 1
    nested = f"a: &a {'[' * half}{']' * half}\nb: {'[' * half}*a{']' * half}"
    assert said(nested) == f"nested deeper than {MAX_DEPTH} levels"


def test_size_is_bounded() -> None:
    assert "larger than" in said("x" * (MAX_BYTES + 1))


def test_the_line_is_shown_with_a_caret() -> None:
    _, wrong = read_yaml("workers: 2\n  héllo: b: c\n", "gw.yaml", {})
    assert wrong[0].problem.excerpt.splitlines() == ["     2 |   héllo: b: c", "                ^"]


def test_a_line_that_may_hold_a_secret_is_not_shown() -> None:
    _, wrong = read_yaml("admin:\n  token: abc: def\n", "gw.yaml", {})
    assert wrong[0].problem.excerpt == ""


CHARACTERS = st.characters(
    codec="utf-8", exclude_categories=("Cc", "Cs", "Cn"), exclude_characters="$\ufeff\u2028\u2029"
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(CHARACTERS),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(CHARACTERS), inner),
    max_leaves=20,
)


@given(JSON)
def test_json_is_read_as_what_it_is(value: object) -> None:
    root, wrong = read_yaml(json.dumps(value, ensure_ascii=False), "gw.json", {})
    assert wrong == []
    assert root is not None
    assert plain(root, None) == value


@given(st.text() | st.text(alphabet="ab:-?[]{}&*!|>'\"%@`#,\n\t $<~01"))
def test_any_text_gives_a_tree_or_problems(text: str) -> None:
    root, wrong = read_yaml(text, "gw.yaml", {})
    assert root is None or isinstance(root, Scalar | Map | Seq)
    for problem, _ in wrong:
        assert "\n" not in str(problem)
