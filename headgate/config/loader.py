"""Files, environment and command line into one checked configuration, or into everything that is wrong with it.

In order: what the documents declare (config.declarations) -> read every one with positions, variables and conditions
-> merge, lowest layer first -> put back what the environment says -> set what the command line sets -> lay defaults
under services -> types and bounds -> meaning -> resolve. Law: `load` raises for nothing that a file may hold or that
the file system may answer; a problem is a value. Later sources win: layers, files in their order, overrides in theirs.
"""

from __future__ import annotations

import errno
import gc
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath

from headgate.config.check_discovery import variables_read
from headgate.config.check_values import Finding
from headgate.config.checks import check
from headgate.config.declarations import (
    Document,
    Layer,
    included,
    lacks,
    missing,
    read_head,
    table_of,
    variables_of,
    with_preset,
)
from headgate.config.expansion import expand_tree, strays
from headgate.config.merge import Override, apply_override, merge, name_of, read_override, with_environment
from headgate.config.origins import Origins
from headgate.config.problems import Origin, Path, Problem, in_order, printable, without_url_secrets
from headgate.config.resolve import ResolvedConfig, resolve
from headgate.config.schema import Config
from headgate.config.secrecy import secret_scalars, without_values
from headgate.config.service_defaults import KEY as DEFAULTS
from headgate.config.service_defaults import too_many, with_defaults, with_overrides, with_unlisted
from headgate.config.shape import root_shape
from headgate.config.tree import damaged_below, find, path_text, with_names
from headgate.config.unread import replaced, unread
from headgate.config.validate import validate, without
from headgate.config.variables import Variables
from headgate.config.yaml_nodes import MAX_BYTES, UNSET, Map, Node, Scalar, Seq, read_yaml

