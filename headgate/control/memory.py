"""The plan in force, kept where it outlives a control process and touches no disk.

The master makes an anonymous file (memfd) before the first fork and every control process inherits it. Eight bytes
of length, then the pickle. The length is written last, so a control process killed while writing leaves no half
plan: its successor finds none, and starts from the configuration files alone.
"""

from __future__ import annotations

import os
import pickle

from headgate.control.messages import Plan

_LENGTH_BYTES = 8


def keep(memory: int, plan: Plan) -> None:
    """Replace what is kept."""
    body = pickle.dumps(plan, pickle.HIGHEST_PROTOCOL)
    os.ftruncate(memory, 0)
    os.ftruncate(memory, _LENGTH_BYTES)
    written = 0
    while written < len(body):
        written += os.pwrite(memory, body[written:], _LENGTH_BYTES + written)
    os.pwrite(memory, len(body).to_bytes(_LENGTH_BYTES, "little"), 0)


def recall(memory: int) -> Plan | None:
    """Return the plan a predecessor kept, or None when there is none."""
    length = int.from_bytes(os.pread(memory, _LENGTH_BYTES, 0), "little")
    if not length:
        return None
    body = os.pread(memory, length, _LENGTH_BYTES)
    plan = pickle.loads(body)
    return plan if isinstance(plan, Plan) else None
