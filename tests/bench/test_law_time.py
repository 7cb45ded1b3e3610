"""How long a law of two axes takes with 4,000 resamples, and how much memory.

Run by hand with ``make bench``. The runs are as many as Chinchilla's, of its law as Besiroglu et
al. (2024) fitted it.
"""

import resource
import time

import numpy as np
import pytest

from analysis.statistics.law_judgement import judge
from analysis.statistics.run_resampling import Runs

MOST_SECONDS, MOST_BYTES = 13.75, 150e6
"""A quarter of what reweighted squares alone took, in seconds of one processor, and the bar of the
design for memory."""

pytestmark = pytest.mark.bench


def test_a_law_of_two_axes() -> None:
    draw = np.random.default_rng(0)
    sizes = 10 ** draw.uniform([7.75, 8.5], [10.2, 11.5], (240, 2))
    losses = 1.8172 + 477.9 * sizes[:, 0] ** -0.3473 + 2143.4 * sizes[:, 1] ** -0.3672
    losses *= np.exp(draw.standard_t(3, 240) * 0.004)
    runs = Runs(names=("n", "d"), sizes=sizes, losses=losses)
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    report = judge(runs, n_resamples=4000)
    seconds = time.process_time() - started
    added = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    alpha = report.forms["saturating"].estimates["alpha"]
    print(f"\n4,000 resamples of 240 runs: {seconds:.1f} s, {added / 1e6:.0f} MB; {alpha}")
    assert alpha.low is not None
    assert alpha.high is not None
    assert alpha.low < 0.3473 < alpha.high
    assert seconds <= MOST_SECONDS
    assert added <= MOST_BYTES
