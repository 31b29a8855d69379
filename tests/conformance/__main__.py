"""Write docs/caching-conformance.md anew: `python -m tests.conformance`. Needs node and nginx."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.conformance.page import PATH, page
from tests.conformance.suite import gateway, nginx, origin, program, run


def main() -> int:
    """Run the suite twice, one cache after the other."""
    if program("node") is None or program("nginx") is None:
        print("node and nginx are needed: apt-get install nodejs nginx-light", file=sys.stderr)
        return 1
    said = subprocess.run([str(program("nginx")), "-v"], capture_output=True, text=True, check=True).stderr
    version = re.search(r"nginx/([\d.]+)", said)
    with tempfile.TemporaryDirectory() as name:
        with origin() as port, gateway(Path(name), port) as url:
            ours = run(url)
        with origin() as port, nginx(Path(name), port) as url:
            theirs = run(url)
    PATH.write_text(page(ours, theirs, version[1] if version is not None else ""), encoding="utf-8")
    print(f"wrote {PATH}")
    return 0


sys.exit(main())
