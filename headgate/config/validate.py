"""The tree against the settings classes: types, bounds, required and unknown keys, all problems at once.

The validation library finds what is wrong; where it stands and how it is said comes from the tree and from the shape
of the language, so that nobody reads about branches of unions. What is wrong is then taken out of a copy of the
tree, so that the checks of meaning can go on with the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import ErrorDetails, SchemaValidator, ValidationError

from headgate.config.problems import Path, Problem, did_you_mean, key_shown, printable, sounds_secret
from headgate.config.schema import Config, ServiceDefaults
from headgate.config.secrecy import holds_secrets
from headgate.config.shape import Field, Shape, expected, fields_of, key_of, root_shape
from headgate.config.tree import find, path_text, plain, shape_below, tagged_shape
from headgate.config.yaml_nodes import Map, Node, Scalar, Seq

_ROUNDS = 8
# So near to a key that is known here, such as method to methods, that it was hardly meant for another place.
_A_SLIP = 0.9


@dataclass(frozen=True, slots=True)
class Validated:
    """`config` is None when nothing could be saved; `root` is the tree without what was wrong."""

    config: Config | None
    root: Map
    problems: list[Problem]


def validate(root: Map) -> Validated:
    """Make a Config of a tree, or of what is left of it when the wrong things are out."""
    problems: list[Problem] = []
    for _ in range(_ROUNDS):
        try:
            return Validated(_validator().validate_python(plain(root, root_shape(Config))), root, problems)
        except ValidationError as error:
            faults = _faults(error.errors(include_url=False, include_context=True), root)
        if not problems:
            problems = [_problem(fault, root) for fault in faults.values() if not _follows(fault, root)]
        root = without(root, [fault.removed for fault in faults.values()])
    return Validated(None, root, problems)


@cache
def _validator() -> SchemaValidator:
    schema: Any = TypeAdapter(Config).core_schema
    return SchemaValidator(_ours(schema))


def _ours(schema: Any) -> Any:
    """Switch off conversions between scalars, and know settings by their keys.

    "on" is no boolean and "5" no number; YAML has typed them already.
    """
    if isinstance(schema, dict):
        made = {key: _ours(value) for key, value in schema.items()}
        if made.get("type") in ("int", "float", "bool", "str"):
            made["strict"] = True
        elif made.get("type") == "dataclass-field":
            made["validation_alias"] = key_of(made["name"])
        return made
    if isinstance(schema, list):
        return [_ours(value) for value in schema]
    return schema


# -- from the library's errors to places in the tree -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Fault:
    """One error: `path` of the value or of the missing key, `removed` what has to go for the rest to be valid."""

    kind: str
    path: Path
    removed: Path
    shape: Shape | None
    node: Node | None
    field: Field | None
    owner: type | None


def _faults(errors: list[ErrorDetails], root: Map) -> dict[Path, _Fault]:
    faults: dict[Path, _Fault] = {}
    for error in errors:
        fault = _fault(error["type"], error["loc"], root)
        if error["type"] == "literal_error" and isinstance(fault.node, Map) and fault.shape and fault.shape.cls:
            continue  # A mapping did not mean the word that may stand in its place; what is wrong in it stands there.
        faults.setdefault(fault.path, fault)
    return faults


def _fault(kind: str, location: tuple[int | str, ...], root: Map) -> _Fault:
    node: Node | None = root
    shape: Shape | None = root_shape(Config)
    field: Field | None = None
    owner: type | None = None
    path: Path = ()
    for part in location:
        if shape is not None and shape.kind == "tagged":
            # The library names the branch it took; in the file there is no such step.
            shape = tagged_shape(shape, node) if node is not None else None
            continue
        if part == "[key]":
            return _Fault("unexpected_keyword_argument", path, path, None, node, None, owner)
        if shape is not None and shape.cls is not None and shape.words and part == shape.cls.__name__:
            continue  # The mapping's branch of a union with words: in the file there is no such step.
        owner = shape.cls if shape is not None else None
        known = fields_of(owner).get(str(part)) if owner is not None else None
        below = shape_below(shape, part)
        if shape is None or (owner is not None and known is None and kind != "unexpected_keyword_argument"):
            break
        if known is not None:
            field = known
        elif shape.kind in ("text", "integer", "number", "boolean", "parsed", "any"):
            # A branch of a union, such as `int` of `int | "auto"`.
            break
        shape = below
        if isinstance(node, Map) and isinstance(part, int):
            continue  # One mapping in place of a list of them: in the file there is no such step.
        if isinstance(node, Map) and (part in node.items or kind in ("missing", "unexpected_keyword_argument")):
            path = (*path, part)
            node = node.items.get(str(part))
        elif isinstance(node, Seq) and isinstance(part, int):
            path = (*path, part)
            node = node.items[part]
        elif kind == "missing" and node is not None:
            # Of a short form, such as `discovery: dns`.
            path, node = (*path, part), None
    removed = path[:-1] if kind == "missing" else path
    return _Fault(kind, path, removed, shape, node, field, owner)


def _problem(fault: _Fault, root: Map) -> Problem:
    _, at = find(root, fault.path)
    at = at or root.at
    path = path_text(root, fault.path)
    if fault.kind == "missing":
        help_ = fault.field.help if fault.field is not None else ""
        return Problem(at, path, "is required and missing", _uncapitalised(help_))
    if fault.kind == "unexpected_keyword_argument":
        container, _ = find(root, fault.path[:-1])
        at = container.keys[str(fault.path[-1])] if isinstance(container, Map) else at
        key = str(fault.path[-1])
        path = path_text(root, (*fault.path[:-1], key_shown(key)))
        known = _known(fault, root)
        slip = get_close_matches(key, known, n=1, cutoff=_A_SLIP)
        return Problem(
            at, path, "unknown key", ("" if slip else _belongs(key, fault.owner)) or did_you_mean(key, known)
        )
    if fault.kind == "union_tag_invalid" and fault.shape is not None:
        tag = _tag(fault.node)
        if "://" in tag:
            text = f"a URL stands under the key `url`, beside `type`: one of {', '.join(fault.shape.options)}"
            return Problem(at, path, "expected a mapping, got a URL", text)
        return Problem(at, path, f'there is no type "{key_shown(tag)}"', did_you_mean(tag, fault.shape.options))
    if fault.kind == "union_tag_not_found" and fault.shape is not None:
        return Problem(at, path, "the key `type` is missing", f"one of {', '.join(fault.shape.options)}")
    phrase = expected(fault.shape) if fault.shape is not None else "another value"
    return Problem(at, path, f"expected {phrase}, got {_got(fault)}", _hint(fault))


def _belongs(key: str, owner: type | None) -> str:
    """Say under which of its neighbours a key belongs that was written one level too high, such as a route's path."""
    fields = fields_of(owner).values() if owner is not None else ()
    homes = [(each.name, each.shape.cls or (each.shape.item.cls if each.shape.item else None)) for each in fields]
    found = [name for name, cls in homes if cls is not None and cls is not ServiceDefaults and key in fields_of(cls)]
    return f"it belongs into {' or '.join(found)}" if 0 < len(found) <= 3 else ""


