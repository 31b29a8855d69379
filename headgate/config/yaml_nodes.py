"""YAML to a tree of nodes that know where they were written.

Law: whatever the bytes, the outcome is a tree or problems, never another exception, in time and memory bounded by
MAX_BYTES, MAX_NODES (aliases counted as often as they are used) and MAX_DEPTH.

Only `true` and `false` are booleans: `on`, `yes` and `no` stay text, `22:30` is no number and `010` is not eight.
A scalar keeps its text beside its value, because only the setting it belongs to knows which of the two is meant.
JSON is read as the subset of YAML that it nearly is (a pair of escaped surrogates is refused: write the character).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import yaml

from headgate.config.environment import BadVariable, Declared, expand, hide, names_family, show, whole_variable
from headgate.config.problems import Origin, Problem, sounds_secret, without_url_secrets

MAX_BYTES = 16 * 1024 * 1024
MAX_NODES = 1_000_000
MAX_DEPTH = 64

_UNPRINTABLE = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,30})", re.ASCII)
_NUMBER = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]{0,30})(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?", re.ASCII)
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}


# Letters and digits mixed, and too long for a name.
_LIKE_A_SECRET = re.compile(r"(?=[\w+/=.-]*[0-9])(?=[\w+/=.-]*[A-Za-z])[\w+/=.-]{12,}")

# The value of a scalar with a variable that is not set.
UNSET: Any = object()
# The variables of a text that waits for a for_each to say which ones they are.
FAMILY = ("*",)


class Scalar:
    """A leaf: its text, the value that YAML sees in it, the variables that are part of it, and those that chose it."""

    __slots__ = ("at", "chosen_by", "env", "text", "value")

    def __init__(self, text: str, value: Any, at: Origin, env: tuple[str, ...] = ()) -> None:
        self.text = text
        self.value = value
        self.at = at
        self.env = env
        self.chosen_by: tuple[str, ...] = ()


class Map:
    """A mapping; `keys` says where each key stands. `damaged`: something wrong was taken out of it."""

    __slots__ = ("at", "damaged", "items", "keys")

    def __init__(self, items: dict[str, Node], keys: dict[str, Origin], at: Origin, damaged: bool = False) -> None:
        self.items = items
        self.keys = keys
        self.at = at
        self.damaged = damaged


class Seq:
    """A list, and the variables that chose it. `damaged`: something wrong was taken out of it."""

    __slots__ = ("at", "chosen_by", "damaged", "items")

    def __init__(self, items: list[Node], at: Origin, damaged: bool = False) -> None:
        self.items = items
        self.at = at
        self.damaged = damaged
        self.chosen_by: tuple[str, ...] = ()


Node = Scalar | Map | Seq


class Wrong(NamedTuple):
    """A problem, and the position of the key or value whose path it has; None when the document is unreadable."""

    problem: Problem
    near: Origin | None = None


def read_yaml(text: str, source: str, environ: Mapping[str, str] | None) -> tuple[Node | None, list[Wrong]]:
    """Read one YAML document; positions count from 1. None when it is empty or cannot be read at all.

    Without `environ` its variables stay as they are written.
    """
    return _read(text, source, lambda mark: Origin(source, mark.line + 1, mark.column + 1), environ)


def read_value(text: str, source: str, environ: Mapping[str, str]) -> tuple[Node | None, list[Wrong]]:
    """Read one YAML value of the command line; all of it has the origin `source`."""
    origin = Origin(source)
    return _read(text, source, lambda _mark: origin, environ)


def _read(
    text: str, source: str, origin: Callable[[Any], Origin], environ: Mapping[str, str] | None
) -> tuple[Node | None, list[Wrong]]:
    if len(text) > MAX_BYTES:
        return None, [Wrong(Problem(Origin(source), "", f"the text is larger than {MAX_BYTES // 1024 // 1024} MiB"))]
    unprintable = _UNPRINTABLE.search(text)
    if unprintable is not None:
        at = Origin(source, *_line_and_column(text, unprintable.start()))
        message = f"the control character U+{ord(unprintable[0]):04X} is not allowed in YAML"
        return None, [Wrong(Problem(at, "", message))]
    composer = _Composer(text, origin, environ)
    try:
        return composer.document(), composer.wrong
    except _Refused as refused:
        return None, [*composer.wrong, Wrong(refused.problem)]
    except yaml.MarkedYAMLError as error:
        return None, [*composer.wrong, Wrong(_syntax_problem(error, text, origin))]


class _Refused(Exception):
    """The document goes beyond a bound or outside our YAML; nothing after it is read."""

    def __init__(self, at: Origin, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.problem = Problem(at, "", message, hint)


class _Composer:
    """Compose the tree of one document from the parser's events."""

    __slots__ = ("_anchors", "_count", "_deepest", "_environ", "_next", "_origin", "_shift", "wrong")

    def __init__(self, text: str, origin: Callable[[Any], Origin], environ: Mapping[str, str] | None) -> None:
        hidden, self._shift = hide(text)
        self._next: Callable[[], Any] = yaml.CSafeLoader(hidden).get_event
        self._origin = origin
        self._environ = environ
        # Of every anchor its node, the values in it and its height: an alias costs as much as writing it out.
        self._anchors: dict[str, tuple[Node, int, int]] = {}
        self._count = 0
        self._deepest = 0
        self.wrong: list[Wrong] = []

    def document(self) -> Node | None:
        self._next()
        event = self._next()
        if type(event) is yaml.StreamEndEvent:
            return None
        event = self._next()
        root = self._node(event, 0)
        self._next()
        event = self._next()
        if type(event) is not yaml.StreamEndEvent:
            raise _Refused(self._origin(event.start_mark), "a second document begins here", "write one file for each")
        return root

    def _node(self, event: Any, depth: int) -> Node:
        kind = type(event)
        if kind is yaml.AliasEvent:
            return self._alias(event, depth)
        if event.tag is not None and event.tag != "!":
            at = self._origin(event.start_mark)
            # What begins with ! or * may be a password that misses its quotes, so it is not repeated.
            raise _Refused(at, "a tag is not supported", "put text in quotes instead of tagging it")
        before, deepest = self._count, self._deepest
        self._deepest = depth
        self._grow(1, depth, event)
        node: Node
        if kind is yaml.ScalarEvent:
            node = self._scalar(event)
        elif kind is yaml.MappingStartEvent:
            node = self._mapping(event, depth + 1)
        else:
            node = self._sequence(event, depth + 1)
        if event.anchor is not None:
            self._anchors[event.anchor] = node, self._count - before, self._deepest - depth
        self._deepest = max(self._deepest, deepest)
        return node

    def _grow(self, by: int, depth: int, event: Any) -> None:
        if depth > MAX_DEPTH:
            raise _Refused(self._origin(event.start_mark), f"nested deeper than {MAX_DEPTH} levels")
        self._count += by
        if self._count > MAX_NODES:
            raise _Refused(self._origin(event.start_mark), f"more than {MAX_NODES:,} values, aliases included")

    def _alias(self, event: Any, depth: int) -> Node:
        known = self._anchors.get(event.anchor)
        if known is None:
            message = "this refers to an anchor that is not defined above"
            raise _Refused(self._origin(event.start_mark), message, "put text that begins with * in quotes")
        node, size, height = known
        self._grow(size, depth + height, event)
        self._deepest = max(self._deepest, depth + height)
        return node

    def _scalar(self, event: Any) -> Scalar | Seq:
        text = show(event.value, self._shift)
        at = self._origin(event.start_mark)
        if "$" in text and self._environ is not None:
            try:
                return substituted(text, event.implicit[0], at, self._environ)
            except BadVariable as error:
                self.wrong.append(Wrong(Problem(at, "", str(error)), at))
                return Scalar(text, UNSET, at)
        return Scalar(text, typed(text) if event.implicit[0] else text, at)

    def _sequence(self, event: Any, depth: int) -> Seq:
        items = []
        while type(item := self._next()) is not yaml.SequenceEndEvent:
            items.append(self._node(item, depth))
        return Seq(items, self._origin(event.start_mark))

    def _mapping(self, event: Any, depth: int) -> Map:
        items: dict[str, Node] = {}
        keys: dict[str, Origin] = {}
        merged: list[tuple[Origin, Node]] = []
        while type(key_event := self._next()) is not yaml.MappingEndEvent:
            at = self._origin(key_event.start_mark)
            if type(key_event) is not yaml.ScalarEvent:
                raise _Refused(at, "a key must be plain text", "did a value with { or [ miss its quotes?")
            key = show(key_event.value, self._shift)
            value = self._node(self._next(), depth)
            if key == "<<" and key_event.implicit[0]:
                merged.append((at, value))
            elif key in items:
                problem = Problem(at, "", "the key stands here twice", f"first at {keys[key]}")
                self.wrong.append(Wrong(problem, keys[key]))
            else:
                items[key] = value
                keys[key] = at
        node = Map(items, keys, self._origin(event.start_mark))
        for at, value in merged:
            self._merge_key(node, value, at)
        return node

    def _merge_key(self, node: Map, value: Node, at: Origin) -> None:
        for source in value.items if isinstance(value, Seq) else [value]:
            if not isinstance(source, Map):
                raise _Refused(at, "<< takes a mapping or a list of mappings")
            for key, item in source.items.items():
                if key not in node.items:
                    node.items[key] = item
                    node.keys[key] = source.keys[key]


