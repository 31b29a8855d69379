"""Limits counted in Redis or Valkey, shared by several gateways.

Read `store.py` first (what the gateway sees), then `limits.lua` (what counts), `connection.py` (the bytes), `node.py`
(one server, held on to), and `sentinel.py` or `cluster.py` (which server).
"""
