import gc
import os

import pytest

# What the modules of all tests make stays. Each look for garbage would search its million objects
# again: a fifteenth of the CPU time of the tests without Ray, and a second of each process's start.
_USUAL = gc.get_threshold()
gc.set_threshold(*_USUAL[:2], 1_000_000)

# Read by the libraries of OpenMP and BLAS when they are loaded, and inherited by every process that
# a test starts. The tests run in one process per core: a second thread of each would only wait,
# and it waits busily (10 s of CPU instead of 2 s for the boosted trees of test_power.py).
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kills", type=int, default=10, help="times that the search of test_chaos.py is killed"
    )


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.set_threshold(*_USUAL)


@pytest.fixture(scope="session")
def kills(request: pytest.FixtureRequest) -> int:
    count: int = request.config.getoption("--kills")
    return count