def _known(fault: _Fault, root: Map) -> list[str]:
    if fault.owner is not None:
        return list(fields_of(fault.owner))
    shape: Shape | None = root_shape(Config)
    for part in fault.path[:-1]:
        shape = shape_below(shape, part)
    return list(shape.words) if shape is not None else []


def _tag(node: Node | None) -> str:
    tag = node.items.get("type") if isinstance(node, Map) else node
    return tag.text if isinstance(tag, Scalar) else ""


def _got(fault: _Fault) -> str:
    node = fault.node
    if isinstance(node, Map):
        return "a mapping"
    if isinstance(node, Seq):
        return "a list"
    if node is None or (node.value is None and not node.env):
        return "nothing"
    if node.env:
        return f"what {' and '.join(f'${{{name}}}' for name in node.env)} stands for"
    kinds = {bool: "", int: "the number ", float: "the number "}
    kind = kinds.get(type(node.value), "the text ")
    if _is_secret(fault) or sounds_secret(node.text):
        return kind.strip() or "a boolean"
    text = printable(node.text)
    return f'{kind}"{text}"' if kind == "the text " else f"{kind}{text}"


def _is_secret(fault: _Fault) -> bool:
    if (fault.field is not None and fault.field.secret) or holds_secrets(fault.shape):
        return True
    last = fault.path[-1] if fault.path else ""
    # Without an owner it is a key of the operator's own.
    return fault.owner is None and isinstance(last, str) and sounds_secret(last)


