"""What the documents of a configuration say at their top before anything else can be read of them.

Which preset lies below them, which variables they declare (`env`), which files lie over them (`include`). They are read
from the documents as written: no variable can stand for a declaration, but for the path of an included file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path as FilePath
from typing import NamedTuple

from headgate.config.environment import BadVariable
from headgate.config.expansion import holds
from headgate.config.language import Variable
from headgate.config.merge import merge
from headgate.config.preset import preset_source, preset_text
from headgate.config.problems import Origin, Problem
from headgate.config.schema import Config
from headgate.config.shape import root_shape
from headgate.config.tree import with_names
from headgate.config.validate import validate
from headgate.config.variables import READERS, Variables
from headgate.config.yaml_nodes import Map, Node, Scalar, Seq, read_yaml, substituted

_DECLARES = re.compile(r"""^\s*\{?\s*["']?(?:env|preset|include)["']?\s*:|"(?:env|preset|include)"\s*:""", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\*?[A-Za-z0-9_]*", re.ASCII)
_ENV = "env"


class Layer(NamedTuple):
    """A document: `source` is its name in problems; `own`: it may use variables that nobody has declared."""

    source: str
    text: str
    own: bool = True


class Included(NamedTuple):
    """A file that a document wants laid over it."""

    path: FilePath
    optional: bool
    needs: tuple[str, ...]
    at: Origin


class Head(NamedTuple):
    """The declarations of one document, as written."""

    env: Map | None
    preset: Scalar | None
    include: Node | None


# A document with what it declares, which is read of it once.
Document = tuple[Layer, Head]
_NONE = Head(None, None, None)


def read_head(layer: Layer) -> Head:
    """Read what a document declares; nothing of one that cannot be read, which is said when it is read whole."""
    if not _DECLARES.search(layer.text):
        return _NONE
    root, _ = read_yaml(layer.text, layer.source, None)
    if not isinstance(root, Map):
        return _NONE
    env, preset = root.items.get(_ENV), root.items.get("preset")
    return Head(
        env if isinstance(env, Map) else None,
        preset if isinstance(preset, Scalar) and preset.text else None,
        root.items.get("include"),
    )


def with_preset(documents: Sequence[Document], problems: list[Problem]) -> list[Document]:
    """Put the preset that documents name below them, unless one lies there; the last one named counts."""
    named = [head.preset for _, head in documents if head.preset is not None]
    if not named or any(not layer.own for layer, _ in documents):
        return list(documents)
    name = named[-1]
    try:
        preset = Layer(preset_source(name.text), preset_text(name.text), own=False)
    except ValueError as error:
        problems.append(Problem(name.at, "preset", str(error)))
        return list(documents)
    return [(preset, read_head(preset)), *documents]


def included(include: Node | None, variables: Variables, problems: list[Problem]) -> list[Included]:
    """Return the files that a document includes."""
    found = []
    for item in include.items if isinstance(include, Seq) else [include] if include is not None else []:
        path = item.items.get("path") if isinstance(item, Map) else item
        optional, needs = (item.items.get(each) if isinstance(item, Map) else None for each in ("optional", "needs"))
        if not isinstance(path, Scalar):
            continue  # The document is refused for it when it is read whole.
        try:
            text = substituted(path.text, False, path.at, variables) if "$" in path.text else path
        except BadVariable as error:
            problems.append(Problem(path.at, "include", str(error)))
            continue
        if isinstance(text, Scalar) and text.text:
            # A file that somebody named for this gateway is one that he wants.
            named = any((value := variables.value_of(name)) is not None and value.given for name in text.env)
            may_lack = isinstance(optional, Scalar) and optional.value is True and not named
            keys = needs.items if isinstance(needs, Seq) else [needs]
            wanted = tuple(each.text for each in keys if isinstance(each, Scalar))
            found.append(Included(FilePath(text.text), may_lack, wanted, path.at))
    return found


def lacks(layer: Layer, needs: Sequence[str]) -> list[Problem]:
    """List what a file lacks; nothing where it cannot be read, which is said when it is read whole."""
    root, wrong = read_yaml(layer.text, layer.source, None) if needs else (None, [])
    if wrong or not needs:
        return []
    known = root.items if isinstance(root, Map) else {}
    return [Problem(Origin(layer.source), "", f"it has no {key}") for key in needs if not _stands(known.get(key))]


def _stands(node: Node | None) -> bool:
    return node is not None and bool(node.text if isinstance(node, Scalar) else node.items)


def table_of(heads: Iterable[Head]) -> Map | None:
    """Lay the variables that documents declare over each other."""
    found: Node | None = None
    for head in heads:
        if head.env is not None:
            found = head.env if found is None else merge(found, head.env)
    return found if isinstance(found, Map) else None


def variables_of(table: Map | None, environ: Mapping[str, str], dotenv: Set[str], problems: list[Problem]) -> Variables:
    """Read the variables of a table."""
    if table is None:
        return Variables({}, environ, dotenv)
    whole = Map({_ENV: table}, {_ENV: table.at}, table.at)
    root = with_names(whole, root_shape(Config), (), whole, problems)
    assert isinstance(root, Map)
    validated = validate(root)
    problems += validated.problems
    declared = validated.config.env if validated.config is not None else {}
    good = {name: each for name, each in declared.items() if _is_good(name, each, declared, table, problems)}
    return Variables(good, environ, dotenv)


def missing(table: Map | None, variables: Variables) -> tuple[list[Problem], list[Problem]]:
    """Say which variables have to be set and are not, and what does not work without others."""
    errors: list[Problem] = []
    warnings: list[Problem] = []
    for name, variable in variables.table.items():
        value = variables.value_of(name) if "*" not in name else None
        if table is None or value is None:
            continue
        if variable.unused is not None and value.given:
            unused = f"{name} has no effect: {variable.unused}"
            warnings.append(Problem(Origin(variables.source_of(name)), "", unused, severity="warning"))
        if value.texts:
            continue
        try:
            needed = _holds("required", name, table, variables)
            told = variable.absent_when is None or _holds("absent_when", name, table, variables)
        except ValueError as error:
            errors.append(Problem(table.keys[name], ".".join((_ENV, name)), str(error)))
            continue
        if needed and name in variables.unread:
            # What is wrong with it has been said.
            continue
        if needed:
            errors.append(Problem(Origin("environment"), "", _needed(name, variable), _remedy(name, variable)))
        elif variable.absent is not None and told:
            warnings.append(_warning(f"{name} is not set: {variable.absent}"))
    return errors, warnings


def _warning(message: str) -> Problem:
    return Problem(Origin("environment"), "", message, severity="warning")


def _holds(key: str, name: str, table: Map, variables: Variables) -> bool:
    """Judge a condition that stands on a variable; one that is not there does not hold.

    Raises:
        ValueError: it is none, or names a variable that is not declared.
    """
    node = table.items[name]
    condition = node.items.get(key) if isinstance(node, Map) else None
    if isinstance(condition, Scalar) and isinstance(condition.value, bool):
        return condition.value
    return condition is not None and holds(condition, variables)


def _needed(name: str, variable: Variable) -> str:
    about = f" ({variable.help.rstrip('.')})" if variable.help else ""
    return f"{name} is not set, and the gateway cannot start without it{about}"


def _remedy(name: str, variable: Variable) -> str:
    file = f", or name a file that holds it in {name}_FILE" if variable.secret else ""
    return f"set it in the environment or in .env{file}"


def _is_good(
    name: str, variable: Variable, declared: Mapping[str, Variable], table: Map, problems: list[Problem]
) -> bool:
    message, key, hint = "", "", ""
    if not _NAME.fullmatch(name):
        message = "expected letters, digits and underscores, and at most one * for a part that varies"
    elif others := [each for each in variable.aliases if each in declared]:
        message, key = f"{others[0]} is a variable of its own", "aliases"
    elif (variable.type == "enum") is not bool(variable.values):
        message, key, hint = "an enum has values, and nothing else has", "values", "values: [a, b]"
    elif variable.default is not None and not isinstance(variable.default, list):
        try:
            READERS[variable.type](str(variable.default), variable)
        except ValueError as error:
            message, key = str(error), "default"
    if message:
        path = ".".join(filter(None, (_ENV, name, key)))
        problems.append(Problem(table.keys[name], path, message, hint))
    return not message


def env_example(text: str, source: str) -> str:
    """Return the variables that a document declares as a file that sets them, each with what it is for.

    Those without which nothing starts while all else is as by default stand there to be filled in.
    """
    table = read_head(Layer(source, text)).env
    variables = variables_of(table, {}, frozenset(), [])
    lines = [f"# Variables of {source}, with their defaults. Uncomment what you change.", ""]
    for name, variable in variables.table.items():
        about = [variable.help, f"One of {', '.join(variable.values)}." if variable.values else ""]
        about += [f"Without it: {variable.absent}." if variable.absent else ""]
        about += [f"It has no effect: {variable.unused}." if variable.unused else ""]
        lines += [f"# {' '.join(filter(None, about))}".rstrip()]
        default = variable.default if variable.default is not None else ""
        shown = ",".join(map(str, default)) if isinstance(default, list) else str(default)
        shown = shown.lower() if isinstance(default, bool) else shown
        needed = table is not None and _holds("required", name, table, variables)
        lines += [f"{'' if needed else '#'}{name}={shown}", ""]
    return "\n".join(lines)
