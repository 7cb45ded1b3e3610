"""What a search keeps in memory of trials that have ended.

Run by hand with ``make bench``. The bar is the issue's: a few MB, however many have ended.
"""

import statistics
from pathlib import Path

import psutil
import pytest

from tests.tuner.command import start, trials, write_space

TRIALS = 80
MOST_GROWTH_BYTES = 5 * 2**20
WINDOW = 15

pytestmark = pytest.mark.bench


def test_the_driver_does_not_grow_with_the_trials_that_have_ended(tmp_path: Path) -> None:
    write_space(tmp_path, trials=TRIALS, epochs=12, forced="none")
    process = start(tmp_path, "--concurrency", "2")
    driver = psutil.Process(process.pid)
    used: dict[int, int] = {}
    while process.poll() is None:
        ended = len(trials(tmp_path))
        if ended not in used:
            used[ended] = driver.memory_info().rss
    output, errors = process.communicate()
    assert process.returncode == 0, output + errors
    # The first trials still fill caches of libraries; what comes later would come for ever.
    middle = [used[n] for n in sorted(used) if TRIALS // 4 <= n < TRIALS // 4 + WINDOW]
    last = [used[n] for n in sorted(used) if n > TRIALS - WINDOW]
    growth = statistics.median(last) - statistics.median(middle)
    between = TRIALS - TRIALS // 4 - WINDOW
    print(
        f"driver with {TRIALS // 4} trials ended: {statistics.median(middle) / 2**20:.0f} MiB; "
        f"{between} trials later {growth / 2**20:+.2f} MiB (bar {MOST_GROWTH_BYTES / 2**20:.0f})"
    )
    assert growth < MOST_GROWTH_BYTES
