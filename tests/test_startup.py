"""What a command imports before it does anything: nobody waits for a library that is not used."""

import subprocess
import sys

import pytest

HEAVY = {"ray", "torch", "optuna", "sklearn", "matplotlib", "arch", "statsmodels", "tensorboard"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("analysis.__main__", HEAVY | {"pandas", "talib"}),
        ("study.status", HEAVY | {"pandas", "scipy", "talib"}),
        ("study.data.__main__", HEAVY),
        ("study.results.__main__", HEAVY | {"pandas", "scipy", "talib"}),
    ],
)
def test_no_command_imports_what_it_may_not_need(module: str, absent: set[str]) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert not absent & set(done.stdout.split())


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
