# Everything happens in one virtual environment. Both may be given: make demo VENV=/tmp/dip PYTHON=python3.12
VENV ?= .venv
PYTHON ?= python3

# Stamps say what is installed, so that a second call reinstalls nothing. A changed pyproject.toml renews them.
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
BIN := $(VENV)/bin

# An environment of its own, with every dependency at its floor.
VENV_FLOORS ?= $(VENV)-floors
INSTALLED_FLOORS := $(VENV_FLOORS)/.installed-dev

DEMO_RUNS ?= runs/demo
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo install install-dev test test-all test-floors check format lock clean

help:  ## Say what there is.
	@grep -E '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 16

demo: $(INSTALLED)  ## Reconstruct an embedded phantom from 30 views with aSeqDIP, and say where the result is.
	$(BIN)/dip-lightning fit --config configs/demo.yaml --trainer.default_root_dir $(DEMO_RUNS) --record.overwrite true
	@echo
	@echo "Results of the demo:"
	@find $(DEMO_RUNS) -name preview.png -o -name summary.json | sort | sed 's/^/  /'

test: $(INSTALLED_DEV)  ## Run the tests, less the slow ones.
	$(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

test-all: $(INSTALLED_DEV)  ## Run all tests.
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-floors: $(INSTALLED_FLOORS)  ## Run the tests with every dependency at the floor that pyproject.toml states.
	$(VENV_FLOORS)/bin/python -m pytest -m "not slow" $(PYTEST_ARGS)

check: $(INSTALLED_DEV)  ## Lint, format check and type check.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED_DEV)  ## Format, and repair what the linter can.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: $(INSTALLED)  ## Install the package into VENV.

install-dev: $(INSTALLED_DEV)  ## Install the package and what its development needs into VENV.

lock:  ## Write requirements.lock anew, from a fresh environment (Linux; PYTHON must be 3.12).
	.ci/lock "$(PYTHON)"

clean:  ## Delete the environment, caches and build results; runs are kept.
	rm -rf "$(VENV)" "$(VENV_FLOORS)" build dist .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

$(VENV)/bin/python $(VENV_FLOORS)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' || \
		{ echo "$(PYTHON) is not Python 3.10 to 3.12; name one that is, e.g. make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv "$(@D:/bin=)" || { rm -rf "$(@D:/bin=)"; exit 1; }

# torch and torchvision are one pair: both are new in this environment, so pip takes a matching pair.
$(INSTALLED): pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch "$@"

$(INSTALLED_DEV): pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[dev,nufft]"
	@touch "$(INSTALLED)" "$@"

# Without nufft, which needs a newer numpy than the floor: its tests are skipped.
$(INSTALLED_FLOORS): pyproject.toml | $(VENV_FLOORS)/bin/python
	.ci/floors > "$(VENV_FLOORS)/constraints.txt"
	$(VENV_FLOORS)/bin/python -m pip install --quiet --editable ".[dev]" --constraint "$(VENV_FLOORS)/constraints.txt"
	@touch "$@"
