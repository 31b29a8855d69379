"""What of a configuration nobody is shown: the rules, once, for dumps, problems and excerpts alike.

Secret is what stands on a setting that says so; what stands under a key of one's own (a header that is set, a plugin's
configuration) whose name sounds like a secret; everything under a key that nobody knows, for it may be such a name
misspelt; and what stands before the @ of a URL. What comes from a variable is shown by the variable's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from headgate.config.problems import Path, sounds_secret
from headgate.config.shape import Shape, fields_of
from headgate.config.tree import narrowed, shape_below
from headgate.config.yaml_nodes import Map, Node, Scalar

MASK = "***"
# Nothing shorter is searched for in a sentence: it would tear innocent words apart, such as redis://.
_SHORTEST = 9


def hides(shape: Shape | None, key: str | int) -> bool:
    """Tell whether what stands under a key of something of this shape is secret."""
    if shape is None or shape.kind in ("any", "table"):
        # Free data: below a key of it the shape ends, or is that of plain text.
        free = shape is None or shape.kind == "any" or (shape.item is not None and shape.item.kind in ("text", "any"))
        return free and isinstance(key, str) and sounds_secret(key)
    if shape.cls is None:
        return False
    field = fields_of(shape.cls).get(str(key))
    return field is None or field.secret


def is_unknown(shape: Shape | None, key: str | int) -> bool:
    """Tell whether there is no such key in a mapping of this shape."""
    return shape is not None and shape.cls is not None and str(key) not in fields_of(shape.cls)


def holds_secrets(shape: Shape | None) -> bool:
    """Tell whether a mapping is expected of which a part is secret: text in its place may be that part."""
    classes = [each for each in (shape, shape.item if shape is not None else None) if each is not None]
    return any(each.cls is not None and any(field.secret for field in fields_of(each.cls).values()) for each in classes)


def secret_scalars(root: Node, shape: Shape | None, path: Path) -> Iterator[Scalar]:
    """Yield the secret values at a path and below."""
    node: Node = root
    secret = False
    for part in path:
        if isinstance(node, Scalar):
            break
        shape = narrowed(shape, node)
        secret = secret or hides(shape, part)
        shape = shape_below(shape, part)
        below = node.items.get(str(part)) if isinstance(node, Map) else None
        if not isinstance(node, Map) and isinstance(part, int) and part < len(node.items):
            below = node.items[part]
        if below is None:
            return
        node = below
    yield from _below(node, shape, secret)


def _below(node: Node, shape: Shape | None, secret: bool) -> Iterator[Scalar]:
    if isinstance(node, Scalar):
        if (secret or holds_secrets(shape)) and not node.env:
            yield node
        return
    shape = narrowed(shape, node)
    items = node.items.items() if isinstance(node, Map) else enumerate(node.items)
    for key, item in items:
        yield from _below(item, shape_below(shape, key), secret or hides(shape, key))


def without_values(text: str, scalars: Iterable[Scalar]) -> str:
    """Take secret values out of a sentence."""
    for scalar in scalars:
        if len(scalar.text) >= _SHORTEST:
            text = text.replace(scalar.text, MASK)
    return text
