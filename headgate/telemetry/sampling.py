"""Which requests are recorded whole (telemetry.record): decided as a request's route is known, or at its end.

    reserve (so many a second) -> ratio, both of the first rule that holds or of all -> at the end: error, slow, refused

Laws: pure, chance and time are handed in; what most requests pay is a comparison and a subtraction; whoever sends
requests cannot make more records than `most` in a second, and one that asks for it (a parent's decision) not more than
half of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf, log1p
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headgate.telemetry.settings import Sampling, SamplingRule

# Gives numbers from 0 up to, not including, 1.
Chance = Callable[[], float]

_SERVER_ERROR = 500
_SWITCHED = 101


class Allowance:
    """So many in each second; what is not used of one second is gone in the next. Less than one: one in a while."""

    __slots__ = ("_interval", "_paid", "_slack", "due")

    def __init__(self, per_second: float) -> None:
        self._interval = 1.0 / per_second if per_second else inf
        self._slack = max(0.0, 1.0 - self._interval)
        self._paid = -inf
        # The moment from which there is one to take.
        self.due = -inf if per_second else inf

    def take(self, now: float) -> bool:
        """Take one at `now` (monotonic seconds), if there is one."""
        if now < self.due:
            return False
        self._paid = max(self._paid, now) + self._interval
        self.due = self._paid - self._slack
        return True


class Share:
    """A share of requests, and a reserve beside it. `name` is what is said of those that the ratio chose.

    While `left` is not zero and the moment `due` has not come nothing is to be chosen: whoever looks may count `left`
    down by itself, in place of asking.
    """

    __slots__ = ("_chance", "_name", "_ratio", "_reserve", "due", "left")

    def __init__(self, ratio: float, per_second: float, name: str, chance: Chance) -> None:
        self._ratio = ratio
        self._name = name
        self._chance = chance
        self._reserve = Allowance(per_second)
        self.due = self._reserve.due
        # How many requests go by before the next one is chosen: one draw for each that is, none for the others.
        self.left = self._gap()

    def chosen(self, now: float) -> str:
        """Return why a request at `now` (monotonic seconds) is recorded: "reserve", the name, or "" for not."""
        if now >= self.due:
            self._reserve.take(now)
            self.due = self._reserve.due
            return "reserve"
        if self.left:
            self.left -= 1
            return ""
        self.left = self._gap()
        return self._name

    def _gap(self) -> float:
        """Draw how many fail before one succeeds, where each does with the ratio."""
        if self._ratio >= 1.0:
            return 0
        return int(log1p(-self._chance()) / log1p(-self._ratio)) if self._ratio > 0.0 else inf


# A share for those whose choice takes more than counting down.
ASK = Share(1.0, 0.0, "", lambda: 0.0)


class Rule:
    """One rule as far as the route does not decide it."""

    __slots__ = ("_below", "_methods", "_path", "_services", "share")

    def __init__(self, rule: SamplingRule, share: Share, services: frozenset[str]) -> None:
        self._services = services
        self._methods = frozenset(method.upper() for method in rule.method)
        self._path = rule.path.rstrip("/") if rule.path is not None else ""
        self._below = self._path + "/"
        self.share = share

    @property
    def always(self) -> bool:
        """Tell whether it holds for every request of its route."""
        return not (self._services or self._methods or self._path)

    def holds(self, service: str, method: str, path: str) -> bool:
        """Tell whether it holds for a request."""
        return (
            (not self._services or service in self._services)
            and (not self._methods or method in self._methods)
            and (not self._path or path == self._path or path.startswith(self._below))
        )


class Choice:
    """How requests of one route are chosen; `only` is the share of all of them where no rule tells them apart."""

    __slots__ = ("_rules", "_share", "only")

    def __init__(self, rules: Iterable[Rule], share: Share) -> None:
        self._rules = tuple(rules)
        self._share = share
        self.only = share if not self._rules else None

    def chosen(self, service: str, method: str, path: str, now: float) -> str:
        """Return why a request is recorded (Share.chosen)."""
        for rule in self._rules:
            if rule.holds(service, method, path):
                return rule.share.chosen(now)
        return self._share.chosen(now)


class Sampler:
    """The sampling of one worker out of `workers`; `dropped` counts what was beyond `most`."""

    __slots__ = ("_choices", "_followed", "_most", "_refused", "_rules", "_share", "dropped", "errors", "slow")

    def __init__(self, settings: Sampling, workers: int, chance: Chance) -> None:
        self._share = Share(settings.ratio, settings.per_second / workers, "ratio", chance)
        self._rules = [(rule, Share(rule.ratio, rule.per_second / workers, "rule", chance)) for rule in settings.rules]
        self.errors = settings.errors
        # Seconds from which on a request is slow.
        self.slow = settings.slow or inf
        self._most = Allowance(settings.most)
        self._followed = Allowance(settings.most / 2)
        self._refused = Allowance(settings.refused / workers)
        self._choices: dict[tuple[int, ...], Choice] = {}
        self.dropped = 0

    def of(self, route: str, services: frozenset[str]) -> Choice:
        """Return how requests of a route to one of these services are chosen."""
        rules: list[Rule] = []
        share = self._share
        for setting, each in self._rules:
            if setting.route and route not in setting.route:
                continue
            wanted = frozenset(setting.service)
            if wanted and not wanted & services:
                continue
            # Where all its services are wanted the service decides nothing.
            rule = Rule(setting, each, frozenset() if services and services <= wanted else wanted)
            if rule.always:
                share = each
                break
            rules.append(rule)
        if not rules:
            # As most are: large tables share it.
            return self._choices.setdefault((id(share),), Choice((), share))
        return Choice(rules, share)

    def admits(self, now: float) -> bool:
        """Tell whether there is room for one more record at `now`; one for which there is none is counted."""
        if self._most.take(now):
            return True
        self.dropped += 1
        return False

    def follows(self, now: float) -> bool:
        """Tell whether there is room for one more that its caller wants recorded; likewise."""
        if self._followed.take(now):
            return True
        self.dropped += 1
        return False

    def late(self, status: int, refused: bool, failed: bool, seconds: float, now: float) -> str:
        """Return why a request is recorded that has ended so: "error", "slow", "refused", or "" for not.

        `refused`: it failed for a reason of the client's side; `failed`: for any other.
        """
        if self.errors and (failed or (status >= _SERVER_ERROR and not refused)):
            return "error"
        # A tunnel takes as long as its two ends like.
        if seconds >= self.slow and status != _SWITCHED:
            return "slow"
        return "refused" if refused and self._refused.take(now) else ""
