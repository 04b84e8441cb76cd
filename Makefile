# Everything that is built or installed stays in this folder: .venv (installed), .launch (jobs, records). See README.md.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Processes that pytest spreads the tests over.
N ?= 2
# Options for `make pins` (--upgrade), `make soak` (SUITE --rounds N --seed S) and `make bench`.
PINS ?=
SOAK ?= kill
BENCH ?=

# Older versions of pip read the constraints of an isolated build from the first of these, newer ones from the second. The path
# is relative because pip splits the value at spaces.
PIP_INSTALL := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 \
               $(BIN)/python -m pip install --no-input

# A comma in an argument of a make function.
, := ,

define say
@printf '\n== %s\n' $(1)
endef

.PHONY: help demo test lint soak bench pins clean

help:
	@echo 'make demo    install, run six tasks of a real phase, show the results (4 minutes the first time, then 2)'
	@echo 'make test    install, check the code, run all tests (10 minutes the first time)'
	@echo 'make lint    the checks of make test without the tests (1 minute)'
	@echo 'make soak    the fault suites with full counts (an hour or more; can be resumed)'
	@echo 'make bench   the benchmarks (10 minutes)'
	@echo 'make pins    write constraints.txt from pyproject.toml (PINS=--upgrade takes the newest)'
	@echo 'make clean   remove what was built and installed; jobs and results stay'

# --- installing -----------------------------------------------------------------------------------------------------------

# Written last, so that an environment whose making was interrupted is made anew; one that works is kept as it is.
$(VENV)/.made:
	$(call say,'A virtual environment in $(VENV) (a few seconds)')
	@command -v $(PYTHON) >/dev/null || { \
	    echo 'There is no $(PYTHON) here. hint: apt-get install python3 python3-venv, or make PYTHON=/path/to/python3' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	    echo "$(PYTHON) is $$($(PYTHON) -V 2>&1), launch needs 3.10 or newer. hint: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    version=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	    echo "$(PYTHON) cannot make virtual environments: the module ensurepip is missing." >&2; \
	    echo "hint: apt-get install python3-venv (or python$$version-venv)" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.installed-demo: $(VENV)/.made pyproject.toml constraints.txt
	$(call say,'Installing launch with local inference (1 minute with the CPU build of torch$(,) 200 MB; several with the one for CUDA$(,) 3 GB)')
	@$(PIP_INSTALL) -e '.[inference]'
	@touch $@

$(VENV)/.installed-test: $(VENV)/.made pyproject.toml constraints.txt
	$(call say,'Installing launch with local inference and the test tools (1 minute with the CPU build of torch$(,) several with the one for CUDA)')
	@$(PIP_INSTALL) -e '.[inference,dev]'
	@touch $(VENV)/.installed-demo $@

# --- showing and testing --------------------------------------------------------------------------------------------------

# --rerun: each demo computes anew; what an earlier one produced is set aside and never deleted.
demo: $(VENV)/.installed-demo
	$(call say,'Six tasks of jobs/phase1_large.yaml on this machine (1 to 2 minutes); Ctrl-C leaves them running')
	@code=0; $(BIN)/launch submit phase1_large --array 0-5 --follow --rerun || code=$$?; \
	    printf '\n== %s\n' 'The results (launch status last)'; $(BIN)/launch status last; exit $$code

lint: $(VENV)/.installed-test
	$(call say,'Format$(,) lint$(,) types$(,) import contracts (1 minute)')
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy --strict launcher slurm/onehost
	@$(BIN)/lint-imports

test: lint
	$(call say,'The tests$(,) in $(N) processes (5 minutes)')
	@$(BIN)/python -m pytest -n $(N)

soak: $(VENV)/.installed-test
	$(call say,'The fault suites with full counts; a second call resumes')
	@$(BIN)/python -m tests.soak $(SOAK)

bench: $(VENV)/.installed-test
	$(call say,'The benchmarks$(,) beside submitit')
	@$(PIP_INSTALL) --quiet submitit
	@$(BIN)/python -m benchmarks $(BENCH)

# --- keeping house --------------------------------------------------------------------------------------------------------

# The pins hold for Python 3.10 and newer on Linux: where the newest release needs a newer Python, there are two lines with markers.
pins: $(VENV)/.made
	$(call say,'constraints.txt from pyproject.toml (10 seconds)')
	@$(PIP_INSTALL) --quiet uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --all-extras --group pins --no-annotate --no-emit-index-url \
	    --custom-compile-command 'make pins' --output-file constraints.txt $(PINS) pyproject.toml
	@git --no-pager diff --stat -- constraints.txt

clean:
	rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find launcher jobs slurm tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
	@echo 'Jobs and results stay, in .launch and in the output folders of the phases; so do the logs of make soak, in build/soak.'
