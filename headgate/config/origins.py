"""Where each value of a merged configuration was written, and as what it may be shown.

Law: what is secret, or sounds as if it were, is masked here; a variable is named, and its value told only where a
document declares it as nothing secret.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from headgate.config.problems import Origin, Path, key_shown, sounds_secret, without_url_secrets
from headgate.config.schema import Config
from headgate.config.secrecy import MASK, hides, holds_secrets, is_unknown
from headgate.config.shape import Shape, root_shape
from headgate.config.tree import find, narrowed, path_text, shape_below
from headgate.config.variables import Variables
from headgate.config.yaml_nodes import Map, Node, Scalar

# Where one of these is expected, a text may be what was meant to stand there, keys and all.
_WITH_KEYS: Final = ("settings", "tagged", "list", "table")


class Written(NamedTuple):
    """One value of the merged configuration as `check --explain` shows it; secrets are masked."""

    path: str
    value: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class Origins:
    """Where each value of the merged configuration was written; `variables` are those that it declares."""

    root: Map
    variables: Variables = field(default_factory=lambda: Variables({}, {}))

    def at(self, path: Path) -> Origin | None:
        """Return where the value at a path, or the nearest thing above it, was written; None for defaults."""
        node, at = find(self.root, path)
        return at if node is not None else None

    def written(self) -> Iterator[Written]:
        """List every scalar that was written, in order."""
        return _written(self.root, root_shape(Config), (), False, self)


def _written(node: Node, shape: Shape | None, path: Path, secret: bool, origins: Origins) -> Iterator[Written]:
    if isinstance(node, Scalar):
        swallowed = shape is not None and shape.kind in _WITH_KEYS and sounds_secret(node.text)
        plain = MASK if secret or swallowed or holds_secrets(shape) else without_url_secrets(node.text)
        shown = _variable(node, plain, origins.variables) if node.env else plain
        yield Written(path_text(origins.root, path), shown, _from(node, origins.variables))
        return
    # A mapping whose type nobody knows has keys that nobody knows.
    untyped = shape is not None and narrowed(shape, node) is None
    shape, secret = narrowed(shape, node), secret or untyped
    items = node.items.items() if isinstance(node, Map) else enumerate(node.items)
    for key, item in items:
        hidden = secret or hides(shape, key)
        unknown = isinstance(key, str) and (is_unknown(shape, key) or (shape is None and secret))
        place = (*path, key_shown(str(key)) if unknown else key)
        yield from _written(item, shape_below(shape, key), place, hidden, origins)


def _from(node: Scalar, variables: Variables) -> Origin:
    """Return where a value was written, and that variables which are set have said or chosen it."""
    names = (*node.env, *node.chosen_by)
    given = [name for name in names if (known := variables.value_of(name)) is not None and known.given]
    if not given:
        return node.at
    chosen = [name for name in given if name in node.chosen_by]
    by = f" ({' and '.join(chosen)})" if chosen else ""
    said = " and ".join(sorted({variables.source_of(name) for name in given}))
    return node.at._replace(source=f"{said}{by}, at {node.at.source}")


def _variable(node: Scalar, plain: str, variables: Variables) -> str:
    """Name the variables of a value, and the value too where they are declared as nothing secret."""
    shown = " and ".join(f"${{{name}}}" for name in node.env)
    declared = [variables.declared(name) for name in node.env]
    open_ = all(each is not None and not each.secret for each in declared)
    return f"{shown} = {plain}" if open_ and plain != MASK else shown