_SUFFIXES = (".yaml", ".yml", ".json")
_ROOT = root_shape(Config)
_DEEPEST = 4
_MOST_INCLUDED = 1000
# What a shell passes with <(...), or |.
_PASSED = ("/dev/", "/proc/")


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What loading gave. `config` and `source` are None when there are `problems`; `notices` are warnings.

    `digest` is one of all that was read.
    """

    config: ResolvedConfig | None
    source: Config | None
    origins: Origins
    problems: list[Problem] = field(default_factory=list)
    notices: list[Problem] = field(default_factory=list)
    files: list[FilePath] = field(default_factory=list)
    digest: bytes = b""


def load(
    paths: Sequence[FilePath],
    *,
    overrides: Sequence[str | Override] = (),
    environ: Mapping[str, str],
    layers: Sequence[Layer] = (),
    texts: Mapping[FilePath, str] = {},
    dotenv: Set[str] = frozenset(),
) -> LoadResult:
    """Load files, and the .yaml, .yml and .json files of folders by name, into one configuration.

    Args:
        paths: files and folders; later ones win.
        overrides: `key=value` texts of --set, or Override objects of other options; later ones win over all files.
        environ: the variables for `${NAME}`.
        layers: documents below the files, lowest first.
        texts: what to take in place of what stands in these files.
        dotenv: those of these variables that come from `.env`.
    """
    # A large file makes a million small objects and no garbage; the collector would take longer than the reading.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _load(paths, overrides, environ, layers, texts, dotenv)
    finally:
        if collecting:
            gc.enable()


def _load(
    paths: Sequence[FilePath],
    overrides: Sequence[str | Override],
    environ: Mapping[str, str],
    layers: Sequence[Layer],
    texts: Mapping[FilePath, str],
    dotenv: Set[str],
) -> LoadResult:
    problems: list[Problem] = []
    files = [file for path in paths for file in _files(path, problems)]
    read = [*layers]
    for file in files:
        text = texts[file] if file in texts else _text(file, problems)
        read += [Layer(str(file), text)] if text is not None else []
    documents = with_preset([(layer, read_head(layer)) for layer in read], problems)
    documents = _with_included(documents, environ, files, problems)
    read, heads = [layer for layer, _ in documents], [head for _, head in documents]
    digest = hashlib.sha256(repr(read).encode("utf-8", "surrogatepass")).digest()
    table = table_of(heads)
    variables = variables_of(table, environ, dotenv, problems)
    lacking, notices = missing(table, variables) if not problems else ([], [])
    problems += [*variables.problems, *lacking]
    empty = Map({}, {}, Origin(read[0].source, 1, 1) if read else Origin("configuration"))
    if variables.problems or lacking:
        # Whatever else is wrong would be so for want of a variable, which may be there under another name.
        problems += unread(variables, environ, dotenv)
        return LoadResult(None, None, Origins(empty), in_order(problems), [], files, digest)
    whole = not problems
    root, read_whole = _merged(read, empty, variables, problems, notices)
    root = with_unlisted(root, notices)
    if bombs := list(too_many(root)):
        return LoadResult(None, None, Origins(empty), in_order([*problems, *bombs]), [], files, digest)
    whole = whole and read_whole
    root = _overridden(root, overrides, variables, problems)
    validated = validate(root)
    problems += validated.problems
    # With a file missing, every name that it may hold would be reported as unknown.
    if whole and validated.config is not None:
        for problem in _meaning(validated.config, validated.root, root, environ):
            (problems if problem.severity == "error" else notices).append(problem)
    origins = Origins(root, variables)
    if problems or validated.config is None:
        return LoadResult(None, None, origins, in_order(_once(problems)), in_order(notices), files, digest)
    resolved = resolve(validated.config)
    notices += unread(variables, environ, dotenv, variables_read(validated.config))
    return LoadResult(resolved, validated.config, origins, [], in_order(_once(notices)), files, digest)


def _with_included(
    documents: Sequence[Document], environ: Mapping[str, str], files: list[FilePath], problems: list[Problem]
) -> list[Document]:
    """Put the files that documents include over them, and note them as files."""
    waiting, found = [(document, 0) for document in reversed(documents)], list[Document]()
    while waiting:
        document, depth = waiting.pop()
        found.append(document)
        layer, head = document
        if head.include is None:
            continue
        variables = variables_of(table_of(each for _, each in found), environ, frozenset(), [])
        made = []
        for each in included(head.include, variables if layer.own else variables.closed(), problems):
            files.append(each.path)
            if depth >= _DEEPEST or len(found) >= _MOST_INCLUDED:
                problems.append(Problem(each.at, "include", "files include each other, or too many of them"))
            elif _is_absent(each.path):
                if not each.optional:
                    problems.append(Problem(each.at, "include", f"there is no such file: {each.path}"))
            elif (text := _text(each.path, problems)) is not None:
                over = Layer(str(each.path), text)
                problems += lacks(over, each.needs)
                made.append(((over, read_head(over)), depth + 1))
        waiting += reversed(made)
    return found


def _is_absent(file: FilePath) -> bool:
    try:
        return not file.exists()
    except OSError:
        # Something keeps us from it, which reading it says.
        return False


def _merged(
    layers: Sequence[Layer], root: Map, variables: Variables, problems: list[Problem], notices: list[Problem]
) -> tuple[Map, bool]:
    """Lay the documents over each other; the flag tells that all of them could be read."""
    whole, base = True, root
    for layer in layers:
        document = _document(layer, variables if layer.own else variables.closed(), problems)
        whole = whole and document is not None
        merged = merge(root, document, _ROOT) if document is not None else root
        root = merged if isinstance(merged, Map) else root
        if not layer.own:
            base = root
    made = with_environment(
        base, root, _ROOT, lambda name: (known := variables.value_of(name)) is not None and known.given
    )
    notices += replaced(base, made, variables)
    return made if isinstance(made, Map) else root, whole


def _overridden(root: Map, overrides: Sequence[str | Override], variables: Variables, problems: list[Problem]) -> Map:
    """Set what the command line sets: defaults of services first, that it may change what they become in a service."""
    first: list[Override | Problem] = []
    rest: list[Override | Problem] = []
    for each in overrides:
        read = read_override(each) if isinstance(each, str) else each
        (first if isinstance(read, Override) and read.key.startswith(DEFAULTS) else rest).append(read)
    for override in first:
        root = _override(root, override, variables, problems)
    root = with_overrides(with_defaults(root, _ROOT), _ROOT)
    for override in rest:
        root = _override(root, override, variables, problems)
    # A service that the command line has brought has its defaults yet to get.
    return with_defaults(root, _ROOT) if rest else root


def _once(problems: Iterable[Problem]) -> list[Problem]:
    """Say what is wrong with a default of services once, not for each of them."""
    found: dict[tuple[Origin, str, str], Problem] = {}
    for problem in problems:
        path = problem.path.removeprefix(f"{DEFAULTS}.").rpartition("].")[2] if problem.origin.line else problem.path
        found.setdefault((problem.origin, path, problem.message), problem)
    return list(found.values())


def _files(path: FilePath, problems: list[Problem]) -> list[FilePath]:
    if not path.is_dir():
        return [path]
    try:
        found = sorted(file for file in path.iterdir() if _is_configuration(file))
    except OSError as error:
        problems.append(Problem(Origin(str(path)), "", f"the folder cannot be read: {error.strerror}"))
        return []
    if not found:
        hint = f"files end in {', '.join(_SUFFIXES)}"
        problems.append(Problem(Origin(str(path)), "", "the folder holds no configuration", hint))
    return found


def _is_configuration(file: FilePath) -> bool:
    # Names with a dot in front are what editors and ConfigMap mounts keep for themselves.
    return file.suffix in _SUFFIXES and not file.name.startswith(".") and not file.is_dir()


def _text(file: FilePath, problems: list[Problem]) -> str | None:
    message, at = "", Origin(str(file))
    try:
        if file.is_fifo() and not str(file).startswith(_PASSED):
            # Nobody may ever write into it, and a reload would wait for that.
            raise OSError(errno.EPIPE, "it is a pipe")
        with file.open("rb") as opened:
            raw = opened.read(MAX_BYTES + 1)
        if len(raw) <= MAX_BYTES:
            return raw.decode("utf-8-sig")
        message = f"the file is larger than {MAX_BYTES // 1024 // 1024} MiB"
    except FileNotFoundError:
        message = "there is no such file"
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        at = Origin(str(file), before.count(b"\n") + 1, error.start - before.rfind(b"\n"))
        message = "the file is not UTF-8 text"
    except (OSError, ValueError) as error:
        message = f"the file cannot be read: {getattr(error, 'strerror', None) or 'not a file name'}"
    problems.append(Problem(at, "", message))
    return None


def _document(layer: Layer, environ: Variables, problems: list[Problem]) -> Map | None:
    """Read one document under the names of settings, without what already has a problem of its own."""
    root, wrong = read_yaml(layer.text, layer.source, environ)
    if root is None and not wrong:
        return Map({}, {}, Origin(layer.source, 1, 1))
    if isinstance(root, Scalar | Seq):
        problems.append(
            Problem(root.at, "", "expected keys such as services: at the top of the file", "see the examples")
        )
        return None
    if root is None:
        problems += [each.problem for each in wrong]
        return None
    if wrong:
        places = _places(root, {each.near for each in wrong if each.near is not None})
        for problem, near in wrong:
            problems.append(replace(problem, path=path_text(root, places[near])) if near in places else problem)
        root = without(root, [path for path in places.values() if _is_unset(root, path)])
    # Keys of one's own at the top hold anchors for the rest of the file, as in Compose files.
    own = {key: node for key, node in root.items.items() if not key.startswith("x-")}
    root = Map(own, root.keys, root.at, root.damaged)
    root, objections = expand_tree(root, _ROOT, environ)
    problems += objections
    for stray in strays(root):
        message = "this stands for several variables, and no for_each says which ones"
        problems.append(Problem(stray.at, "", message, "see `for_each`"))
    named = with_names(root, _ROOT, (), root, problems)
    return named if isinstance(named, Map) else root


def _override(root: Map, made: Override | Problem, environ: Mapping[str, str], problems: list[Problem]) -> Map:
    if isinstance(made, Problem):
        problems.append(made)
        return root
    changed, wrong = apply_override(root, made, _ROOT, environ)
    problems += wrong
    named = with_names(changed, _ROOT, (), changed, problems)
    return named if isinstance(named, Map) else root


def _meaning(config: Config, pruned: Map, root: Map, environ: Mapping[str, str]) -> Iterator[Problem]:
    """Yield what the checks find, except where something wrong was taken out, which has been reported already."""
    services = root.items.get("services")
    names = [name for item in services.items if (name := name_of(item))] if isinstance(services, Seq) else []
    for finding in check(config, names, environ):
        node, at = find(pruned, finding.path)
        if not damaged_below(node):
            message, hint = _unspoken(finding, node)
            secrets = list(secret_scalars(pruned, _ROOT, finding.path))
            message, hint = (without_url_secrets(without_values(text, secrets)) for text in (message, hint))
            yield Problem(at or pruned.at, path_text(pruned, finding.path), message, hint, finding.severity)


def _unspoken(finding: Finding, node: Node | None) -> tuple[str, str]:
    """Take the values of variables out of a message: they may be secret, and the names of the variables say enough."""
    message, hint = finding.message, finding.hint
    for scalar in _from_environment(node):
        names = " and ".join(f"${{{name}}}" for name in scalar.env)
        for text in filter(None, (scalar.text, printable(scalar.text))):
            # Whole words only: a value of 8080 must not tear an example such as 0.0.0.0:8080 apart.
            message = names.join(re.split(rf"(?<![\w.:/]){re.escape(text)}(?![\w:/])", message))
        hint = ""
        # A part of the value may be left in another form; nothing shorter is a secret, and words such as "secret" are
        # in many a value and many a sentence.
        start = scalar.text[:1000]
        size = 6 if len(start) < 8 else 8
        if any(start[at : at + size] in message for at in range(len(start) - size + 1)):
            fate = "cannot be used" if finding.severity == "error" else "is used, and not advised,"
            message = f"what {names} stands for {fate} here"
        if scalar is node and names not in message:
            hint = f"it comes from {names}"
    return message, hint


def _from_environment(node: Node | None) -> Iterator[Scalar]:
    if isinstance(node, Scalar):
        if node.env:
            yield node
    elif node is not None:
        for item in node.items.values() if isinstance(node, Map) else node.items:
            yield from _from_environment(item)


# -- places -------------------------------------------------------------------------------------------------------


def _places(root: Node, origins: Set[Origin]) -> dict[Origin, Path]:
    """Find the paths of keys and values that stand at some positions."""
    found: dict[Origin, Path] = {}

    def walk(node: Node, path: Path) -> None:
        if isinstance(node, Scalar) and node.at in origins:
            found.setdefault(node.at, path)
        if isinstance(node, Map):
            for key, item in node.items.items():
                if node.keys[key] in origins:
                    found.setdefault(node.keys[key], (*path, key))
                walk(item, (*path, key))
        elif isinstance(node, Seq):
            for place, item in enumerate(node.items):
                walk(item, (*path, place))

    walk(root, ())
    return found


def _is_unset(root: Node, path: Path) -> bool:
    node, _ = find(root, path)
    return isinstance(node, Scalar) and node.value is UNSET
