# `make tune BUDGET=2M HORIZON=3` searches one cell, `make sweep` all of them, `make study` takes a
# small study from its sweep to its report, `make test` runs the tests, `make fast` the quick ones.
# Each first creates the virtual environment and installs the project if that has not been done.
VENV ?= .venv
PYTHON ?= python3
BUDGET ?= 2M
HORIZON ?= 3
TRIALS ?=
ARGS ?=
KILLS ?= 100
EXAMPLES ?= 10000
PARALLEL = $(VENV)/bin/python -m pytest --numprocesses logical --maxprocesses 8

.PHONY: tune sweep study test fast check bench chaos fuzz tensorboard lock
.DEFAULT_GOAL := test

INSTALL = -m pip install --quiet --disable-pip-version-check

$(VENV)/installed: pyproject.toml constraints.lock
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python $(INSTALL) --constraint constraints.lock --editable ".[dev]"
	touch $@

# Writes the newest versions that pyproject.toml allows, as a fresh environment gets them.
lock:
	$(PYTHON) -m venv --clear build/lock
	build/lock/bin/python $(INSTALL) ".[dev]"
	{ sed '/^[^#]/d' constraints.lock; \
		build/lock/bin/python -m pip freeze --exclude market-scaling-study | sed 's/+.*//'; \
	} > build/constraints.lock
	mv build/constraints.lock constraints.lock

tune: $(VENV)/installed
	$(VENV)/bin/python -m study.tune --budget $(BUDGET) --horizon $(HORIZON) \
		$(if $(TRIALS),--trials $(TRIALS)) $(ARGS)

sweep: $(VENV)/installed
	$(VENV)/bin/python -m study.sweep $(if $(TRIALS),--trials $(TRIALS)) $(ARGS)

study: $(VENV)/installed
	$(VENV)/bin/python -m study.sweep --search small
	$(VENV)/bin/python -m study.train --search small
	$(VENV)/bin/python -m analysis --study small

# Ray takes all cores, so its tests come one after the other.
test: $(VENV)/installed
	$(PARALLEL) -m "not ray and not bench and not gpu"
	$(VENV)/bin/python -m pytest -m "ray and not bench and not gpu"

fast: $(VENV)/installed
	$(PARALLEL) -m "not ray and not slow and not bench and not gpu" $(ARGS)

check: $(VENV)/installed
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

chaos: $(VENV)/installed
	$(VENV)/bin/python -m pytest -s -m ray tests/tuner/test_chaos.py --kills $(KILLS)

# So many damaged inputs of each kind; another draw every time.
fuzz: $(VENV)/installed
	FUZZ_EXAMPLES=$(EXAMPLES) $(PARALLEL) tests/fuzz

bench: $(VENV)/installed
	$(VENV)/bin/python -m pytest -m bench -s tests/bench $(ARGS)

tensorboard: $(VENV)/installed
	$(VENV)/bin/tensorboard --logdir ray_results
