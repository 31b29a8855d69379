"""What stands in a document under a condition, is chosen, or is repeated: `when`, `select` and `for_each`.

Laws: done on the tree of one document before it is merged with others, so that what is merged is plain configuration;
what is left out is as if it were not written; free data, such as a template of a body, is left alone; all repetitions
together make MAX_NODES values at most; a value that a case or a condition gives knows the variables that chose it, but
what stands under `else` nobody has chosen, and a value of variables is theirs.

    when: NAME | not NAME | {NAME: value, NAME: [values], NAME: null} | [any of these]
    {when: ..., value: X}                      X, where what stands there is no mapping
    {select: NAME, cases: {value: X}, else: Y}
    {for_each: UPSTREAM_*_URLS, ...}           an item of a list, once for each variable that is set
"""

from __future__ import annotations

from collections.abc import Iterator

from headgate.config.environment import BadVariable
from headgate.config.problems import Origin, Path, Problem, did_you_mean
from headgate.config.shape import Shape, spellings_of
from headgate.config.tree import narrowed, path_text, shape_below
from headgate.config.variables import Variables
from headgate.config.yaml_nodes import FAMILY, MAX_NODES, Map, Node, Scalar, Seq, size_of, substituted

_NOT = "not "
_CHOICE = frozenset(("select", "cases", "else"))
_VALUE = frozenset(("when", "value"))


