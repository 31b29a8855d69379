"""What control sends to workers. Pickled; see frames.py for why only in this direction."""

from __future__ import annotations

import gc
import math
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from headgate.config.resolve import ResolvedConfig
from headgate.core.endpoint import Endpoint
from headgate.proxy.own import OwnAnswer


@dataclass(frozen=True, slots=True)
class Plan:
    """A configuration and its number; numbers grow and are never used twice while the gateway runs."""

    version: int
    config: ResolvedConfig


@dataclass(frozen=True, slots=True)
class KeySets:
    """The public keys of all issuers whose keys control fetches: JWKS documents (RFC 7517) by JwtIssuer.name.

    An issuer whose keys may not be used any more has an empty document; one that is missing has never had any.
    `answers` names the issuers whose keys a worker asked for: there are none newer than these at the moment.
    """

    version: int
    sets: Mapping[str, bytes]
    answers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EndpointSets:
    """Whole endpoint sets of services with `discovery`, by ResolvedService.source.

    Of a source that is missing nothing has changed; if these are all sets there are (`whole`), nothing is known.
    """

    version: int
    sets: Mapping[str, tuple[Endpoint, ...]]
    whole: bool = True


@dataclass(frozen=True, slots=True)
class OwnAnswers:
    """What workers say of the gateway at own endpoints that they answer themselves, by path and proxy.own.State.

    `not_ready` says what keeps it from being ready, empty for nothing. `seen` is the monotonic moment of all this, and
    whoever asks for something newer ({"type": "own_answers"}) has it at once, from the moment `again` on.
    """

    answers: Mapping[str, Mapping[str, OwnAnswer]]
    not_ready: str = ""
    seen: float = 0.0
    again: float = math.inf


@dataclass(frozen=True, slots=True)
class Forget:
    """Begin afresh with these keys of the store of limits, and say it: {"type": "forgotten", "number", "found"}."""

    number: int
    keys: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class TellRecords:
    """Tell the records of all requests that have ended, then say so: {"type": "told", "number"}."""

    number: int


# What holds beside the plan: the newest of each kind is in force.
Beside = KeySets | EndpointSets | OwnAnswers


class PackedPlan(NamedTuple):
    """A plan as it travels: packed once, sent to every worker, kept for a successor."""

    version: int
    body: bytes


def pack(plan: Plan) -> PackedPlan:
    """Turn a plan into bytes."""
    with paused_collector():
        return PackedPlan(plan.version, pickle.dumps(plan, pickle.HIGHEST_PROTOCOL))


def unpack(body: bytes) -> object:
    """Turn the bytes of a message from control: a Plan, one of Beside, or what this worker is too old for."""
    with paused_collector():
        return pickle.loads(body)


@contextmanager
def paused_collector() -> Iterator[None]:
    """Keep the cyclic collector away from work that makes a hundred thousand objects and no garbage.

    With 10,000 routes it doubles the time of packing and unpacking, and triples that of building.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
