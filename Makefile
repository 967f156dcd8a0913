# Everything a contributor runs. `make demo` and `make test` work as the first command on a fresh clone.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

# A Python of 3.11 to 3.13; another one: make setup PYTHON=/path/to/python
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BOUNDS := .venv-bounds
OUT := $(or $(O3V_OUT),outputs)
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: help setup demo test test-slow test-slurm test-slurm-slow format lint types check bounds ui mlflow-server clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-16s %s\n", $$1, $$2 }'

setup: $(STAMP)  ## install into .venv; repeated only when pyproject.toml changes

demo: $(STAMP)  ## a small study on CPU, from nothing to grounded answers, nothing downloaded
	$(BIN)/python -m o3v.demo

test: $(STAMP)  ## the quick tests
	$(PYTEST) -n 2 -m "not slow and not slurm"

test-slow: $(STAMP)  ## the tests that take more than about 20 s each
	$(PYTEST) -n 2 -m "slow and not slurm"

test-slurm: $(STAMP)  ## the tests against a true SLURM, one after the other
	$(PYTEST) -m "slurm and not slow"

test-slurm-slow: $(STAMP)  ## the long ones of them: a real time limit, more processes
	$(PYTEST) -m "slurm and slow"

format: $(STAMP)  ## rewrite the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(STAMP)  ## format and rules, without changing anything
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)  ## static types
	$(BIN)/mypy

check: lint types test  ## what must pass before a commit

bounds: $(BOUNDS)/.installed  ## the tests marked `bounds` on the oldest allowed versions, in a venv of its own
	OMP_NUM_THREADS=1 $(BOUNDS)/bin/python -m pytest -m bounds

ui: $(STAMP)  ## MLflow on http://127.0.0.1:5000 over the runs in outputs/ (or in O3V_OUT)
	@test -f "$(OUT)/mlflow.db" || { echo "$(OUT)/mlflow.db does not exist: run something first, or set O3V_OUT"; exit 1; }
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow ui --host 127.0.0.1 --port 5000 --workers 1 \
		--backend-store-uri "sqlite:///$(OUT)/mlflow.db"

mlflow-server: $(STAMP)  ## the MLflow server that many jobs log to: one worker, sqlite in WAL made first, loopback
	@$(BIN)/python -c 'import sys, pathlib; from o3v.tracking.mlflow_database import SQLITE, Store, connect; \
		connect(Store(SQLITE + str(pathlib.Path(sys.argv[1]).absolute()), "o3v", "mlflow-artifacts:/o3v"))' "$(OUT)/mlflow.db"
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow server --host $(or $(MLFLOW_HOST),127.0.0.1) \
		--port $(or $(MLFLOW_PORT),5000) --workers 1 --backend-store-uri "sqlite:///$(OUT)/mlflow.db" \
		--serve-artifacts --artifacts-destination "$(OUT)/mlflow.artifacts"

clean:  ## remove caches and build leftovers; results and .venv stay
	rm -rf build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis *.egg-info $(BOUNDS)
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 was not found: install one, or give make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make environments: install its venv package (Debian: apt-get install python3-venv)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -e '.[deepspeed,dev]'
	@touch $@

$(BOUNDS)/.installed: pyproject.toml tests/lower_bounds.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 was not found: install one, or give make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv --clear $(BOUNDS)
	$(BOUNDS)/bin/pip install -c tests/lower_bounds.txt -e '.[deepspeed,dev]'
	@touch $@