class _Wrong(Exception):
    def __init__(self, at: Origin, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.at = at
        self.message = message
        self.hint = hint


def expand_tree(root: Map, shape: Shape, variables: Variables) -> tuple[Map, list[Problem]]:
    """Return a document without conditions, choices and repetitions, and what is wrong with them."""
    expander = _Expander(root, variables)
    expanded = expander.node(root, shape, ())
    return expanded if isinstance(expanded, Map) else Map({}, {}, root.at), expander.problems


def holds(condition: Node, variables: Variables) -> bool:
    """Judge a condition.

    Raises:
        ValueError: it is none, or names a variable that is not declared.
    """
    try:
        return _holds(condition, variables)
    except _Wrong as wrong:
        raise ValueError(wrong.message) from None


def _holds(condition: Node, variables: Variables) -> bool:
    if isinstance(condition, Seq):
        return any(_holds(each, variables) for each in condition.items)
    if isinstance(condition, Map):
        return all(_is(name, wanted, variables) for name, wanted in condition.items.items())
    name = condition.text.removeprefix(_NOT).strip()
    texts = _texts(name, condition.at, variables)
    return (bool(texts) and texts != ("false",)) is not condition.text.startswith(_NOT)


def _named(condition: Node) -> Iterator[str]:
    """Yield the variables that a condition asks."""
    if isinstance(condition, Scalar):
        yield condition.text.removeprefix(_NOT).strip()
    elif isinstance(condition, Map):
        yield from condition.items
    else:
        for each in condition.items:
            yield from _named(each)


def _chosen(node: Node | None, shape: Shape, names: tuple[str, ...]) -> Node | None:
    """Return a value that variables have chosen; of a mapping they have chosen the `type`."""
    if isinstance(node, Map):
        tag = node.items.get("type") if shape.kind == "tagged" else None
        return _map(node, {**node.items, "type": _chosen(tag, shape, names) or tag}) if tag is not None else node
    if node is None or node.chosen_by or (isinstance(node, Scalar) and (node.env or node.value is None)):
        return node
    if isinstance(node, Seq) and any(isinstance(each, Scalar) and each.env for each in node.items):
        return node
    made = Scalar(node.text, node.value, node.at) if isinstance(node, Scalar) else Seq(node.items, node.at)
    made.chosen_by = names
    return made


def _is(name: str, wanted: Node, variables: Variables) -> bool:
    texts = _texts(name, wanted.at, variables)
    choices = wanted.items if isinstance(wanted, Seq) else [wanted]
    for choice in choices:
        if not isinstance(choice, Scalar):
            raise _Wrong(wanted.at, f"expected a value of {name}, or a list of such")
        if not texts if choice.value is None else choice.text.lower() in [text.lower() for text in texts]:
            return True
    return False


def _texts(name: str, at: Origin, variables: Variables) -> tuple[str, ...]:
    value = variables.value_of(name)
    if value is None:
        hint = did_you_mean(name, variables.table) or "declare it under env at the top"
        raise _Wrong(at, f'there is no variable "{name}" under env', hint)
    return value.texts


class _Expander:
    """One walk over one document."""

    __slots__ = ("_made", "_root", "_variables", "problems")

    def __init__(self, root: Map, variables: Variables) -> None:
        self._root = root
        self._variables = variables
        # Values that repetitions have made.
        self._made = 0
        self.problems: list[Problem] = []

    def node(self, node: Node, shape: Shape | None, path: Path) -> Node | None:
        """Return what is to stand in a place; None for nothing."""
        if shape is None or shape.kind == "any":
            return node
        try:
            if isinstance(node, Map):
                return self._map(node, shape, path)
        except _Wrong as wrong:
            self.problems.append(Problem(wrong.at, path_text(self._root, path), wrong.message, wrong.hint))
            return None
        return _seq(node, list(self._items(node, shape, path))) if isinstance(node, Seq) else node

    def _map(self, node: Map, shape: Shape, path: Path) -> Node | None:
        if "select" in node.items and "cases" in node.items and node.items.keys() <= _CHOICE:
            return self._selected(node, shape, path)
        # A table may have the word as a key of its own.
        if "when" in node.items and (shape.kind != "table" or node.items.keys() == _VALUE):
            if not _holds(node.items["when"], self._variables):
                return None
            if node.items.keys() == _VALUE:
                value = self.node(node.items["value"], shape, (*path, "value"))
                return _chosen(value, shape, tuple(_named(node.items["when"])))
            node = _map(node, {key: each for key, each in node.items.items() if key != "when"})
        known = narrowed(shape, node)
        spellings = spellings_of(known.cls) if known is not None and known.cls is not None else {}
        items: dict[str, Node] = {}
        for key, each in node.items.items():
            below = self.node(each, shape_below(known, spellings.get(key, key)), (*path, key))
            if below is not None:
                items[key] = below
        return _map(node, items)

    def _selected(self, node: Map, shape: Shape, path: Path) -> Node | None:
        name, cases = node.items["select"], node.items["cases"]
        if not isinstance(name, Scalar) or not isinstance(cases, Map):
            raise _Wrong(node.at, "expected select: NAME with cases: {value: ...}")
        texts = [text.lower() for text in _texts(name.text, name.at, self._variables)]
        chosen = next((key for key in cases.items if key.lower() in texts), None)
        if chosen is not None:
            return _chosen(self.node(cases.items[chosen], shape, (*path, "cases", chosen)), shape, (name.text,))
        return self.node(node.items["else"], shape, (*path, "else")) if "else" in node.items else None

    # -- lists ------------------------------------------------------------------------------------------------------

    def _items(self, node: Seq, shape: Shape, path: Path) -> Iterator[Node]:
        item = shape.item if shape.item is not None else shape
        for place, each in enumerate(node.items):
            if isinstance(each, Map) and "for_each" in each.items:
                yield from self._repeated(each, item, (*path, place))
            elif (expanded := self.node(each, item, (*path, place))) is not None:
                # The items of a variable's list, or of a list that was chosen, stand in its place.
                spread = isinstance(expanded, Seq) and (isinstance(each, Map) or all(map(_is_variable, expanded.items)))
                yield from expanded.items if isinstance(expanded, Seq) and spread else [expanded]

    def _repeated(self, node: Map, shape: Shape, path: Path) -> Iterator[Node]:
        family = node.items["for_each"]
        try:
            if not isinstance(family, Scalar) or family.text.count("*") != 1:
                raise _Wrong(node.at, "expected for_each: the name of variables with one *", "such as UPSTREAM_*_URLS")
            if family.text not in self._variables.table:
                hint = did_you_mean(family.text, self._variables.table)
                raise _Wrong(family.at, f'there are no variables "{family.text}" under env', hint)
            template = _map(node, {key: each for key, each in node.items.items() if key != "for_each"})
            parts = self._variables.members(family.text)
            self._made += size_of(template) * len(parts)
            if self._made > MAX_NODES:
                raise _Wrong(node.at, f"more than {MAX_NODES:,} values, for all variables together")
            made = [self._filled(template, part) for part in parts]
        except (_Wrong, BadVariable) as error:
            at, hint = (error.at, error.hint) if isinstance(error, _Wrong) else (node.at, "")
            self.problems.append(Problem(at, path_text(self._root, path), str(error), hint))
            return
        for each in made:
            if (expanded := self.node(each, shape, path)) is not None:
                yield expanded

    def _filled(self, node: Node, part: str) -> Node:
        """Return a copy for one variable of a family."""
        if isinstance(node, Map):
            return _map(node, {key: self._filled(each, part) for key, each in node.items.items()})
        if isinstance(node, Seq):
            return _seq(node, [self._filled(each, part) for each in node.items])
        text = node.text.replace("{each}", part.lower().replace("_", "-")).replace("{EACH}", part)
        if node.env == FAMILY:
            return substituted(text.replace("*", part), True, node.at, self._variables)
        return Scalar(text, text, node.at, node.env) if text != node.text else node


def _map(node: Map, items: dict[str, Node]) -> Map:
    """Return a mapping with these items in place of its own: itself, where they are the same."""
    if items.keys() == node.items.keys() and all(each is node.items[key] for key, each in items.items()):
        return node
    return Map(items, {key: node.keys[key] for key in items}, node.at, node.damaged)


def _seq(node: Seq, items: list[Node]) -> Seq:
    if len(items) == len(node.items) and all(one is other for one, other in zip(items, node.items, strict=True)):
        return node
    made = Seq(items, node.at, node.damaged)
    made.chosen_by = node.chosen_by
    return made


def _is_variable(node: Node) -> bool:
    return isinstance(node, Scalar) and bool(node.env)


def strays(node: Node) -> Iterator[Scalar]:
    """Yield texts that name a family of variables where no for_each says which ones."""
    if isinstance(node, Scalar):
        if node.env == FAMILY:
            yield node
    else:
        for each in node.items.values() if isinstance(node, Map) else node.items:
            yield from strays(each)
