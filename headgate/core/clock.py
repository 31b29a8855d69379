"""The two clocks. Monotonic for every duration and deadline; the wall clock only for log lines and dates.

Law: read once per wire event and pass `now` on; nothing on floor 1 that decides imports this.
"""

from __future__ import annotations

import time

monotonic = time.monotonic
wall = time.time
