"""Stores of cached answers.

Read `store.py` first (what the proxy sees). In memory that workers share: `memory.py` (the store), `layout.py` (its
file and its lock), `entries.py` (who makes room for whom) over `ring.py`, `record.py`, `index.py` and `ghosts.py`,
`purges.py` (what was purged) and `claims.py` (who fetches what). In Redis: `redis.py`, `redis_call.py`, `cache.lua`.
"""