def size_of(node: Node) -> int:
    """Return how many values there are in a node, itself included."""
    if isinstance(node, Scalar):
        return 1
    return 1 + sum(map(size_of, node.items.values() if isinstance(node, Map) else node.items))


def substituted(text: str, plain: bool, at: Origin, environ: Mapping[str, str]) -> Scalar | Seq:
    """Return what a text with variables stands for; `plain`: it stood without quotes.

    Raises:
        BadVariable: as `expand`.
    """
    if names_family(text):
        return Scalar(text, text, at, FAMILY)
    whole = whole_variable(text) if isinstance(environ, Declared) else None
    if whole is not None and isinstance(environ, Declared) and (value := environ.value_of(whole[0])) is not None:
        env = (whole[0],)
        texts = value.texts or tuple(filter(None, (whole[1],)))
        if value.many:
            return Seq([Scalar(each, each, at, env) for each in texts], at)
        if not texts:
            return Scalar("", None, at, env)
        return Scalar(texts[0], texts[0] if value.words else typed(texts[0]), at, env)
    text, names = expand(text, environ)
    return Scalar(text, typed(text) if plain else text, at, names)


def typed(text: str) -> Any:
    """Return the value YAML sees in plain text: None, bool, int, float, or the text itself."""
    if len(text) > 48:
        return text
    if text[:1] in "-+.0123456789" and text:
        if _INTEGER.fullmatch(text):
            return int(text)
        return float(text) if _NUMBER.fullmatch(text) else text
    return _WORDS.get(text.lower(), text)


