# Needs only make and Python 3.11 or newer with venv. Everything that is installed lies in the cache, outside of the repository.
#   PYTHON=…   the Python to make the environment with      VENV=…   the environment's place
#   JOBS=…     processes of the tests (2)                   ARGS=…   more arguments for pytest, the demo or the benchmark

PYTHON ?= python3
JOBS ?= 2
ARGS ?=
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/wkpipe
KEY := $(shell { cat pyproject.toml; pwd -P; $(PYTHON) -V; } 2>&1 | sha256sum | cut -c1-16)
ifndef VENV
VENV := $(CACHE)/venv-$(KEY)
endif
BIN := $(VENV)/bin
READY := $(VENV)/.ready-$(KEY)

REFERENCE_VERSION := 4.3.3
REFERENCE := $(CACHE)/reference-$(REFERENCE_VERSION)-all-$(shell { $(PYTHON) -V; } 2>&1 | sha256sum | cut -c1-8)
REFERENCE_READY := $(REFERENCE)/.ready
TENSORSTORE_VERSION := 0.1.86
TENSORSTORE := $(CACHE)/tensorstore-$(TENSORSTORE_VERSION)-$(shell { $(PYTHON) -V; } 2>&1 | sha256sum | cut -c1-8)
TENSORSTORE_READY := $(TENSORSTORE)/.ready

PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist worksteal
SOURCES := wkpipe demo tests $(wildcard bench snakemake_*_plugin_wkpipe*)

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-slow torture test-fuzz test-workflow test-slurm test-reference bench bench-levels bench-upload bench-slurm clean distclean
.PHONY: lint lint-style lint-format lint-types lint-imports lint-rules lint-workflow

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' Makefile

venv: $(READY) ## install wkpipe (editable) and its tools into the cache, once
	@echo "$(VENV)"

demo: $(READY) ## a made-up EM volume becomes a dataset with its pyramid, and a picture of it
	@PATH="$(BIN):$$PATH" demo/run.sh $(ARGS)

test: $(READY) ## the fast tests
	$(PYTEST) -m "not slow and not reference and not slurm" $(ARGS)

test-slow: $(READY) ## the tests that take longer
	$(PYTEST) -m "slow and not reference and not slurm" $(ARGS)

torture: $(READY) $(REFERENCE_READY) ## the long run: every fault, hundreds of kills and damages, 100,000 broken inputs, 3,000 datasets; takes hours
	WKPIPE_TORTURE_SCALE=200 WKPIPE_REFERENCE_PYTHON="$(REFERENCE)/bin/python" $(PYTEST) tests/torture tests/stored $(ARGS)

test-fuzz: $(READY) ## 20,000 broken or hostile inputs, 600 random datasets
	WKPIPE_TORTURE_SCALE=40 $(PYTEST) tests/torture/test_fuzz_input.py tests/torture/test_fuzz_datasets.py $(ARGS)

test-workflow: $(READY) ## the workflow from end to end, slow tests too
	$(PYTEST) -m "not reference" tests/workflow $(ARGS)

test-slurm: $(READY) ## the failures of a cluster, on a real Slurm on this host (as root, on Debian)
	$(PYTEST) -m slurm tests/slurm $(ARGS)

test-reference: $(READY) $(REFERENCE_READY) ## compare with the reference package, in an environment of its own
	WKPIPE_REFERENCE_PYTHON="$(REFERENCE)/bin/python" $(PYTEST) -m reference $(ARGS)

lint: lint-style lint-format lint-types lint-imports lint-rules lint-workflow ## style, types, direction of imports, the workflow's form

lint-style: $(READY)
	$(BIN)/ruff check $(SOURCES)

lint-format: $(READY)
	$(BIN)/ruff format --check $(SOURCES)

lint-types: $(READY)
	$(BIN)/mypy

lint-imports: $(READY)
	$(BIN)/lint-imports --no-cache

lint-rules: $(READY)
	$(BIN)/snakefmt --check Snakefile workflow

lint-workflow: $(READY)
	PATH="$(BIN):$$PATH" $(BIN)/snakemake --lint --snakefile Snakefile

bench: $(READY) $(REFERENCE_READY) $(TENSORSTORE_READY) ## measure speed and memory beside the reference package and tensorstore
	WKPIPE_REFERENCE_PYTHON="$(REFERENCE)/bin/python" WKPIPE_TENSORSTORE_PYTHON="$(TENSORSTORE)/bin/python" \
		PATH="$(BIN):$$PATH" $(BIN)/python bench/run.py $(ARGS)

bench-levels: $(READY) ## measure what the levels of compression cost and save
	$(BIN)/python bench/levels.py $(ARGS)

bench-upload: $(READY) $(REFERENCE_READY) ## measure uploads over the loopback interface beside the reference client
	WKPIPE_REFERENCE_PYTHON="$(REFERENCE)/bin/python" $(BIN)/python bench/upload.py $(ARGS)

bench-slurm: $(READY) ## measure what Slurm costs, on a real one on this host (as root, on Debian)
	$(BIN)/python bench/slurm.py $(ARGS)

bench-kernels: $(READY) ## measure the kernels alone, for every combination of factors
	$(BIN)/python bench/kernels.py $(ARGS)

clean: ## remove what the targets above left in the repository
	rm -rf demo/out bench/out build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .snakemake
	find $(SOURCES) workflow -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean ## clean, and remove the environments from the cache
	rm -rf "$(CACHE)"/venv-$(KEY) "$(REFERENCE)" "$(TENSORSTORE)"

define CHECK_PYTHON
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	|| { echo "wkpipe needs Python 3.11 or newer, but $(PYTHON) is $$($(PYTHON) -V 2>&1); name another one: make PYTHON=python3.12 …" >&2; exit 1; }
@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	|| { echo "$(PYTHON) has no venv; on Debian: apt install python3-venv" >&2; exit 1; }
endef

$(READY): pyproject.toml
	$(CHECK_PYTHON)
	@mkdir -p "$(CACHE)"
	$(PYTHON) -m venv "$(VENV)"
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch "$@"

$(REFERENCE_READY):
	$(CHECK_PYTHON)
	@mkdir -p "$(CACHE)"
	$(PYTHON) -m venv "$(REFERENCE)"
	$(REFERENCE)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(REFERENCE)/bin/python -m pip install --quiet "webknossos[all]==$(REFERENCE_VERSION)"
	@touch "$@"

$(TENSORSTORE_READY):
	$(CHECK_PYTHON)
	@mkdir -p "$(CACHE)"
	$(PYTHON) -m venv "$(TENSORSTORE)"
	$(TENSORSTORE)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(TENSORSTORE)/bin/python -m pip install --quiet "tensorstore==$(TENSORSTORE_VERSION)"
	@touch "$@"
