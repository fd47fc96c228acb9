# Needs only make and Python 3.11 or newer with venv. Everything that is installed is in the cache, outside of the repository.
#   PYTHON=…   the Python for the environment               VENV=…   the environment's place
#   JOBS=…     processes of the tests (2)                   ARGS=…   more arguments for pytest, the demo or the benchmark
#   MEMORY=…   directory in memory for files of the tests (/dev/shm); MEMORY= puts them on the disk

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
SNAKEMAKE_VERSION = $(shell $(BIN)/python -c 'from importlib.metadata import version; print(version("snakemake"))' 2>/dev/null)
SNAKEMAKE = $(CACHE)/snakemake-$(SNAKEMAKE_VERSION)-$(shell { $(PYTHON) -V; } 2>&1 | sha256sum | cut -c1-8)

PYTEST = $(BIN)/python -m pytest -n $(JOBS) --dist worksteal
# Syncs to a disk are half of the time of many tests, so these keep their files in memory if there is room.
MEMORY := /dev/shm
ROOM_KB := $(shell { df -Pk $(MEMORY) | awk 'NR == 2 { print $$4 }'; awk '/^MemAvailable/ { print $$2 }' /proc/meminfo; } 2>/dev/null | sort -n | head -1)
IN_MEMORY := $(shell test -d "$(MEMORY)" && test "$(ROOM_KB)" -gt 6000000 && echo PYTEST_DEBUG_TEMPROOT=$(MEMORY))
SOURCES := hatch_build.py wkpipe workflow/scripts containers wheels demo tests $(wildcard bench snakemake_*_plugin_wkpipe*)

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-numpy test-slow torture test-fuzz test-workflow test-slurm test-reference bench bench-levels bench-upload bench-fixed-cost bench-slurm bench-kubernetes clean distclean
.PHONY: kubernetes-parts test-kubernetes image image-lock wheels test-wheels
.PHONY: lint lint-style lint-format lint-types lint-imports lint-rules lint-workflow

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' Makefile

venv: $(READY) ## install wkpipe (editable) and its tools into the cache, once
	@echo "$(VENV)"

demo: $(READY) ## a made-up EM volume becomes a dataset with its pyramid, and a picture of it
	@PATH="$(BIN):$$PATH" demo/run.sh $(ARGS)

test: $(READY) ## the fast tests
	$(IN_MEMORY) $(PYTEST) -m "not slow and not reference and not slurm and not kubernetes and not wheels" $(ARGS)

test-numpy: $(READY) ## what the native engine computes, without it: golden files, kernels, partitions, damage
	WKPIPE_NATIVE=0 $(IN_MEMORY) $(PYTEST) -m "not slow and not reference" tests/golden tests/native tests/sampling/test_kernels.py tests/sampling/test_golden.py \
		$(addprefix tests/formats/,test_golden.py test_round_trip.py test_damage.py) \
		$(addprefix tests/steps/,test_downsample.py test_handover.py test_partitions.py test_fill_value.py) $(ARGS)

test-slow: $(READY) ## the tests that take longer
	$(PYTEST) -m "slow and not reference and not slurm and not kubernetes" $(ARGS)

torture: $(READY) $(REFERENCE_READY) ## the long run: every fault, hundreds of kills and damages, 100,000 broken inputs, 3,000 datasets; takes hours
	WKPIPE_WHOLE=1 WKPIPE_REFERENCE_PYTHON="$(REFERENCE)/bin/python" $(PYTEST) -m sampled $(ARGS)
	WKPIPE_WHOLE=1 WKPIPE_TORTURE_SCALE=200 WKPIPE_REFERENCE_PYTHON="$(REFERENCE)/bin/python" $(PYTEST) tests/torture tests/stored tests/native $(ARGS)

test-fuzz: $(READY) ## 17,000 broken or hostile inputs, 500 random datasets
	WKPIPE_TORTURE_SCALE=34 $(PYTEST) tests/torture/test_fuzz_input.py tests/torture/test_fuzz_datasets.py $(ARGS)

test-workflow: $(READY) ## the workflow from end to end, slow tests too
	$(PYTEST) -m "not reference" tests/workflow $(ARGS)

