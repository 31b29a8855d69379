"""Under which names and labels metrics are shown: the forms of the configuration, applied when they are read.

A form says for each label shown where its value comes from: a label of the metric, a *fact* that configuration knows of
such a label's value (the path pattern of a route, the key of a limit), or a fixed text. Series that become alike are
added up.

Laws:
- Workers count under the names of telemetry.families; of the forms they learn only which fine labels to tell apart
  and which bounds their histograms have.
- A value shown comes from configuration or from a fixed list, as the value it is made from does.
- What is counted for something that no configuration since control began knew of, is not shown in forms that show a
  fact of it: added to anything else it would be a jump of that.
- Series counted with other bounds, before a reload, go on in the bounds of now: each old bucket counts in the first
  bucket that holds all of it. So no count is lost, and none steps back.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

from headgate.core.failure import REASONS
from headgate.telemetry.cells import OTHER, Sample
from headgate.telemetry.families import DURATIONS, FAMILIES, MICROSECONDS, Family
from headgate.telemetry.settings import MetricForm, Metrics

FACTS: Final[Mapping[str, tuple[str, ...]]] = {
    "route": ("pattern", "host"),
    "limit": ("key", "algorithm", "window"),
    "status": ("class",),
    "reason": ("side",),
}
"""What is known of the values of a label, by its name."""
STATE: Final = "state"
"""The source that gives one series for each state of a gauge that is a state, 1 for the one it is in."""
ELSE: Final = "*"

# Native histograms: bounds are the powers of 2^(2^-SCHEMA); what is at most ZERO counts as zero.
SCHEMA: Final = 2
_LOWEST, _HIGHEST = -11, 6
ZERO: Final = 2.0**_LOWEST

Facts = Mapping[str, Mapping[str, Mapping[str, str]]]
"""By label and value: the facts known of it."""


class Exemplar(NamedTuple):
    """One observation with the trace it belongs to.

    `labels` are the values of all labels of its family, the fine ones too; `value` in exposed units, `at` wall clock
    seconds.
    """

    labels: tuple[str, ...]
    value: float
    at: float
    trace_id: str
    span_id: str


@dataclass(slots=True)
class Series:
    """One series as it is shown; `values` as in telemetry.cells.Sample, in the bounds of its family."""

    labels: tuple[str, ...]
    values: list[int]
    exemplars: list[Exemplar] = field(default_factory=list)


class Shown(NamedTuple):
    """One metric as it is shown: its name, the names of its labels, where it comes from, and its series, sorted."""

    name: str
    labels: tuple[str, ...]
    family: Family
    series: list[Series]


def table_of(settings: Metrics) -> dict[str, Family]:
    """Return the families with the bounds that the configuration wants."""
    chosen: dict[str, Family] = {}
    if settings.buckets:
        chosen = {name: FAMILIES[name]._replace(buckets=tuple(settings.buckets)) for name in DURATIONS}
    if settings.native:
        for name in DURATIONS:
            family = chosen.get(name, FAMILIES[name])
            chosen[name] = family._replace(between=native_bounds(family.buckets[-1]))
    return {name: chosen.get(name, family) for name, family in FAMILIES.items()}


@lru_cache
def native_bounds(highest: float) -> tuple[int, ...]:
    """Return the bounds of native buckets up to `highest` seconds, in whole microseconds.

    Observations are whole, so those up to a bound are those up to the whole number below it.
    """
    top = max(_HIGHEST, highest.__ceil__().bit_length())
    exponents = range(_LOWEST << SCHEMA, (top << SCHEMA) + 1)
    return tuple(int(2.0 ** (each / (1 << SCHEMA)) * MICROSECONDS) for each in exponents)


def native_index(bound: int) -> int:
    """Return the index of the native bucket that holds what lies at this bound of a cell; see SCHEMA."""
    return bisect_left(_POWERS, bound) + (_LOWEST << SCHEMA)


_POWERS = native_bounds(2.0**20)


def asked(settings: Metrics) -> frozenset[tuple[str, str]]:
    """Return which fine labels, of which families, some form shows or looks at."""
    return frozenset(
        (name, label)
        for name, forms in settings.names.items()
        if name in FAMILIES
        for form in forms
        for label in _looked_at(FAMILIES[name], form)
        if label in FAMILIES[name].fine
    )


def source_of(family: Family, text: str) -> tuple[int, str] | None:
    """Return the place of the label that a source speaks of, and the fact ("" for its value); None if none."""
    if text in family.labels:
        return family.labels.index(text), ""
    for place, label in enumerate(family.labels):
        if text in FACTS.get(label, ()):
            return place, text
    return None


def sources(family: Family) -> list[str]:
    """List what a label of this family may show, besides text."""
    facts = [fact for label in family.labels for fact in FACTS.get(label, ())]
    return [*family.labels, *facts, *([STATE] if family.states else [])]


def labels_of(family: Family, form: MetricForm) -> dict[str, str]:
    """Return the labels of a form with their sources."""
    return form.labels if form.labels is not None else {label: label for label in family.shown}


def _looked_at(family: Family, form: MetricForm) -> list[str]:
    texts = [*labels_of(family, form).values(), *form.only, *form.without]
    found = [source_of(family, text) for text in texts if not text.startswith("=")]
    return [family.labels[each[0]] for each in found if each is not None]


class Naming:
    """All forms of a configuration."""

    __slots__ = ("_forms", "_named", "_table")

    def __init__(self, settings: Metrics, facts: Facts) -> None:
        self._table = table_of(settings)
        self._named = frozenset(settings.names)
        own = [MetricForm()]
        self._forms = {
            name: [_Form(family, form, facts) for form in settings.names.get(name, own)]
            for name, family in self._table.items()
        }

    def show(
        self, samples: Iterable[Sample], exemplars: Callable[[str], Iterable[Exemplar]] = lambda _: ()
    ) -> list[Shown]:
        """Return all metrics that have a series, in the order of the table; `exemplars` gives those of a family.

        Those that the configuration names are there before anything is counted, so that whoever looks finds the name.

        Raises:
            KeyError: if a sample's family is not in the table.
        """
        grouped: dict[str, list[Sample]] = {name: [] for name in self._table}
        for sample in samples:
            grouped[sample.name.family].append(sample)
        shown: list[Shown] = []
        for name, group in grouped.items():
            if not group and name not in self._named:
                continue
            family = self._table[name]
            if family.kind == "histogram":
                group = [_rebound(each, family.bounds) for each in group]
            for form in self._forms[name]:
                series = form.series(group, exemplars(name) if family.kind == "histogram" else ())
                if series or name in self._named:
                    shown.append(Shown(form.name, form.labels, form.family, series))
        return shown


class _Form:
    """One form, compiled: for each label shown a function from the values counted to the value shown."""

    __slots__ = ("_as_counted", "_only", "_states", "_values", "_without", "family", "labels", "name")

    def __init__(self, family: Family, form: MetricForm, facts: Facts) -> None:
        self.family = family if form.help is None else family._replace(help=form.help)
        self.name = form.name or family.name
        wanted = labels_of(family, form)
        self.labels = tuple(wanted)
        self._states = next((place for place, text in enumerate(wanted.values()) if text == STATE), None)
        if not family.states:
            self._states = None
        self._values = [
            _reading(family, text, facts, form.values.get(label)) if place != self._states else _fixed("")
            for place, (label, text) in enumerate(wanted.items())
        ]
        self._only = _conditions(family, form.only, facts)
        self._without = _conditions(family, form.without, facts)
        plain = self.labels == family.shown == tuple(wanted.values())
        told_apart = self._only or self._without or form.values
        self._as_counted = len(self.labels) if plain and not told_apart else -1

    def series(self, samples: Iterable[Sample], exemplars: Iterable[Exemplar]) -> list[Series]:
        """Return the series that these samples of the family make, sorted by their labels."""
        found: dict[tuple[str, ...], Series] = {}
        for sample in samples:
            labels = self._show(sample.name.labels)
            if labels is None:
                continue
            known = found.get(labels)
            if known is None:
                found[labels] = Series(labels, sample.values)
            else:
                known.values = [one + other for one, other in zip(known.values, sample.values, strict=True)]
        for exemplar in exemplars:
            labels = self._show(exemplar.labels)
            if labels is not None and labels in found:
                found[labels].exemplars.append(exemplar)
        if self._states is not None:
            return self._by_state(found.values())
        return [found[labels] for labels in sorted(found)]

    def _show(self, counted: tuple[str, ...]) -> tuple[str, ...] | None:
        if self._as_counted >= 0:
            return counted[: self._as_counted]
        if any(value(counted) not in wanted for value, wanted in self._only):
            return None
        if any(value(counted) in unwanted for value, unwanted in self._without):
            return None
        shown = tuple([value(counted) for value in self._values])
        return None if None in shown else shown  # type: ignore[return-value]

    def _by_state(self, found: Iterable[Series]) -> list[Series]:
        place, states = self._states or 0, self.family.states
        made = [
            Series((*each.labels[:place], state, *each.labels[place + 1 :]), [int(each.values == [number])])
            for each in found
            for number, state in enumerate(states)
        ]
        return sorted(made, key=lambda each: each.labels)


# None where a fact is asked for that nobody knows.
_Reading = Callable[[tuple[str, ...]], str | None]


def _conditions(
    family: Family, written: Mapping[str, Sequence[str]], facts: Facts
) -> list[tuple[_Reading, frozenset[str]]]:
    return [(_reading(family, text, facts, None), frozenset(values)) for text, values in written.items()]


def _reading(family: Family, text: str, facts: Facts, renamed: Mapping[str, str] | None) -> _Reading:
    """Make what reads the value of a source from the values of a series' labels."""
    found = source_of(family, text)
    if text.startswith("=") or found is None:
        return _fixed(text.removeprefix("="))
    place, fact = found
    known = facts.get(family.labels[place], {})
    seen: dict[str, str | None] = {}

    def read(counted: tuple[str, ...]) -> str | None:
        value = counted[place]
        if value in seen:
            return seen[value]
        shown = _fact(fact, value, known) if fact else value
        if renamed is not None and shown is not None:
            shown = renamed.get(shown, renamed.get(ELSE, shown))
        # As many as there are series.
        seen[value] = shown
        return shown

    return read


def _fixed(text: str) -> _Reading:
    return lambda _: text


def _fact(fact: str, value: str, known: Mapping[str, Mapping[str, str]]) -> str | None:
    if fact == "class":
        return f"{value[0]}xx" if len(value) == 3 and value.isdigit() else value
    if fact == "side":
        return REASONS[value].side if value in REASONS else value
    if value in known:
        return known[value].get(fact, "")
    return value if value in ("", OTHER) else None


def rebound(values: Sequence[int], old: tuple[int, ...], new: tuple[int, ...]) -> list[int]:
    """Bring the cells of a histogram from these bounds into those."""
    moved = [values[0], *[0] * (len(new) + 1)]
    for bound, count in zip(old, values[1:], strict=False):
        moved[1 + bisect_left(new, bound)] += count
    moved[-1] += values[-1]
    return moved


def _rebound(sample: Sample, bounds: tuple[int, ...]) -> Sample:
    name, values = sample
    if name.bounds == bounds:
        return sample
    return Sample(name._replace(bounds=bounds), rebound(values, name.bounds, bounds))
