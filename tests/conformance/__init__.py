"""The public suite of tests for HTTP caches (https://cache-tests.fyi), against real processes.

`http-cache-tests` holds what is needed of the npm package http-cache-tests 0.4.5 (BSD-3-Clause, by Mark Nottingham),
unchanged; origin.mjs and run.mjs stand in for its server and its command line. `python -m tests.conformance` writes
docs/caching-conformance.md.
"""
