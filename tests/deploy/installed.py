"""The package as a user gets it: built, and installed into an environment that has nothing else.

Nothing is fetched: what Headgate depends on is lent by the environment of the tests, whose own editable Headgate stays
outside, for a .pth file inside a folder that a .pth file names is not read.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = Path(sysconfig.get_path("purelib"))


def build(kind: str, folder: Path, source: Path = ROOT) -> Path:
    """Build a wheel or an sdist of `source`; return the file."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=300)
    (made,) = folder.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return made


def install(wheel: Path, folder: Path, packages: Path = PACKAGES) -> Path:
    """Install a wheel into a new environment; return its folder of programs."""
    venv.create(folder, symlinks=True)
    programs = folder / "bin"
    command = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "install", "--quiet"]
    subprocess.run([*command, "--no-deps", "--no-index", str(wheel)], check=True, capture_output=True, timeout=300)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "lent.pth").write_text(f"{packages}\n")
    return programs
