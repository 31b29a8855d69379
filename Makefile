# Every target works from nothing: scripts/setup makes .venv when it is missing or no longer what the lock says.
.PHONY: help run test check format docs site compiled bench scaling soak setup
.DEFAULT_GOAL := help

PORT ?= 8080
ADMIN_PORT ?= 8081

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

run: setup ## start the gateway with sample upstreams and print what to try; PORT=8080 ADMIN_PORT=8081
	@.venv/bin/headgate demo --port $(PORT) --admin-port $(ADMIN_PORT)

test: setup ## format, lint, types, floors, generated documents and every test
	@scripts/test

check: setup ## the fast part: format, lint, types, floors, generated documents
	@scripts/check

format: setup ## format the code and mend what the linter can mend
	@.venv/bin/ruff format --quiet .
	@.venv/bin/ruff check --fix --quiet .

docs: setup ## write the generated documents anew: reference, JSON Schema, manual page, Kubernetes manifests
	@.venv/bin/python scripts/generate_docs.py
	@.venv/bin/python scripts/man_page.py
	@.venv/bin/python scripts/render_manifests.py

site: setup ## the documentation as pages for a browser, in build/site
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --quiet
	@echo "to read it: python3 -m http.server --directory build/site 8000"

compiled: setup ## a copy of the package with its request path compiled, in build/compiled
	@scripts/compile

bench: compiled ## CPU per request beside nginx, HAProxy, Envoy and the usual Python way
	@.venv/bin/python -m bench --markdown docs/benchmarks.md --chart docs/images/bench.svg

scaling: setup ## three gateways on machines of their own and one Redis: exact limits, one killed, the arithmetic
	@.venv/bin/python -m bench.scaling --markdown docs/scaling.md

soak: setup ## long runs: memory, reload, kill, control, sources, disk, clock, HTTP/2, cache, faults, keys, admin API
	@HEADGATE_SCHEMA_EXAMPLES=200 .venv/bin/pytest -q tests/control/admin/test_schema.py
	@.venv/bin/python -m bench.soak

setup:
	@scripts/setup
