"""Build hook: with HEADGATE_COMPILE=1 the wheel brings the request path compiled; without it, it is pure Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Compiled(BuildHookInterface[Any]):
    """Adds what scripts/compile makes, beside the plain sources it was made from."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and tell the wheel's builder what to take along."""
        if os.environ.get("HEADGATE_COMPILE") != "1" or version == "editable":
            return
        folder = Path(self.root) / "build" / "compiled"
        subprocess.run([sys.executable, str(Path(self.root) / "scripts" / "compile"), str(folder)], check=True)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        for path in folder.rglob("*.so"):
            build_data["force_include"][str(path)] = str(path.relative_to(folder))
