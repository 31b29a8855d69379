"""API keys in a gateway's database, and in the file that its workers read: as many as a row asks for.

The first ones are those of bench.credentials; of the others only digests exist. The file is filled by the follower
that control runs, so that nothing is left to do for the gateway when it is measured.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from headgate.auth.api_key import digest
from headgate.control.database import find_url, fingerprint
from headgate.control.keys.follower import DatabaseFollower
from headgate.control.keys.key_store import open_store
from headgate.control.keys.sync import KeyPlace
from headgate.control.log import Log
from headgate.control.state import make_state
from headgate.core.clock import monotonic
from headgate.stores.board import Board

PEPPER = "the-pepper-of-the-bench-of-more-than-32-bytes"
SIZE = 1 << 30
_COLUMNS = "id, digest, hint, name, owner, tenant, roles, tier, scopes, addresses, created_at, revision"
_OTHERS = f"""
    WITH RECURSIVE others(number) AS (SELECT :first UNION ALL SELECT number + 1 FROM others WHERE number < :last)
    INSERT INTO headgate_keys ({_COLUMNS})
    SELECT 'k' || number, randomblob(32), '', '', '', 'acme', :roles, '', '[]', '[]', 0, 0 FROM others
"""


def load(state: Path, keys: list[str], roles: str, count: int) -> None:
    """Make the state_dir of a gateway that knows `count` keys, `keys` among them; `roles` is a JSON list."""
    url = find_url(None, {}, make_state(state))
    assert url.database is not None
    open_store(url, PEPPER.encode()).close()
    with sqlite3.connect(url.database) as database:
        for number, key in enumerate(keys):
            known = (f"k{number}", digest(PEPPER.encode(), key.encode()), roles)
            database.execute(
                f"INSERT INTO headgate_keys ({_COLUMNS}) VALUES (?, ?, '', '', '', 'acme', ?, '', '[]', '[]', 0, 0)",
                known,
            )
        if count > len(keys):
            database.execute(_OTHERS, {"first": len(keys), "last": count - 1, "roles": roles})
    database.close()
    folder = state / f"keys-{fingerprint(url)}"
    place = KeyPlace(url.render_as_string(), PEPPER.encode(), folder, SIZE, 1.0)
    follower = DatabaseFollower(place, Board.private(), Log("bench"), monotonic)
    follower.turn()
    follower.close()
