# `make` alone lists what there is. Every target makes .venv first, from requirements.lock.
PYTHON ?= python3
RUN := .venv/bin/
SCRIPTS := $(wildcard .ci/run examples/*/*.sh)
.DEFAULT_GOAL := help
.PHONY: help demo dev check test test-unit test-house test-sdks test-cluster test-docker soak bench lock clean bootstrap

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: bootstrap ## four programs, their roles and what they may not do, on this machine alone
	@PATH="$(CURDIR)/.venv/bin:$$PATH" examples/evolution/demo.sh

dev: bootstrap ## run the whole system here, until Ctrl-C
	@$(RUN)rolecall dev

check: bootstrap ## format, lint, types, floors
	$(RUN)ruff format --check && $(RUN)ruff check
	$(RUN)mypy
	$(RUN)lint-imports
	@if command -v shellcheck >/dev/null; then shellcheck $(SCRIPTS); else echo "shellcheck: not installed, skipped"; fi

# Most tests wait for a process or a socket: four at once on two processors halve the time.
test: bootstrap ## the whole suite, but for test-sdks, test-cluster and test-docker
	$(RUN)pytest --numprocesses 4 --dist loadfile

test-unit: bootstrap ## the tests without network and processes
	$(RUN)pytest tests/unit

test-house: bootstrap ## the tests of the house itself
	$(RUN)pytest tests/house

test-sdks: bootstrap ## the agent and every AWS SDK in a network namespace; as root, minutes
	$(RUN)pytest tests/sdks

test-cluster: bootstrap ## the tests with a real Kubernetes API server; its first build takes minutes
	$(RUN)pytest tests/cluster

test-docker: bootstrap ## the tests with a real Docker engine, which they start; as root, minutes (ROUNDS=n SESSION=s)
	$(RUN)pytest tests/docker

soak: bootstrap ## the agent for ten minutes among faults (MINUTES=n): its memory must be flat
	@PYTHONPATH=tests $(RUN)python -m soak --minutes $(or $(MINUTES),10)

bench: bootstrap ## measure, against a reference in the same run
	$(RUN)python -m bench

lock: bootstrap ## renew requirements.lock from pyproject.toml, to the newest that it allows
	$(RUN)uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --no-emit-index-url --upgrade --quiet --output-file requirements.lock

clean: ## remove .venv and everything that was made here
	rm -rf .venv .cache dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf examples/*/js/node_modules && find src tests tools examples -name __pycache__ -prune -exec rm -rf {} +

bootstrap:
	@$(PYTHON) tools/bootstrap