# -- what people read when the syntax is wrong ------------------------------------------------------------------

_SENTENCES = {
    "mapping values are not allowed in this context": (
        "a ':' does not belong here",
        "check the indentation, or put text that holds ': ' in quotes",
    ),
    "did not find expected key": ("expected a key here", "check the indentation of this line and the one above"),
    "did not find expected '-' indicator": (
        "expected another '- ' item of the list here",
        "check the indentation of this line and the ones above",
    ),
    "could not find expected ':'": ("expected 'key: value' here", "is a ':' missing, or the indentation wrong?"),
    "did not find expected node content": ("expected a value here", "is a bracket not closed?"),
    "found unknown directive name": ("text cannot begin with %", "put it in quotes"),
    "found invalid Unicode character escape code": ("this escape is no character", "write the character itself"),
    "found unexpected end of stream": ("the file ends inside of quotes", ""),
    "did not find expected <document start>": ("expected the end of the file here", "check the indentation"),
    "did not find expected alphabetic or numeric character": (
        "'*' and '&' mean aliases and anchors in YAML",
        "put the text in quotes",
    ),
}


def _syntax_problem(error: yaml.MarkedYAMLError, text: str, origin: Callable[[Any], Origin]) -> Problem:
    mark = error.problem_mark or error.context_mark
    problem = error.problem or "cannot be read"
    lines = re.split("\r\n|[\r\n\x85\u2028\u2029]", text)
    number = mark.line if mark is not None else 0
    line = lines[number] if mark is not None and number < len(lines) else ""
    character = line[mark.column : mark.column + 1] if mark is not None else ""
    message, hint = _SENTENCES.get(problem, (problem, ""))
    if problem == "found character that cannot start any token":
        if character == "\t":
            message, hint = "a tab stands where indentation is expected", "indent with spaces"
        else:
            message, hint = f"text cannot begin with {character}", "put it in quotes"
    elif error.context_mark is not None and problem.startswith(
        ("did not find expected ',' or", "found unexpected end")
    ):
        opened = f"opened at {error.context_mark.line + 1}:{error.context_mark.column + 1}"
        if problem.startswith("found"):
            hint = f"the quote is {opened}"
        else:
            message = f"expected ',' or '{problem[-2]}' here: a bracket {opened} is not closed"
    at = origin(mark)
    return Problem(
        at, "", f"not valid YAML: {message}", hint, excerpt=_excerpt(lines, number, at) if at.line and line else ""
    )


def _excerpt(lines: list[str], place: int, at: Origin) -> str:
    line = lines[place]
    # What may be secret is not repeated on a terminal or in a log: by the line, or by one that it stands under.
    if not line.strip() or any(map(sounds_secret, _above(lines, place))) or without_url_secrets(line) != line:
        return ""
    start = max(0, at.column - 80)
    shown = _LIKE_A_SECRET.sub(lambda match: "*" * len(match[0]), line)[start : start + 120].replace("\t", " ")
    number = f"{at.line:>6} | "
    return f"{number}{shown}\n{' ' * (len(number) + at.column - 1 - start)}^"


def _above(lines: list[str], place: int) -> Iterator[str]:
    """Yield a line, the last one before it, and those that it stands under by indentation."""
    yield lines[place]
    least, first = _indentation(lines[place]), True
    for line in reversed(lines[:place]):
        if line.strip():
            if first or _indentation(line) < least:
                yield line
                least = min(least, _indentation(line))
            first = False


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))


def _line_and_column(text: str, index: int) -> tuple[int, int]:
    before = text[:index]
    return before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1
