# All targets work on a machine with git, make, python3 (3.11 or newer) with venv, and a package index.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# With the lowest versions of the dependencies that pyproject.toml allows.
VENV_FLOORS ?= .venv-floors
# A process for each core, up to four; the tests of a file share one, and with it what they build and compile.
PYTEST_ARGS ?= -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-floors bench truth lint types schema clean

demo: $(VENV)/installed
	$(BIN)/terrazzo demo --out terrazzo-demo

test: $(VENV)/installed-test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-floors: $(VENV_FLOORS)/installed
	$(VENV_FLOORS)/bin/python -m pytest -m lowest $(PYTEST_ARGS)

bench: $(VENV)/installed
	$(BIN)/python -m benchmarks $(BENCH_ARGS)
	$(BIN)/python -m benchmarks.cluster_simulation

# How well the classes of each method agree with the labelled scenes of a folder: make truth TRUTH=FOLDER
truth: $(VENV)/installed
	$(BIN)/python -m benchmarks.truth $(TRUTH)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-dev
	$(BIN)/mypy

schema: $(VENV)/installed
	$(BIN)/python -c "import json; from pipeline.jobs.config import config_schema; print(json.dumps(config_schema(), indent=2))" > configs/schema.json

clean:
	rm -rf $(VENV) $(VENV_FLOORS) .venv-3.* terrazzo-demo .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Terrazzo needs Python 3.11 or newer; say which with: make PYTHON=python3.12')"
	$(PYTHON) -m venv $(VENV)

# From nothing each time, as uv keeps what is installed and fits.
$(VENV_FLOORS)/installed: pyproject.toml
	$(PYTHON) -m venv --clear $(VENV_FLOORS)
	$(VENV_FLOORS)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(VENV_FLOORS)/bin/python -m uv pip install --quiet --python $(VENV_FLOORS) --resolution lowest-direct --editable ".[test]"
	touch $@

# A stamp for each set of dependencies: installed again only when pyproject.toml changes.
$(VENV)/installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/installed-%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$*]"
	touch $@
