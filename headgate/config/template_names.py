"""Names in a template of a body that its record does not have: a slip that would leave a hole in each answer.

Laws: what cannot be known from the template alone is taken to be right: a name found at run time, what filters make.
Whoever writes `default` or `is defined` behind a name has thought of its absence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from jinja2 import nodes

from headgate.config.body_templates import parsed
from headgate.config.problems import did_you_mean
from headgate.config.surface_names import Many, Shape

_ITEM: Final = frozenset(("first", "last", "max", "min"))
_SAME: Final = frozenset(("list", "sort", "unique", "select", "reject", "selectattr", "rejectattr"))
_DEFAULT: Final = frozenset(("default", "d"))
_DEFINED: Final = frozenset(("defined", "undefined"))
_PAIRS: Final = frozenset(("items", "dictsort"))


class Unknown(NamedTuple):
    """A name that nothing has, as it is written, and what may have been meant."""

    name: str
    hint: str


class _Pairs(NamedTuple):
    """Pairs of a name and what stands under it."""

    value: Shape


_Known = Shape | _Pairs
_Scope = Mapping[str, _Known]


def unknown_names(written: Any, record: Mapping[str, Shape]) -> list[Unknown]:
    """List the names of a body, whose templates are right, that a record of such names does not have."""
    reader = _Reader(record)
    for text in _texts(written):
        reader.read(parsed(text), {})
    return list(dict.fromkeys(reader.unknown))


def _texts(written: Any) -> Iterator[str]:
    if isinstance(written, str):
        yield written
    elif isinstance(written, dict | list):
        for each in written.values() if isinstance(written, dict) else written:
            yield from _texts(each)


class _Reader:
    def __init__(self, record: Mapping[str, Shape]) -> None:
        self._record = record
        self.unknown: list[Unknown] = []

    def read(self, node: nodes.Node, scope: _Scope) -> _Known:
        """Read an expression or a statement; return the names of its value, as far as they are known."""
        if isinstance(node, nodes.For):
            self._loop(node, scope)
            return None
        if isinstance(node, nodes.Name):
            return scope[node.name] if node.name in scope else self._step(self._record, node.name, node.name)
        if isinstance(node, nodes.Getattr):
            return self._step(self.read(node.node, scope), node.attr, _written(node))
        if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
            return self._step(self.read(node.node, scope), node.arg.value, _written(node))
        if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr):
            return self._call(node, node.node, scope)
        if isinstance(node, nodes.Test) and node.name in _DEFINED:
            self._leniently(node.node, scope)
            return None
        if isinstance(node, nodes.Filter) and node.node is not None and node.name in _DEFAULT:
            self._leniently(node.node, scope)
            return self._filter(node, None, scope)
        if isinstance(node, nodes.Filter) and node.node is not None:
            return self._filter(node, self.read(node.node, scope), scope)
        for child in node.iter_child_nodes():
            self.read(child, scope)
        return None

    def _leniently(self, node: nodes.Node, scope: _Scope) -> None:
        before = len(self.unknown)
        self.read(node, scope)
        del self.unknown[before:]

    def _loop(self, node: nodes.For, scope: _Scope) -> None:
        found = self.read(node.iter, scope)
        inner = {**scope, "loop": None, **_bound(node.target, found)}
        for child in node.iter_child_nodes(exclude=("iter", "target")):
            self.read(child, inner)

    def _call(self, node: nodes.Call, method: nodes.Getattr, scope: _Scope) -> _Known:
        within = self.read(method.node, scope)
        for each in (*node.args, *node.kwargs):
            self.read(each, scope)
        if method.attr == "items":
            return _Pairs(_each(within))
        # Whoever asks by get() knows that it may be missing.
        return within if method.attr == "values" and isinstance(within, Many) else None

    def _filter(self, node: nodes.Filter, within: _Known, scope: _Scope) -> _Known:
        for each in (*node.args, *node.kwargs):
            self.read(each, scope)
        if node.name in _ITEM:
            return _each(within)
        if node.name in _PAIRS:
            return _Pairs(_each(within))
        return within if node.name in _SAME else None

    def _step(self, within: _Known, name: Any, written: str) -> _Known:
        if isinstance(within, Many):
            return within.each
        if within is None or isinstance(within, _Pairs) or not isinstance(name, str):
            return None
        if name not in within:
            self.unknown.append(Unknown(written, did_you_mean(name, within)))
            return None
        return within[name]


def _each(within: _Known) -> Shape:
    return within.each if isinstance(within, Many) else None


def _bound(target: nodes.Node, found: _Known) -> dict[str, _Known]:
    """Return what the names of a loop stand for."""
    if isinstance(target, nodes.Name):
        return {target.name: _each(found)}
    names = [each.name for each in target.find_all(nodes.Name)]
    bound: dict[str, _Known] = dict.fromkeys(names)
    if isinstance(found, _Pairs) and len(names) == len(("name", "value")):
        bound[names[1]] = found.value
    return bound


def _written(node: nodes.Node) -> str:
    if isinstance(node, nodes.Getattr):
        return f"{_written(node.node)}.{node.attr}"
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        return f"{_written(node.node)}[{node.arg.value!r}]"
    return node.name if isinstance(node, nodes.Name) else "..."
