"""Between the tree as written and plain data as the settings classes take it.

A scalar becomes what its setting means: text for a setting of text (a token of 12345, a version of 1.10), a number
or a boolean elsewhere; null, whether written or by an empty value, means "as if not written".
"""

from __future__ import annotations

import re
from typing import Any

from headgate.config.problems import Origin, Path, Problem, printable
from headgate.config.shape import Shape, fields_of, spellings_of
from headgate.config.yaml_nodes import Map, Node, Scalar, Seq, typed

_ODD = re.compile(r"@|\s.{8}")
_TEXTUAL = frozenset(("text", "tagged", "settings"))


def shape_below(shape: Shape | None, key: str | int) -> Shape | None:
    """Return the shape of a key or an item, None where the language ends (unknown key, free data)."""
    if shape is None or shape.kind == "any":
        return None
    if shape.kind == "settings" and shape.cls is not None:
        found = fields_of(shape.cls).get(str(key))
        return found.shape if found is not None else None
    return shape.item


def tagged_shape(shape: Shape, node: Node) -> Shape | None:
    """Return the shape that the `type` of a tagged mapping chooses, None when it names nothing known."""
    tag = node.items.get("type") if isinstance(node, Map) else node
    cls = shape.options.get(tag.text) if isinstance(tag, Scalar) else None
    return Shape("settings", cls=cls) if cls is not None else None


def narrowed(shape: Shape | None, node: Node) -> Shape | None:
    """Return the shape of a mapping as it is written: of the type that it chooses, of one item in place of a list."""
    if shape is not None and shape.one_or_many and isinstance(node, Map):
        shape = shape.item
    return tagged_shape(shape, node) if shape is not None and shape.kind == "tagged" else shape


# -- aliases ------------------------------------------------------------------------------------------------------


def with_names(node: Node, shape: Shape | None, path: Path, root: Node, problems: list[Problem]) -> Node:
    """Return what stands at `path` below `root` with every alias of a key replaced by the setting's name."""
    if shape is None or isinstance(node, Scalar):
        return node
    shape = narrowed(shape, node)
    if shape is None:
        return node
    if isinstance(node, Seq):
        items = [with_names(item, shape.item, (*path, place), root, problems) for place, item in enumerate(node.items)]
        return node if all(map(_same, items, node.items)) else Seq(items, node.at, node.damaged)
    spellings = spellings_of(shape.cls) if shape.cls is not None else {}
    changed: dict[str, Node] = {}
    renamed = False
    for key, value in node.items.items():
        name = spellings.get(key, key)
        if name != key:
            renamed = True
            if name in node.items or name in changed:
                message = f'"{key}" is another spelling of "{name}", and both stand here'
                problems.append(Problem(node.keys[key], path_text(root, (*path, key)), message, "write one of them"))
                continue
        changed[name] = with_names(value, shape_below(shape, name), (*path, name), root, problems)
    if not renamed and all(map(_same, changed.values(), node.items.values())):
        return node
    return Map(changed, {spellings.get(key, key): at for key, at in node.keys.items()}, node.at, node.damaged)


def _same(one: object, other: object) -> bool:
    return one is other


# -- plain data ---------------------------------------------------------------------------------------------------


def plain(node: Node, shape: Shape | None) -> Any:
    """Return the tree as dicts, lists and scalars, each scalar typed for the setting it belongs to."""
    if isinstance(node, Scalar):
        return _scalar(node, shape)
    shape = narrowed(shape, node)
    if isinstance(node, Seq):
        item = shape.item if shape is not None else None
        return [plain(each, item) for each in node.items]
    if shape is None or shape.cls is None:
        item = shape.item if shape is not None else None
        return {key: plain(each, item) for key, each in node.items.items()}
    fields = fields_of(shape.cls)
    return {
        key: plain(each, fields[key].shape if key in fields else None)
        for key, each in node.items.items()
        if type(each) is not Scalar or each.value is not None or (each.text and each.env)
    }


def _scalar(node: Scalar, shape: Shape | None) -> Any:
    if type(node.value) is str and not node.env:
        return node.value
    if shape is None:
        return node.value
    if shape.one_or_many and shape.item is not None:
        shape = shape.item
    if shape.short is not None and shape.cls is not None:
        shape = fields_of(shape.cls)[shape.short].shape
    if shape.kind in _TEXTUAL:
        return node.text if node.value is not None or node.env else None
    return typed(node.text) if node.env and shape.kind != "any" else node.value


# -- positions ----------------------------------------------------------------------------------------------------


def find(root: Node | None, path: Path) -> tuple[Node | None, Origin | None]:
    """Return the node at a path with the position of its key, or of the nearest thing above that was written."""
    node = root
    at = root.at if root is not None else None
    for part in path:
        if isinstance(node, Map) and part in node.items:
            at = node.keys[str(part)]
            node = node.items[str(part)]
        elif isinstance(node, Seq) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
            at = node.at
        elif isinstance(node, Map) and isinstance(part, int):
            continue  # One mapping in place of a list of them: in the file there is no such step.
        elif isinstance(node, Scalar):
            # The short form of a mapping, or one item in place of a list.
            return node, node.at
        else:
            return None, at
    return node, node.at if isinstance(node, Scalar) else at


def path_text(root: Node | None, path: Path) -> str:
    """Write a path as people read it: items of lists by their name, `services[chat].routes[0].match`."""
    text = ""
    node = root
    for part in path:
        if isinstance(part, int) and isinstance(node, Map | Scalar):
            continue  # One in place of a list: in the file there is no such step.
        if isinstance(part, int):
            item = node.items[part] if isinstance(node, Seq) and part < len(node.items) else None
            name = item.items.get("name") if isinstance(item, Map) else None
            label = name.text if isinstance(name, Scalar) and name.text and not name.env else str(part)
            text += f"[{printable(label)}]"
            node = item
        else:
            plain_key = part.isidentifier() or not text
            # Nobody names a thing so, but in a broken file the line behind a key may become one.
            shown = "***" if _ODD.search(part) else printable(part)
            text += f"{'.' if text else ''}{shown}" if plain_key else f"[{shown}]"
            node = node.items.get(part) if isinstance(node, Map) else None
    return text


def damaged_below(node: Node | None) -> bool:
    """Tell whether something wrong was taken out at or below a node."""
    if node is None or isinstance(node, Scalar):
        return False
    items = node.items.values() if isinstance(node, Map) else node.items
    return node.damaged or any(map(damaged_below, items))
