"""The body of an own endpoint, made from the record of its view by what the operator wrote.

A mapping or a list is made part by part: a text that is one expression in {{ }} becomes the value of that expression,
of any type, any other text a text; a key or an item whose value is absent vanishes. A body that is one text becomes a
text, with {% for %} and {% if %} too.

Laws: Jinja's sandbox, and of its language only what cannot grow: no calls but those of a mapping's items, keys, values
and get, no assignment, no macro, no import, no power, no repetition; loops two deep. A template sees the record and
nothing else. What is made has MOST_BYTES at most, what filters write on the way MOST_WRITTEN, and all of it LONGEST.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from time import monotonic
from types import BuiltinMethodType
from typing import Any, Final

from jinja2 import ChainableUndefined, TemplateError, Undefined, nodes, pass_eval_context
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.filters import do_replace, do_round, do_tojson, make_attrgetter, sync_do_join
from jinja2.nodes import EvalContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

MOST_BYTES: Final = 4 * 1024 * 1024
# Characters.
MOST_WRITTEN: Final = 4 * MOST_BYTES
# Seconds.
LONGEST: Final = 1.0
DEEPEST_LOOP: Final = 2

_CALLS: Final = frozenset(("items", "keys", "values", "get"))
_FILTERS: Final = (
    "abs", "default", "d", "dictsort", "first", "float", "groupby", "int", "items", "join", "last", "length",
    "count", "list", "lower", "map", "max", "min", "reject", "rejectattr", "replace", "round", "select",
    "selectattr", "sort", "string", "sum", "title", "tojson", "trim", "truncate", "unique", "upper",
)  # fmt: skip
_TESTS: Final = (
    "boolean", "defined", "divisibleby", "eq", "equalto", "even", "false", "float", "ge", "gt", "in", "integer",
    "iterable", "le", "lower", "lt", "mapping", "ne", "none", "number", "odd", "sequence", "string", "true",
    "undefined", "upper",
)  # fmt: skip
_NODES: Final = (
    nodes.Add, nodes.And, nodes.Call, nodes.Compare, nodes.Concat, nodes.CondExpr, nodes.Const, nodes.Dict, nodes.Div,
    nodes.Filter, nodes.FloorDiv, nodes.For, nodes.Getattr, nodes.Getitem, nodes.If, nodes.Keyword, nodes.List,
    nodes.Mod, nodes.Mul, nodes.Name, nodes.Neg, nodes.Not, nodes.Operand, nodes.Or, nodes.Output, nodes.Pair,
    nodes.Pos, nodes.Slice, nodes.Sub, nodes.Template, nodes.TemplateData, nodes.Test, nodes.Tuple,
)  # fmt: skip
_ABSENT: Final = object()
# Stands around whatever a loop goes through.
_LOOP: Final = "of_loop"
_MOST_DIGITS: Final = 15

Record = Mapping[str, Any]


class Refused(ValueError):
    """What was written is no template that may be used, or what it makes cannot be; a sentence."""


class Body:
    """One body, compiled. `text`: it is one text, and no JSON unless it writes JSON itself."""

    __slots__ = ("_make", "text")

    def __init__(self, written: Any, content_type: str | None = None) -> None:
        """Compile; what is put into markup, by its `content_type`, is escaped for it.

        Raises:
            Refused: with a sentence, where a template is none that may be used.
        """
        self.text = isinstance(written, str)
        sandbox = _HTML if _is_markup(content_type) else _PLAIN
        self._make = _text(written, sandbox) if isinstance(written, str) else _part(written)

    def render(self, record: Record) -> bytes:
        """Make the body.

        Raises:
            Refused: when it cannot be made of this record, or becomes too large or takes too long.
        """
        _PLAIN.until = _HTML.until = monotonic() + LONGEST
        _PLAIN.left = _HTML.left = MOST_WRITTEN
        try:
            made = self._make(record)
            whole = made if self.text else json.dumps(made, allow_nan=False)
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
            raise Refused(f"the template cannot be filled: {type(error).__name__}: {error}") from None
        raw: bytes = str(whole).encode("utf-8", "replace")
        if len(raw) > MOST_BYTES:
            raise Refused(f"the template makes more than {MOST_BYTES} bytes")
        return raw


def parsed(written: str) -> nodes.Template:
    """Read a text of a body that is right (Body), to look at what it says."""
    return _PLAIN.parse(written)


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(("*", "%", "+", "//", "/", "-"))

    def __init__(self, html: bool) -> None:
        super().__init__(autoescape=html, undefined=ChainableUndefined, cache_size=0, optimized=False)
        self.until = float("inf")
        self.left = MOST_WRITTEN
        self.globals.clear()
        self.filters = {name: self.filters[name] for name in _FILTERS} | _OWN_FILTERS | {_LOOP: self._in_steps}
        self.tests = {name: self.tests[name] for name in _TESTS}

    def is_safe_callable(self, obj: Any) -> bool:
        return isinstance(obj, BuiltinMethodType) and isinstance(obj.__self__, Mapping) and obj.__name__ in _CALLS

    def getattr(self, obj: Any, attribute: str) -> Any:
        self._in_time()
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        self._in_time()
        return super().getitem(obj, argument)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        self._in_time()
        texts = isinstance(left, str | list | tuple) or isinstance(right, str | list | tuple)
        if texts and operator != "+":
            raise SecurityError(f"the operator {operator} is for numbers")
        return super().call_binop(context, operator, left, right)

    def write(self, size: int) -> None:
        """Let a filter write so many characters.

        Raises:
            SecurityError: it is too much, with what was written before.
        """
        self.left -= size
        if self.left < 0:
            raise SecurityError(f"its filters write more than {MOST_WRITTEN} characters")

    def _in_steps(self, items: Iterable[Any]) -> Iterator[Any]:
        for each in items:
            self._in_time()
            yield each

    def _in_time(self) -> None:
        if monotonic() > self.until:
            raise SecurityError(f"it takes longer than {LONGEST:g} s")


def iso(moment: Any, zone: str = "Z", digits: int = 0) -> str:
    """Write seconds since 1970 as a moment in UTC (ISO 8601); `zone` stands behind, `digits` are those of a second."""
    if isinstance(moment, Undefined) or moment is None:
        return ""
    spec = "microseconds" if digits > 3 else "milliseconds" if digits else "seconds"
    return datetime.fromtimestamp(float(moment), UTC).replace(tzinfo=None).isoformat(timespec=spec) + str(zone)


def clock(seconds: float) -> str:
    """Write a duration for people: 1 day, 2:03:04."""
    whole = int(seconds)
    days, rest = divmod(whole, 86_400)
    text = f"{rest // 3600}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days} day{'s' if days != 1 else ''}, {text}" if days else text


@pass_eval_context
def _replace(context: EvalContext, text: Any, old: Any, new: Any, count: int | None = None) -> str:
    within = str(text)
    _sandbox_of(context).write(len(within) + within.count(str(old)) * len(str(new)))
    return do_replace(context, text, old, new, count)


@pass_eval_context
def _join(context: EvalContext, items: Iterable[Any], between: Any = "", attribute: str | int | None = None) -> str:
    sandbox = _sandbox_of(context)
    listed = list(items if attribute is None else map(make_attrgetter(sandbox, attribute), items))
    sandbox.write(sum(len(str(each)) for each in listed) + len(listed) * len(str(between)))
    return sync_do_join(context, listed, between)


@pass_eval_context
def _tojson(context: EvalContext, value: Any) -> str:
    return do_tojson(context, value)


def _round(value: float, precision: int = 0, method: Any = "common") -> float:
    if abs(precision) > _MOST_DIGITS:
        raise SecurityError(f"it is rounded to at most {_MOST_DIGITS} digits")
    return do_round(value, precision, method)


def _sandbox_of(context: EvalContext) -> _Sandbox:
    sandbox = context.environment
    assert isinstance(sandbox, _Sandbox)
    return sandbox


# In place of some that write more than they are given.
_OWN_FILTERS: Final = {
    "iso": iso, "clock": clock, "replace": _replace, "join": _join, "tojson": _tojson, "round": _round
}  # fmt: skip
_PLAIN: Final = _Sandbox(html=False)
_HTML: Final = _Sandbox(html=True)


def _is_markup(content_type: str | None) -> bool:
    # XHTML and SVG too: a browser runs scripts of them.
    kind = (content_type or "").partition(";")[0].lower()
    return "html" in kind or "xml" in kind


def _part(written: Any) -> Callable[[Record], Any]:
    """Compile one part of a body of mappings and lists; what it returns may be _ABSENT."""
    if isinstance(written, dict):
        members = [(str(key), _part(value)) for key, value in written.items()]

        def mapping(record: Record) -> Any:
            made = ((key, make(record)) for key, make in members)
            return {key: value for key, value in made if value is not _ABSENT}

        return mapping
    if isinstance(written, list):
        parts = [_part(each) for each in written]
        return lambda record: [value for make in parts if (value := make(record)) is not _ABSENT]
    if isinstance(written, str):
        return _leaf(written)
    return lambda _: written


def _leaf(written: str) -> Callable[[Record], Any]:
    """Compile one text: alone in {{ }} it is a value of any type."""
    stripped = written.strip()
    expression = stripped[2:-2] if stripped.startswith("{{") and stripped.endswith("}}") else None
    if expression is None or "{{" in expression or "}}" in expression:
        return _text(written, _PLAIN)
    _judged(written, _PLAIN)
    value = _PLAIN.compile_expression(expression, undefined_to_none=False)

    def make(record: Record) -> Any:
        found = value(record)
        return _ABSENT if isinstance(found, Undefined) else found

    return make


def _text(written: str, sandbox: _Sandbox) -> Callable[[Record], str]:
    template = sandbox.from_string(_judged(written, sandbox))

    def make(record: Record) -> str:
        pieces: list[str] = []
        size = 0
        for piece in template.generate(record):
            sandbox._in_time()
            pieces.append(piece)
            size += len(piece)
            if size > MOST_BYTES:
                raise Refused(f"the template makes more than {MOST_BYTES} bytes")
        return "".join(pieces)

    return make


def _judged(written: str, sandbox: _Sandbox) -> nodes.Template:
    """Read a template, with an eye on its loops.

    Raises:
        Refused: with a sentence.
    """
    try:
        tree = sandbox.parse(written)
        _walk(tree, 0)
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, _LOOP, [], [], None, None, lineno=loop.lineno).set_environment(sandbox)
        # Names of filters and tests are looked up as it is compiled.
        sandbox.compile(tree)
    except TemplateSyntaxError as error:
        raise Refused(f"line {error.lineno}: {error.message}") from None
    return tree


def _walk(node: nodes.Node, depth: int) -> None:
    if not isinstance(node, _NODES):
        raise Refused(f"{type(node).__name__} has no place in a template of a body")
    if isinstance(node, nodes.Call) and not (isinstance(node.node, nodes.Getattr) and node.node.attr in _CALLS):
        raise Refused("only items(), keys(), values() and get() of a mapping can be called")
    if isinstance(node, nodes.For):
        depth += 1
        if depth > DEEPEST_LOOP or node.recursive:
            raise Refused(f"loops are at most {DEEPEST_LOOP} deep")
    for child in node.iter_child_nodes():
        _walk(child, depth)
