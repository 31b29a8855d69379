"""Routes that can never be reached, and ties that only the place in the file decides: for `headgate check`.

Law: what is reported is certain; a combination of expressions or templates that happens to cover another route is
not found. The cost grows with the number of routes, not with its square.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, Literal, NamedTuple

from headgate.policy.pattern import NAME, REST, Kind, Steps
from headgate.policy.route import RouteRule, RouteTable, Rule


class Overlap(NamedTuple):
    """Say that `route` loses against `by`, always ("shadowed"), or by its place in the file alone ("tie")."""

    kind: Literal["tie", "shadowed"]
    route: str
    by: str
    message: str


def lint(rules: Sequence[RouteRule[Any]], order: Literal["specific", "file"] = "specific") -> list[Overlap]:
    """List ties and shadowed routes, in the order of the rules.

    Raises:
        ValueError: if a pattern is malformed.
    """
    table = RouteTable(rules, order)
    index = _Index(table.rules, order)
    found: dict[tuple[str, str], Overlap] = {}
    for rule in table.rules:
        for overlap in _overlaps(rule, index):
            found.setdefault((overlap.route, overlap.by), overlap)
    return list(found.values())


class _Index:
    """Rules by host, path and conditions, so that those which may take everything from another are looked up."""

    __slots__ = ("_begun", "_order", "_places")

    def __init__(self, rules: Sequence[Rule[Any]], order: str) -> None:
        self._order = order
        self._places: dict[tuple[str, Steps, frozenset[str]], list[Rule[Any]]] = {}
        self._begun: set[tuple[str, Steps]] = set()
        for rule in rules:
            steps = rule.path.steps
            for host in rule.hosts:
                self._places.setdefault((host, steps, _asked(rule)), []).append(rule)
                self._begun.update((host, steps[:length]) for length in range(len(steps)))

    def before(self, rule: Rule[Any], host: str) -> list[Rule[Any]]:
        """List what wins over `rule` whenever both match a request to `host`, and needs no more to match than it."""
        asked = _asked(rule)
        if self._order == "specific":
            # Elsewhere, or with other criteria, the more specific one wins and neither is ever hidden.
            found = self._places.get((host, rule.path.steps, asked), [])
            return [one for one in found if one.order < rule.order and (one.methods is None) == (rule.methods is None)]
        sets = _subsets(asked)
        places = _covering(host, rule.path.steps, self._begun)
        keys = ((wider, steps, some) for wider, steps in places for some in sets)
        found = [one for key in keys for one in self._places.get(key, ()) if one.order < rule.order]
        found = [one for one in found if one.methods is None or rule.methods is not None]
        return sorted(found, key=lambda one: one.order)


def _asked(rule: Rule[Any]) -> frozenset[str]:
    return frozenset(condition.text for condition in rule.conditions)


def _subsets(asked: frozenset[str]) -> list[frozenset[str]]:
    # Many conditions have too many subsets; then only the likely ones are looked at.
    lengths = range(len(asked) + 1) if len(asked) <= 6 else (0, 1, len(asked))
    return [frozenset(some) for length in lengths for some in combinations(sorted(asked), length)]


def _overlaps(rule: Rule[Any], index: _Index) -> Iterator[Overlap]:
    """Yield the routes that, together or alone, take everything from `rule`; else the ties."""
    takers: list[Rule[Any]] = []
    ties: list[tuple[Rule[Any], frozenset[str]]] = []
    unreached = True
    for host in rule.hosts:
        left = rule.methods
        for other in index.before(rule, host):
            shared = left & other.methods if left is not None and other.methods is not None else None
            if shared is not None and not shared:
                continue
            takers.append(other)
            if host in other.hosts and _is_twin(other, rule):
                ties.append((other, shared or frozenset()))
            if other.methods is None or left is None:
                break
            left -= other.methods
            if not left:
                break
        else:
            unreached = False
    if unreached:
        yield from _shadows(rule, takers)
        return
    for other, methods in ties:
        what = f"for {', '.join(sorted(methods))}" if methods else "for one of its hosts"
        yield Overlap(
            "tie",
            rule.name,
            other.name,
            f"routes {other.name} and {rule.name} have the same host, path and criteria {what}: {other.name} wins, "
            "because it stands earlier in the file",
        )


def _shadows(rule: Rule[Any], takers: Sequence[Rule[Any]]) -> Iterator[Overlap]:
    takers = list(dict.fromkeys(takers))
    for other in takers:
        if _is_twin(other, rule) and other.methods == rule.methods and set(rule.hosts) <= set(other.hosts):
            yield Overlap(
                "tie",
                rule.name,
                other.name,
                f"route {rule.name} is never reached: {other.name} has the same host, path and criteria, and stands "
                "earlier in the file",
            )
            continue
        rest = [one.name for one in takers if one is not other]
        together = f", together with {' and '.join(rest)}," if rest else ""
        yield Overlap(
            "shadowed",
            rule.name,
            other.name,
            f"route {rule.name} is never reached: {other.name}{together} takes every request that it matches, and "
            "stands earlier in the file",
        )


def _is_twin(other: Rule[Any], rule: Rule[Any]) -> bool:
    """Tell whether they ask the same, but for the names of methods (and maybe hosts)."""
    same_kind = (other.methods is None) == (rule.methods is None)
    return same_kind and other.path.steps == rule.path.steps and _asked(other) == _asked(rule)


def _covering(host: str, steps: Steps, begun: set[tuple[str, Steps]]) -> Iterator[tuple[str, Steps]]:
    """Yield the places that match whatever (host, steps) matches, among those whose beginnings are in `begun`."""
    *way, last = steps
    for wider in _wider_hosts(host):
        reached: list[Steps] = [()]
        for step in way:
            yield from ((wider, (*one, REST)) for one in reached)
            steps_over = (step, NAME) if step[0] is Kind.LITERAL and step[1] else (step,)
            reached = [(*one, over) for one in reached for over in steps_over if (wider, (*one, over)) in begun]
        ways = (last, REST)
        yield from dict.fromkeys((wider, (*one, over)) for one in reached for over in ways)


def _wider_hosts(host: str) -> Iterator[str]:
    """Yield a host pattern and all that take everything it takes."""
    yield host
    dot = host.find(".", 1)
    while dot > 0:
        yield host[dot:]
        dot = host.find(".", dot + 1)
    if host:
        yield ""
