# Shortcuts. `make` alone lists them: the text after ## is what it prints.
# Each target first creates .venv and installs the project there, if that has not been done.
VENV ?= .venv
PYTHON ?= python3
BUDGET ?= 2M
HORIZON ?= 3
TRIALS ?=
ARGS ?=
INSTALL_FLAGS ?=
KILLS ?= 100
EXAMPLES ?= 10000
PARALLEL = $(VENV)/bin/python -m pytest --numprocesses logical --maxprocesses 8 --dist worksteal

# Where this is set, each process of the tests compiles all sources anew: 4 s of CPU per process.
test fast: export PYTHONDONTWRITEBYTECODE =

.PHONY: help install tune sweep study tensorboard test fast check fuzz chaos bench gpu lock
.DEFAULT_GOAL := help

INSTALL = -m pip install --quiet --disable-pip-version-check

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

install: $(VENV)/installed ## create .venv with the versions of constraints.lock

tune: $(VENV)/installed ## search one cell; BUDGET=2M HORIZON=3 TRIALS=6
	$(VENV)/bin/python -m study.tune --budget $(BUDGET) --horizon $(HORIZON) \
		$(if $(TRIALS),--trials $(TRIALS)) $(ARGS)

sweep: $(VENV)/installed ## search every budget x every horizon
	$(VENV)/bin/python -m study.sweep $(if $(TRIALS),--trials $(TRIALS)) $(ARGS)

study: $(VENV)/installed ## a small study from its sweep to its report
	$(VENV)/bin/python -m study.sweep --search small
	$(VENV)/bin/python -m study.train --search small
	$(VENV)/bin/python -m analysis --study small

tensorboard: $(VENV)/installed ## show the curves of all trials, live
	$(VENV)/bin/tensorboard --logdir ray_results

# A start of Ray often waits, so three of its tests at a time keep two cores busy. More of them would
# each take all cores of a larger machine for theirs. They are collected from their own files, which
# name the mark or the list of marks it is in: that saves each process the imports of all others.
# A file stays in one process, as its tests share a search or a Ray; the largest files, which take
# minutes, come first, so that no process waits for another at the end.
test: $(VENV)/installed ## run all tests
	$(PARALLEL) -m "not ray and not bench and not gpu"
	$(VENV)/bin/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder \
		-m "ray and not alone and not bench and not gpu" \
		$$(grep -rlE 'mark\.ray|\bMARKS\b' tests --include 'test_*.py' | xargs ls -S)
	$(VENV)/bin/python -m pytest -m alone $$(grep -rl mark.alone tests --include '*.py')

fast: $(VENV)/installed ## run the quick tests; ARGS="-k name" for some of them
	$(PARALLEL) -m "not ray and not slow and not bench and not gpu" $(ARGS)

check: $(VENV)/installed ## run ruff and mypy
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

# Every run draws other inputs.
fuzz: $(VENV)/installed ## damage inputs of each kind; EXAMPLES=10000
	FUZZ_EXAMPLES=$(EXAMPLES) $(PARALLEL) tests/fuzz

chaos: $(VENV)/installed ## kill searches and resume them; KILLS=100
	$(VENV)/bin/python -m pytest -s -m ray tests/tuner/test_chaos.py --kills $(KILLS)

bench: $(VENV)/installed ## measure speed and memory against their bars
	$(VENV)/bin/python -m pytest -m bench -s tests/bench $(ARGS)

# Without a GPU it runs in tiny sizes, and starts neither a search nor the checks on the device.
gpu: $(VENV)/installed ## check and time on a GPU in one go, in less than six minutes
	$(VENV)/bin/python -m tests.bench.gpu_table $(ARGS)

# The newest versions that pyproject.toml allows, as a fresh environment gets them.
lock: ## write constraints.lock anew
	$(PYTHON) -m venv --clear build/lock
	build/lock/bin/python $(INSTALL) ".[dev,history,panel,lightgbm]"
	{ sed '/^[^#]/d' constraints.lock; \
		build/lock/bin/python -m pip freeze --exclude market-scaling-study | sed 's/+.*//'; \
	} > build/constraints.lock
	mv build/constraints.lock constraints.lock

$(VENV)/installed: pyproject.toml constraints.lock
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python $(INSTALL) $(INSTALL_FLAGS) --constraint constraints.lock \
		--editable ".[dev,history,panel,lightgbm]"
	touch $@