test-slurm: $(READY) ## the failures of a cluster, on a real Slurm on this host (as root, on Debian)
	$(PYTEST) -m slurm tests/slurm $(ARGS)

test-kubernetes: JOBS = 4# each has a cluster of its own, and mostly waits for it
test-kubernetes: $(READY) kubernetes-parts ## on a real Kubernetes of one node (as root, on Debian), or on the cluster of KUBECONFIG
	$(PYTEST) -m kubernetes tests/kubernetes $(ARGS)

kubernetes-parts: ## build Kubernetes for its tests into the cache, once; takes some minutes
	$(CHECK_PYTHON)
	@$(PYTHON) -m tests.kubernetes.bed.parts

test-reference: $(READY) $(REFERENCE_READY) ## compare with the reference package, in an environment of its own
	WKPIPE_REFERENCE_PYTHON="$(REFERENCE)/bin/python" $(PYTEST) -m reference $(ARGS)

WHEELS_READY := $(VENV)/.wheels-$(KEY)
$(WHEELS_READY): $(READY)
	$(BIN)/python -m pip install --quiet --group wheels
	@touch "$@"

wheels: $(WHEELS_READY) ## the wheels of all platforms into dist/, cross-compiled and checked
	@$(BIN)/python -m wheels.build dist

test-wheels: $(WHEELS_READY) ## build them, check their symbols, and run their kernels, under emulation where it must be
	$(PYTEST) -m wheels tests/wheels $(ARGS)

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

bench-levels: $(READY) ## measure the cost and savings of compression levels
	$(BIN)/python bench/levels.py $(ARGS)

bench-upload: $(READY) $(REFERENCE_READY) ## measure uploads over the loopback interface beside the reference client
	WKPIPE_REFERENCE_PYTHON="$(REFERENCE)/bin/python" $(BIN)/python bench/upload.py $(ARGS)

bench-fixed-cost: $(READY) ## measure the fixed cost of a run beside a bare Snakemake, in an environment that has nothing else
	@test -x "$(SNAKEMAKE)/bin/snakemake" || { $(PYTHON) -m venv "$(SNAKEMAKE)" && $(SNAKEMAKE)/bin/python -m pip install --quiet "snakemake==$(SNAKEMAKE_VERSION)"; }
	WKPIPE_SNAKEMAKE="$(SNAKEMAKE)/bin/snakemake" $(BIN)/python bench/fixed_cost.py $(ARGS)

bench-slurm: $(READY) ## measure the overhead of Slurm, on a real one on this host (as root, on Debian)
	$(BIN)/python bench/slurm.py $(ARGS)

bench-kubernetes: $(READY) kubernetes-parts ## measure the overhead of Kubernetes, on a real one on this host (as root, on Debian)
	$(BIN)/python bench/kubernetes.py $(ARGS)

bench-kernels: $(READY) ## measure the kernels alone, for every combination of factors
	$(BIN)/python bench/kernels.py $(ARGS)

image: $(READY) ## the container image, as an OCI archive, into dist/image
	@$(BIN)/python -m containers.build $(ARGS)

image-lock: $(READY) ## choose the newest versions of the image's Python packages
	@$(BIN)/python -m containers.build --lock

clean: ## remove what the targets above left in the repository
	rm -rf demo/out bench/out build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .snakemake
	find $(SOURCES) workflow -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean ## clean, and remove the environments, Kubernetes and the image's layers from the cache
	rm -rf "$(CACHE)"/venv-$(KEY) "$(REFERENCE)" "$(TENSORSTORE)" "$(SNAKEMAKE)" "$(CACHE)"/kubernetes "$(CACHE)"/image

define CHECK_PYTHON
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	|| { echo "wkpipe needs Python 3.11 or newer, but $(PYTHON) is $$($(PYTHON) -V 2>&1); name another one: make PYTHON=python3.12 …" >&2; exit 1; }
@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	|| { echo "$(PYTHON) has no venv; on Debian: apt install python3-venv" >&2; exit 1; }
endef

$(READY): pyproject.toml hatch_build.py wkpipe/native/build.py wkpipe/native/engine.c wkpipe/native/codecs.h wkpipe/native/kernels.h wkpipe/native/reduce.h
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
