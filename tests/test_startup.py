"""What a command imports before it does anything: nobody waits for a library that is not used."""

import subprocess
import sys

import pytest

HEAVY = {"ray", "torch", "optuna", "sklearn", "matplotlib", "arch", "statsmodels", "tensorboard"}


COMMANDS = {
    "study.status": HEAVY | {"pandas", "scipy", "talib"},
    "study.results.__main__": HEAVY | {"pandas", "scipy", "talib"},
    "analysis.__main__": HEAVY | {"pandas", "talib"},
    "study.tune": HEAVY | {"pandas", "talib"},
    "study.sweep": HEAVY | {"pandas", "talib"},
    "study.plan": HEAVY | {"pandas", "talib"},
    "study.predict": HEAVY | {"pandas", "talib"},
    "study.train": HEAVY | {"talib"},
    "study.data.__main__": HEAVY,
}
"""The commands, and what none of them or of those before it may have imported."""


@pytest.mark.slow
def test_no_command_imports_what_it_may_not_need() -> None:
    # In one process: what is absent after one command, no earlier one has imported.
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *COMMANDS],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    for (name, absent), modules in zip(COMMANDS.items(), done.stdout.splitlines(), strict=True):
        assert not absent & set(modules.split()), name


@pytest.mark.slow
def test_a_worker_trains_without_what_it_may_not_need() -> None:
    # The compiler of torch alone, with sympy, takes a second of every worker.
    code = (
        "import sys, study.tuner.trainable\n"
        "from tests.training.planted import make_trainer\n"
        "make_trainer(epochs=1).run_epoch()\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    absent = {"torch._dynamo", "sympy", "scipy", "sklearn", "matplotlib", "arch", "tensorboard"}
    assert not absent & set(done.stdout.split())