def _hint(fault: _Fault) -> str:
    node, shape = fault.node, fault.shape
    if shape is not None and shape.kind == "list":
        return _hint_for_list(node, _is_secret(fault) or (isinstance(node, Scalar) and sounds_secret(node.text)))
    if not isinstance(node, Scalar) or shape is None:
        return ""
    if type(node.value) is bool and shape.cls is not None and "enabled" in fields_of(shape.cls):
        return f"write {{enabled: {node.text.lower()}}}"
    if shape.words and not node.env:
        hint = did_you_mean(node.text, shape.words)
        return hint if hint.startswith("did") else ""
    if shape.kind == "boolean" and node.text.lower() in ("on", "yes", "off", "no"):
        return f"write {'true' if node.text.lower() in ('on', 'yes') else 'false'}"
    if type(node.value) is str and shape.kind in ("integer", "number", "boolean") and not node.env:
        return (
            "write it without quotes" if plain(Scalar(node.text, node.text, node.at, ("",)), shape) != node.text else ""
        )
    return ""


def _hint_for_list(node: Node | None, secret: bool) -> str:
    if isinstance(node, Map) and node.items:
        if secret or not all(isinstance(item, Map) for item in node.items.values()):
            return "write it as the one item of a list: [{...}]"
        # As Compose and Traefik write theirs.
        return f"write an item for each, such as - name: {printable(next(iter(node.items)))}"
    if isinstance(node, Scalar) and type(node.value) is str and not node.env and not secret:
        return f"write a list, such as [{printable(node.text)}]"
    return ""


def _follows(fault: _Fault, root: Map) -> bool:
    """Tell whether a key is missing because it was taken out for a mistake that has been reported."""
    container, _ = find(root, fault.path[:-1])
    return fault.kind == "missing" and isinstance(container, Map) and container.damaged


def _uncapitalised(sentence: str) -> str:
    sentence = sentence.removesuffix(".")
    return sentence if sentence[:2].isupper() else sentence[:1].lower() + sentence[1:]


# -- taking out what is wrong -------------------------------------------------------------------------------------


_GONE: dict[Any, Any] = {}


def without(root: Map, paths: list[Path]) -> Map:
    """Return a copy of the tree without what stands at some paths; what held it is marked as damaged."""
    trie: dict[Any, Any] = {}
    for path in paths:
        branch = trie
        for part in path[:-1]:
            branch = branch.setdefault(part, {})
            if branch is _GONE:
                break
        else:
            if path:
                branch[path[-1]] = _GONE
    made = _pruned(root, trie)
    return made if isinstance(made, Map) else root


def _pruned(node: Node, trie: Mapping[Any, Any]) -> Node:
    if isinstance(node, Map):
        items = {
            key: _pruned(item, trie[key]) if key in trie else item
            for key, item in node.items.items()
            if trie.get(key) is not _GONE
        }
        return Map(items, node.keys, node.at, node.damaged or len(items) < len(node.items))
    if isinstance(node, Seq):
        kept = [
            _pruned(item, trie[place]) if place in trie else item
            for place, item in enumerate(node.items)
            if trie.get(place) is not _GONE
        ]
        return Seq(kept, node.at, node.damaged or len(kept) < len(node.items))
    return node
