"""The plan in force, kept where it outlives a control process and touches no disk.

The master makes an anonymous file (memfd) before the first fork and every control process inherits it; no worker
does. Eight bytes of length, then a pickle. The length is written last, so a control process killed while writing
leaves no half plan: its successor finds none, and starts from the configuration files alone.
"""

from __future__ import annotations

import os
import pickle
from typing import NamedTuple

from headgate.config.resolve import ResolvedConfig
from headgate.control.issuers import KeptKeys
from headgate.control.keys.sync import KeyPlace
from headgate.control.messages import PackedPlan, Plan, unpack
from headgate.control.sources import KeptSource
from headgate.control.store_file import StoreFile
from headgate.control.withheld import Withheld, whole

_LENGTH_BYTES = 8


class Handover(NamedTuple):
    """The plan as workers have it, what they do not have of its configuration, and the files of the stores it names.

    The keys are those of issuers, which may be away when control comes back, as may be who told where services run. API
    keys go on where `api_keys` says.
    """

    plan: PackedPlan
    withheld: Withheld
    store: StoreFile | None = None
    keys: tuple[KeptKeys, ...] = ()
    api_keys: KeyPlace | None = None
    discovery: tuple[KeptSource, ...] = ()
    cache: StoreFile | None = None


def keep(memory: int, kept: Handover) -> None:
    """Replace what is kept."""
    body = pickle.dumps(kept, pickle.HIGHEST_PROTOCOL)
    os.ftruncate(memory, 0)
    os.ftruncate(memory, _LENGTH_BYTES)
    written = 0
    while written < len(body):
        written += os.pwrite(memory, body[written:], _LENGTH_BYTES + written)
    os.pwrite(memory, len(body).to_bytes(_LENGTH_BYTES, "little"), 0)


def recall(memory: int) -> Handover | None:
    """Return what a predecessor kept, or None when there is nothing, or only what another version of it understands."""
    length = int.from_bytes(os.pread(memory, _LENGTH_BYTES, 0), "little")
    if not length:
        return None
    try:
        kept = pickle.loads(os.pread(memory, length, _LENGTH_BYTES))
    except Exception:
        # The package may have been replaced under a running gateway: then every successor would fail at the same place.
        return None
    return kept if isinstance(kept, Handover) else None


def config_of(kept: Handover) -> ResolvedConfig | None:
    """Return the configuration that was in force, with what workers did not have of it; None as for `recall`."""
    try:
        plan = unpack(kept.plan.body)
    except Exception:
        return None
    return whole(plan.config, kept.withheld, kept.discovery) if isinstance(plan, Plan) else None
