# Two commands set a fresh machine up: `make demo` and `make test`. Both make their own environment in .venv.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DEMO_ARGS ?=
TEST_ARGS ?=
PYTEST_WORKERS ?= 2

PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test lint coverage clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

# What the demo and the nodes need: no deep-learning framework.
$(VENV)/.installed-run: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[trio,plot]'
	@touch $@

# torch first and pinned: an open range could fetch gigabytes of another build.
$(VENV)/.installed-dev: $(VENV)/.installed-run
	$(PIP) torch==2.13.0
	$(PIP) -e '.[dev]'
	@touch $@

demo: $(VENV)/.installed-run  ## Train six peers on real data, with no server (DEMO_ARGS='--peers 10 --seed 1')
	$(BIN)/quinkgl-trio demo $(DEMO_ARGS)

test: $(VENV)/.installed-dev  ## Run the default test suite (TEST_ARGS='-k gossip')
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) $(TEST_ARGS)

lint: $(VENV)/.installed-dev  ## Lint, check the format, the types and the import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

coverage: $(VENV)/.installed-dev  ## Branch coverage of wire, crypto, transport and protocol: each at least 95 %
	$(BIN)/python tools/coverage_gate.py

clean:  ## Remove the environment, caches and build outputs
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.*
