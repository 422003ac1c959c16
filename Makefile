# Two commands set a fresh machine up: `make demo` and `make test`. Both make their own environment in .venv.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DEMO_ARGS ?=
TEST_ARGS ?=
BENCH_ARGS ?=
FUZZ_ARGS ?= --all
SIM_ARGS ?= --count 20 --results build/sim-quick.jsonl
PYTEST_WORKERS ?= 2
SEEDS ?= 0 1 2 3 4

PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test lint coverage spec-report vectors netns hostile mutants mutants-all fuzz sim network transfer \
	exchange fashion demo-acceptance bench clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 17

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

spec-report: $(VENV)/.installed-dev  ## Every rule of spec/ with its tests, vectors and code; fails where a MUST has none
	$(BIN)/python tools/spec_report.py --check

vectors: $(VENV)/.installed-dev  ## Compare the vectors with their maker, ask both implementations, change every byte
	$(BIN)/python tools/make_vectors.py --check
	$(BIN)/python -m quinkgl.testing.vectors spec/vectors
	$(BIN)/python tools/vectors_report.py --every

# What proves that the models travel: a network namespace whose only interface counts bytes, once with UDP dropped.
netns: $(VENV)/.installed-dev  ## The demo in a network namespace of its own (root or user namespaces)
	tools/debian_package.sh nftables /usr/sbin/nft /usr/sbin/ip /sbin/ip
	$(BIN)/python -m pytest -s -m netns tests/netns

hostile: $(VENV)/.installed-dev  ## Training nodes under floods of forged, random and mutated datagrams (root or user namespaces)
	$(BIN)/python -m pytest -s -m hostile tests/hostile

mutants: $(VENV)/.installed-dev  ## Plant bugs one at a time in a copy: the tests must notice each
	$(BIN)/python tools/mutants.py

mutants-all: $(VENV)/.installed-mutation  ## Every planted and drawn fault by all tests that run its lines; hours, resumable
	$(BIN)/python tools/mutants.py all

$(VENV)/.installed-mutation: $(VENV)/.installed-dev
	$(PIP) -e '.[mutation]'
	@touch $@

$(VENV)/.installed-fuzz: $(VENV)/.installed-dev
	$(PIP) -e '.[fuzz]'
	@touch $@

fuzz: $(VENV)/.installed-fuzz  ## Every fuzz harness for a fixed number of executions (FUZZ_ARGS='frames --runs 100000')
	$(BIN)/python -m fuzz $(FUZZ_ARGS)

sim: $(VENV)/.installed-dev  ## Whole swarms of 30 peers in virtual time, some of them hostile (SIM_ARGS='--count 1000 --workers 2')
	rm -f build/sim-quick.jsonl
	$(BIN)/python tools/sim_seeds.py $(SIM_ARGS)

network: $(VENV)/.installed-dev  ## Whole transfers over 500 bad links in virtual time
	$(BIN)/python tools/acceptance_network.py

transfer: $(VENV)/.installed-run  ## 100 MB by send and receive, either side killed half-way, judged
	$(BIN)/python tools/acceptance_transfer.py

exchange: $(VENV)/.installed-dev  ## 100,000 random schedules of the two-sided exchange, and its small worlds
	$(BIN)/python tools/exchange_schedules.py --worlds

fashion: $(VENV)/.installed-run  ## The demo on Fashion-MNIST (installs the Debian package dataset-fashion-mnist)
	tools/debian_package.sh dataset-fashion-mnist /usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz
	$(BIN)/python tools/acceptance_demo.py fashion-mnist --seeds 0 1

demo-acceptance: $(VENV)/.installed-run  ## Judge the demo over several seeds (SEEDS='0 1')
	$(BIN)/python tools/acceptance_demo.py digits --seeds $(SEEDS)

$(VENV)/.installed-bench: $(VENV)/.installed-run
	$(PIP) -e '.[bench]'
	@touch $@

bench: $(VENV)/.installed-bench  ## Measure against the peers, twice, and write benchmarks/RESULTS.md (BENCH_ARGS='--quick --only small')
	env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(BIN)/python -m benchmarks $(BENCH_ARGS)

clean:  ## Remove the environment, caches and build outputs
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.*
