"""Variables that are set in vain: nearly one that is declared, a stranger in `.env`, or one that a file has replaced.

Laws: they are warnings, for a name may be meant for somebody else; nothing is said where nothing is declared. Of the
process' environment, which many write, only what is nearly the name of a variable that is not set; of `.env`, which is
ours, all but what other tools read of it. No value is shown, nor a name that may be the rest of one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from difflib import get_close_matches

from headgate.config.problems import Origin, Problem
from headgate.config.variables import Variables
from headgate.config.yaml_nodes import Node, Scalar, Seq

# Of a PORTS for a PORT, of a JWT_SECRET_KEY for a JWT_SECRET.
_NEAR, _NEAR_IN_DOTENV = 0.88, 0.75
_NAME = re.compile(r"(?:[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*|[a-z][a-z0-9]*(?:_[a-z0-9]+)*)", re.ASCII)
_LONGEST_NAME = 64
_MOST_NAMED = 10
_SHORTEST_PREFIX = 5
_OURS = "HEADGATE_"
# What a `.env` beside ours is read for.
_TOOLS = re.compile(
    r"(?:COMPOSE|DOCKER|BUILDKIT|KUBE|KUBERNETES|HELM|RAILWAY|GF|GRAFANA|PROMETHEUS|POSTGRES|PG|MYSQL|REDIS_PASSWORD|OTEL"
    r"|PYTHON|PIP|UV|UVICORN|GUNICORN|HYPERCORN|NODE|NPM|VITE|NEXT|AWS|AZURE|GOOGLE|GITHUB|GITLAB|CI|SENTRY|SSL|LC)"
    r"(?:_.*|[A-Z]*)|WEB_CONCURRENCY|FORWARDED_ALLOW_IPS|(?:HTTPS?|ALL|NO)_PROXY|TZ|LANG|PATH|HOME|USER|SHELL|TERM"
)
# What Kubernetes tells each pod of the services beside it.
_LINK = re.compile(r"\w+_SERVICE_(?:HOST|PORT\w*)|\w+_PORT_\d+_(?:TCP|UDP|SCTP)\w*")


def unread(
    variables: Variables, environ: Mapping[str, str], dotenv: Set[str], others: Set[str] = frozenset()
) -> Iterator[Problem]:
    """Warn of variables that nothing reads; `dotenv` are those of `.env`, `others` what is read beside the declared."""
    if not variables.table:
        return
    known = [each for each in variables.table if "*" not in each]
    known += [alias for variable in variables.table.values() for alias in variable.aliases]
    strange: list[str] = []
    for name in sorted(environ):
        spelt = name.upper()
        ours = spelt.startswith(_OURS) or name in others or variables.reads(name)
        if ours or not environ[name] or _LINK.fullmatch(spelt):
            continue
        here, hint = name in dotenv, ""
        if _is_shown(name):
            meant = [*known, *_members(spelt, variables)]
            near = get_close_matches(spelt, meant, 1, _NEAR_IN_DOTENV if here else _NEAR)
            if near and not _is_set(near[0], variables) and (here or not _is_anothers(spelt, near[0])):
                hint = f"did you mean {near[0]}?"
            elif families := _families(spelt, variables):
                hint = f"known: {', '.join(families)}"
        if hint:
            yield Problem(Origin(".env" if here else "environment"), "", f"nothing reads {name}", hint, "warning")
        elif here and not _TOOLS.fullmatch(spelt):
            strange.append(name)
    if strange:
        yield Problem(Origin(".env"), "", f"nothing reads {_listed(strange)}", "", "warning")


def replaced(below: Node, root: Node, variables: Variables) -> Iterator[Problem]:
    """Warn of variables that stand in the documents `below` and nowhere in `root`, which files have made of them."""
    if below is root:
        return
    for name in sorted(_named(below) - _named(root)):
        if _is_set(name, variables):
            hint = f"write ${{{name}}} there, or do not set it"
            message = f"{name} has no effect: a file says something else in the place where it stands"
            yield Problem(Origin(variables.source_of(name)), "", message, hint, "warning")


def _named(node: Node) -> set[str]:
    """Return the variables that say or have chosen a value in this node."""
    names = set[str]()
    waiting = [node]
    while waiting:
        each = waiting.pop()
        if isinstance(each, Scalar):
            names.update(each.env)
        else:
            waiting += each.items if isinstance(each, Seq) else each.items.values()
        if isinstance(each, Scalar | Seq):
            names.update(each.chosen_by)
    return names


def _members(name: str, variables: Variables) -> Iterator[str]:
    """Yield the members of families that this name may be meant for: those with its own part for the *."""
    words = name.split("_")
    for family in variables.table:
        before, star, behind = family.partition("*")
        part = "_".join(words[before.count("_") : len(words) - behind.count("_")])
        # The fixed parts alone are compared, which the one that varies would outweigh.
        if star and part and get_close_matches(name.replace(part, star, 1), [family], 1, _NEAR):
            yield family.replace(star, part)


def _is_anothers(name: str, meant: str) -> bool:
    """Tell whether a name is one of ours behind somebody's prefix, or that of a tool: PIP_TIMEOUT is no TIMEOUT."""
    word = name.partition("_")[0]
    return name.endswith(f"_{meant}") or (_TOOLS.fullmatch(name) is not None and not meant.startswith(f"{word}_"))


def _is_set(name: str, variables: Variables) -> bool:
    value = variables.value_of(name)
    return value is not None and value.given


def _families(name: str, variables: Variables) -> list[str]:
    """Return the families whose names begin as this one does."""
    prefixes = {each: each.partition("*")[0] for each in variables.table if "*" in each}
    return [each for each, before in prefixes.items() if len(before) >= _SHORTEST_PREFIX and name.startswith(before)]


def _is_shown(name: str) -> bool:
    """Tell whether this is a name: a line of a key that ends in = looks like one to who reads `.env`."""
    return len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) is not None


def _listed(names: list[str]) -> str:
    shown = [name for name in names if _is_shown(name)][:_MOST_NAMED]
    rest = len(names) - len(shown)
    return ", ".join([*shown, *([f"{rest} more" if shown else f"{rest} of its names"] if rest else [])])
