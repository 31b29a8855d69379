"""Which kind of database a URL names, as far as that can be told without asking it."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Literal
from urllib.parse import urlsplit

_EXPECTED = "expected postgresql://HOST/NAME or sqlite:////path"
_SCHEME = re.compile(r"[a-z][a-z0-9+]{0,30}")


def database_kind(url: str) -> Literal["sqlite", "postgresql"]:
    """Return the kind of database.

    Raises:
        ValueError: with a sentence that holds nothing of the URL but its scheme.
    """
    scheme, found, rest = url.partition("://")
    if not found or _SCHEME.fullmatch(scheme) is None:
        raise ValueError(f"this is no URL of a database: {_EXPECTED}")
    if scheme == "sqlite":
        path = rest.partition("?")[0].removeprefix("/")
        if not path or path == ":memory:" or not rest.startswith("/"):
            raise ValueError("an SQLite database needs the path of a file")
        return "sqlite"
    if scheme not in ("postgres", "postgresql", "postgresql+psycopg"):
        raise ValueError(f"databases of the kind {scheme} are not supported: {_EXPECTED}")
    try:
        urlsplit(url).port  # noqa: B018
    except ValueError:
        raise ValueError(f"the host or port of the database is none: {_EXPECTED}") from None
    if find_spec("psycopg") is None:
        raise ValueError("the driver for PostgreSQL is not installed: pip install '.[postgres]' in a checkout adds it")
    return "postgresql"
