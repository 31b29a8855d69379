"""The set-up of the bench: a virtual environment of its own for the peers that come as Python packages.

`python -m bench.setup` makes it, and `python -m bench` calls it first. It stands beside the project's environment and
not in it, because Headgate must never depend on what it is compared with.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.stage import say

FOLDER = Path(__file__).parent / ".venv-peers"
PYTHON = FOLDER / "bin" / "python"
_WANTED = Path(__file__).parent / "peers.txt"
_STAMP = FOLDER / "peers.txt"


def ensure() -> bool:
    """Make the environment unless it is there as `peers.txt` wants it; return whether it is.

    A failure is told and is no error: the peers of this environment are then missing from the tables.
    """
    if _STAMP.is_file() and _STAMP.read_text() == _WANTED.read_text():
        return True
    say(f"making {FOLDER} (Envoy, FastAPI, uvicorn, httpx), once")
    steps = (
        [sys.executable, "-m", "venv", "--clear", str(FOLDER)],
        [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(_WANTED)],
    )
    for step in steps:
        if subprocess.run(step, check=False).returncode != 0:
            say(f"failed: {' '.join(step)}")
            return False
    _STAMP.write_text(_WANTED.read_text())
    return True


if __name__ == "__main__":
    sys.exit(0 if ensure() else 2)
