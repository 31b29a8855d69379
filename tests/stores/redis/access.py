"""What an ACL user of a gateway needs, read from where it is documented."""

from __future__ import annotations

import re
from pathlib import Path

_PAGE = Path(__file__).parents[3] / "docs" / "operations.md"


def _documented() -> str:
    found = re.search(r"An ACL user needs no more than `([^`]+)`", _PAGE.read_text())
    assert found is not None, "docs/operations.md says no longer which rights are needed"
    return found[1]


RIGHTS = _documented()
