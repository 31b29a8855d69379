"""Routes that can never be reached, and ties that only the place in the file decides: for `headgate check`.

Law: what is reported is certain; a combination of expressions or templates that happens to cover another route is
not found. The cost grows with the number of routes, not with its square.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    places: dict[tuple[str, Steps], list[Rule[Any]]] = {}
    begun: set[tuple[str, Steps]] = set()
    for rule in table.rules:
        steps = rule.path.steps
        for host in rule.hosts:
            places.setdefault((host, steps), []).append(rule)
            begun.update((host, steps[:length]) for length in range(len(steps)))
    found: dict[tuple[str, str], Overlap] = {}
    for rule in table.rules:
        for overlap in _overlaps(rule, places, begun, order):
            found.setdefault((overlap.route, overlap.by), overlap)
    return list(found.values())


def _overlaps(
    rule: Rule[Any], places: dict[tuple[str, Steps], list[Rule[Any]]], begun: set[tuple[str, Steps]], order: str
) -> Iterator[Overlap]:
    """Yield the routes that, together or alone, take everything from `rule`; else the ties."""
    takers: list[Rule[Any]] = []
    ties: list[tuple[Rule[Any], frozenset[str]]] = []
    unreached = True
    for host in rule.hosts:
        where = [(host, rule.path.steps)] if order == "specific" else list(_covering(host, rule.path.steps, begun))
        left = rule.methods
        whole = False
        for other in sorted((other for place in where for other in places.get(place, ())), key=lambda one: one.order):
            if other.order >= rule.order or not _asks_no_more(other, rule, order):
                continue
            shared = _shared(other, rule)
            if shared is not None and not shared:
                continue
            if host in other.hosts and _is_twin(other, rule):
                ties.append((other, shared or frozenset()))
            takers.append(other)
            whole = whole or other.methods is None
            left = left - other.methods if left is not None and other.methods is not None else left
            if whole or (left is not None and not left):
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


def _asks_no_more(other: Rule[Any], rule: Rule[Any], order: str) -> bool:
    """Tell whether conditions that hold for `rule` hold for `other`, and do not make `rule` the more specific."""
    theirs = {condition.text for condition in other.conditions}
    ours = {condition.text for condition in rule.conditions}
    if order == "file":
        return theirs <= ours and (other.methods is None or rule.methods is not None)
    return theirs == ours and (other.methods is None) == (rule.methods is None)


def _shared(other: Rule[Any], rule: Rule[Any]) -> frozenset[str] | None:
    """Return the methods of `rule` that `other` takes too, None for all of them."""
    if other.methods is None or rule.methods is None:
        return None
    return other.methods & rule.methods


def _is_twin(other: Rule[Any], rule: Rule[Any]) -> bool:
    return other.path.steps == rule.path.steps and _asks_no_more(other, rule, "specific")


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
