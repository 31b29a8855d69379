"""How the processes of a gateway are at one moment, as own endpoints and the admin API tell it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from headgate.telemetry.cells import SlotRegion

# Seconds. A worker beats twice in each; one silent for so long is shown as not alive, and the master kills it later.
ALIVE = 3.0


class WorkerState(TypedDict):
    """One worker: its number from 1, its process id (0 while there is none), seconds since it came up."""

    worker: int
    pid: int
    uptime: float
    alive: bool


class Snapshot(TypedDict):
    """All of them: the plan in force (0 before the first), whether they drain, seconds since control came up."""

    plan: int
    draining: bool
    workers: list[WorkerState]
    control_uptime: float


def workers_of(regions: Sequence[SlotRegion], now: float) -> list[WorkerState]:
    """Return how the workers of these slots are at this monotonic time."""
    return [
        {
            "worker": number,
            "pid": region.pid,
            "uptime": round(now - region.started, 3) if region.pid else 0.0,
            "alive": bool(region.pid) and now - region.heartbeat < ALIVE,
        }
        for number, region in enumerate(regions, 1)
    ]


def uptime(shown: Snapshot) -> float:
    """Return for how many seconds the gateway has been there: its processes are replaced one by one."""
    return max(shown["control_uptime"], *(worker["uptime"] for worker in shown["workers"]), 0.0)


def is_whole(shown: Snapshot) -> bool:
    """Tell whether a plan is in force and no worker is missing."""
    return shown["plan"] > 0 and all(worker["alive"] for worker in shown["workers"])
