"""Several sources into one tree: files in their order, then what the command line sets.

The rules: mappings merge key by key; lists whose items all have a `name` merge by name, new names are appended;
everything else of the later source replaces what the earlier one said. Nodes are never changed, because aliases and
layers share them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from headgate.config.problems import Origin, Path, Problem, did_you_mean, printable
from headgate.config.shape import Shape, fields_of, spellings_of
from headgate.config.tree import find, narrowed, path_text, shape_below
from headgate.config.yaml_nodes import Map, Node, Scalar, Seq, read_value

_KEY = re.compile(r"[\w.\[\]-]*")
_SEGMENT = re.compile(r"\[([^\[\]]*)\]|([^.\[\]]+)")


def merge(base: Node, over: Node, shape: Shape | None = None) -> Node:
    """Lay `over` on `base`; where a `type` chooses what a mapping has, one of another type replaces it whole.

    Of keys that say the same thing in different ways (ONE_OF of the settings), those of `over` replace the others.
    """
    if isinstance(base, Map) and isinstance(over, Map) and not _of_other_types(base, over, shape):
        known = narrowed(shape, over)
        gone = _said_otherwise(over, known)
        items = {key: node for key, node in base.items.items() if key not in gone}
        for key, node in over.items.items():
            items[key] = merge(items[key], node, shape_below(known, key)) if key in items else node
        return Map(items, {**base.keys, **over.keys}, base.at, base.damaged or over.damaged)
    if isinstance(base, Seq) and isinstance(over, Seq) and over.items:
        names = [name_of(item) for item in over.items]
        if None not in names and all(name_of(item) is not None for item in base.items):
            return _merge_named(base, over, shape.item if shape is not None else None)
    return over


def _said_otherwise(over: Map, shape: Shape | None) -> set[str]:
    """Return the keys that lose their meaning by what `over` says: of those of which one is written, the others."""
    return {key for said in over.items for key in _in_other_words(said, shape)} - over.items.keys()


def _in_other_words(key: str, shape: Shape | None) -> set[str]:
    """Return the keys that say the same thing as this one in another way."""
    groups: Sequence[Sequence[str]] = getattr(shape.cls, "ONE_OF", ()) if shape is not None else ()
    return {other for group in groups if key in group for other in group} - {key}


def _of_other_types(base: Map, over: Node, shape: Shape | None) -> bool:
    if shape is None or shape.kind != "tagged" or not isinstance(over, Map):
        return False
    one, other = base.items.get("type"), over.items.get("type")
    return isinstance(one, Scalar) and isinstance(other, Scalar) and one.text != other.text


def name_of(node: Node) -> str | None:
    """Return the `name` of an item of a list, None if it has none."""
    name = node.items.get("name") if isinstance(node, Map) else None
    return name.text if isinstance(name, Scalar) and name.text else None


def _merge_named(base: Seq, over: Seq, shape: Shape | None) -> Seq:
    items = list(base.items)
    places: dict[str | None, int] = {}
    for place, item in enumerate(items):
        places.setdefault(name_of(item), place)
    merged: set[str | None] = set()
    for item in over.items:
        name = name_of(item)
        # A name that stands twice in one source is a mistake to report, not a third thing to merge.
        if name in places and name not in merged:
            items[places[name]] = merge(items[places[name]], item, shape)
        else:
            items.append(item)
        merged.add(name)
    return Seq(items, base.at, base.damaged or over.damaged)


def with_environment(base: Node, merged: Node, shape: Shape | None, given: Callable[[str], bool]) -> Node:
    """Put the variables of `base` back that are set: the environment goes before the files that lie over `base`.

    Only where what lies over it says the same thing in other words; what it has replaced by something else stays.
    """
    if base is merged or (isinstance(base, Map) and not base.items):
        return merged
    says = not (isinstance(merged, Scalar) and merged.value is None)
    if isinstance(base, Map) and (_of_other_types(base, merged, shape) or not isinstance(merged, Map)):
        return base if says and _is_type_given(base, shape, given) else merged
    if isinstance(base, Map) and isinstance(merged, Map):
        known = narrowed(shape, merged)
        items = dict(merged.items)
        for key, node in base.items.items():
            if key in items:
                items[key] = with_environment(node, items[key], shape_below(known, key), given)
            elif others := [other for other in _in_other_words(key, known) if other in items and _is_set(node, given)]:
                items = {other: each for other, each in items.items() if other not in others} | {key: node}
        return Map(items, merged.keys, merged.at, merged.damaged)
    if isinstance(base, Seq) and isinstance(merged, Seq) and not _is_given(base, given):
        item = shape.item if shape is not None else None
        places = {name_of(each): each for each in base.items}
        made = [
            with_environment(places[name], each, item, given) if (name := name_of(each)) and name in places else each
            for each in merged.items
        ]
        return Seq(made, merged.at, merged.damaged)
    return base if says and not isinstance(merged, Map) and _is_given(base, given) else merged


def _is_set(node: Node, given: Callable[[str], bool]) -> bool:
    """Tell whether something is what a variable says that is set, or names one that is."""
    if isinstance(node, Map):
        return any(isinstance(each, Scalar) and given(each.text) for each in node.items.values())
    return _is_given(node, given)


def _is_type_given(node: Map, shape: Shape | None, given: Callable[[str], bool]) -> bool:
    tag = node.items.get("type") if shape is not None and shape.kind == "tagged" else None
    return tag is not None and _is_given(tag, given)


def _is_given(node: Node, given: Callable[[str], bool]) -> bool:
    if isinstance(node, Scalar):
        return any(map(given, (*node.env, *node.chosen_by)))
    if isinstance(node, Seq) and any(map(given, node.chosen_by)):
        return True
    # The list of a variable stands where the variable does; a list with variables in it is one that was written.
    return (
        isinstance(node, Seq)
        and bool(node.items)
        and all(_is_given(item, given) and item.at == node.at for item in node.items)
    )


# -- the command line ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Override:
    """One value of the command line: `key` as errors print it, `value` as YAML, `origin` the option it came from."""

    key: str
    value: str
    origin: str


def read_override(text: str) -> Override | Problem:
    """Read `key=value` as `--set` takes it."""
    key, equals, value = text.partition("=")
    # Without an equals sign all of it is the key, and the value may be secret.
    shown = key if equals else "".join(_KEY.findall(key.strip())[:1])
    origin = f"--set {shown}".strip()
    if not equals or not key.strip():
        return Problem(Origin(origin), "", "expected KEY=VALUE", "such as services.chat.timeout.connect=5")
    return Override(key.strip(), value, origin)


def apply_override(
    root: Node, override: Override, shape: Shape, environ: Mapping[str, str]
) -> tuple[Node, list[Problem]]:
    """Return the tree with one value set; items of lists are addressed by name or by index."""
    at = Origin(override.origin)
    value, wrong = read_value(override.value, override.origin, environ)
    segments = [bracketed or plain for bracketed, plain in _SEGMENT.findall(override.key)]
    if wrong:
        return root, [replace(each.problem, path=_text_of(root, segments)) for each in wrong]
    if not segments or _SEGMENT.sub("", override.key).strip("."):
        message = "not a key: write names with dots between them, or items in brackets"
        return root, [Problem(at, override.key, message, "such as services[chat].timeout.connect")]
    setter = _Setter(root, value or Scalar("", None, at), at)
    try:
        return setter.put(root, shape, segments, ()), []
    except _Unaddressed as unaddressed:
        return root, [unaddressed.problem]


def _place(items: Sequence[Node], key: str) -> int | None:
    """Return which item a name or an index means; the place behind the last one is for a new item."""
    names = [name_of(item) for item in items]
    if key in names:
        return names.index(key)
    return int(key) if re.fullmatch("[0-9]{1,6}", key) and int(key) <= len(items) else None


def _text_of(root: Node, segments: list[str]) -> str:
    """Write a key of the command line in the one form that problems of files have too."""
    path: list[str | int] = []
    node: Node | None = root
    for key in segments:
        place = _place(node.items, key) if isinstance(node, Seq) else None
        path.append(key if place is None else place)
        node, _ = find(node, (path[-1],))
    return path_text(root, tuple(path))


class _Unaddressed(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class _Setter:
    """Copy the way from the root to one value, and put the new value at its end."""

    __slots__ = ("_at", "_root", "_value")

    def __init__(self, root: Node, value: Node, at: Origin) -> None:
        self._root = root
        self._value = value
        self._at = at

    def put(self, node: Node | None, shape: Shape | None, segments: list[str], done: Path) -> Node:
        if not segments:
            return self._value
        if shape is not None and shape.short is not None and isinstance(node, Scalar) and node.value is not None:
            node = Map({shape.short: node}, {shape.short: node.at}, node.at)
        if isinstance(node, Seq) or (shape is not None and shape.kind == "list"):
            return self._put_item(node, shape, segments, done)
        key = segments[0]
        if shape is not None and shape.kind == "settings" and shape.cls is not None:
            key = spellings_of(shape.cls).get(key, key)
            if key not in fields_of(shape.cls):
                hint = did_you_mean(key, fields_of(shape.cls))
                raise _Unaddressed(Problem(self._at, path_text(self._root, (*done, key)), "unknown key", hint))
        items, keys, at = (node.items, node.keys, node.at) if isinstance(node, Map) else ({}, {}, self._at)
        damaged = isinstance(node, Map) and node.damaged
        below = self.put(items.get(key), shape_below(shape, key), segments[1:], (*done, key))
        return Map({**items, key: below}, {**keys, key: self._at}, at, damaged)

    def _put_item(self, node: Node | None, shape: Shape | None, segments: list[str], done: Path) -> Node:
        items = node.items if isinstance(node, Seq) else [node] if isinstance(node, Scalar) and node.text else []
        at = node.at if node is not None else self._at
        key = segments[0]
        place = _place(items, key)
        if place is None:
            known = [name for name in map(name_of, items) if name]
            hint = did_you_mean(key, known) or f"items here: {len(items)}, counted from 0"
            path = f"{path_text(self._root, done)}[{printable(key)}]"
            raise _Unaddressed(Problem(self._at, path, f'there is no item "{printable(key)}"', hint))
        below = self.put(
            items[place] if place < len(items) else None, shape_below(shape, place), segments[1:], (*done, place)
        )
        damaged = isinstance(node, Seq) and node.damaged
        return Seq([*items[:place], below, *items[place + 1 :]], at, damaged)
