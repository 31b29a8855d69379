"""Test data by others: where it is, and what to do when it is not there.

The folder lies beside the repository (`../shared/corpora`, its README says where each file comes from). Without it the
tests say why they are skipped; on a build server (CI=true) they fail.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

_FOLDER = Path(__file__).resolve().parents[2] / "shared" / "corpora"


def corpus(name: str, of: str = "cases") -> list[dict[str, Any]]:
    """Return the cases of a file; skip the module, or fail it on a build server, when the file is missing.

    `of` is the key that they stand under.
    """
    path = _FOLDER / name
    if not path.exists():
        reason = f"{path} is missing: see tests/corpora.py"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason, allow_module_level=True)
    cases: list[dict[str, Any]] = json.loads(path.read_text())[of]
    return cases


def llhttp_bytes(text: str) -> bytes:
    """Return the bytes of an llhttp case: Latin-1, but where its source held characters beyond it, UTF-8."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()
