"""How fast a study of a large panel starts again, and what each worker holds of it.

Run by hand with ``make bench``. The bars are the issue's, on a panel of 4,000 assets, 2,500 days
and 25 features, whose inputs have a gigabyte: 2 seconds, and 200 MiB a worker beside the mapping.
On 2 cores of a shared machine (2026-11-28) it takes 1.1 s of CPU, 0.2 of them for the file's
checksum and 0.7 for the ranks of the targets; a worker grows by 96 MiB with the arrays of training,
by 160 with all.
"""

import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from study.data.arrays import SampleArray
from study.data.data_config import DataConfig
from study.data.panel.arrow_cache import InputsKey, cached_inputs
from study.data.panel.build_panel import build_panel_dataset
from study.data.panel.panel import Panel
from study.data.panel.panel_inputs import PanelInputs, panel_feature_hash, panel_inputs_code

N_ASSETS, N_DAYS, N_FEATURES = 4000, 2500, 25
MOST_SECONDS, MOST_BYTES = 2.0, 200 * 2**20
CONTEXT = 60

OF_TRAINING = ("inputs", "present", "targets", "returns", "volatility", "sectors")
"""Fields of a data set that training reads."""

WORKER = """
import pickle, sys
import numpy as np
from study.data.panel.panel_dataset import PanelDataset

def measured(kind):
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(kind))

before = measured("Anonymous:")
with open(sys.argv[1], "rb") as file:
    held = pickle.load(file)
inputs = held["inputs"].values
for day in held["train_days"][::40]:
    inputs[day + np.arange(1 - int(sys.argv[2]), 1)].sum()
# Clean pages of the mapped file are the page cache's, which all workers share: they are no
# anonymous memory.
print(measured("Anonymous:") - before, measured("Rss:"))
"""
"""A worker: it loads what it is handed, then gathers windows of days from all over the panel."""

pytestmark = pytest.mark.bench


def large_panel() -> Panel:
    """Return random walks, of which a tenth ends early."""
    rng = np.random.default_rng(0)
    close = np.exp(np.cumsum(rng.normal(0, 0.02, (N_DAYS, N_ASSETS)), axis=0))
    close[N_DAYS // 2 :, ::10] = np.nan
    return Panel(
        name="large",
        dates=np.arange(N_DAYS).astype("datetime64[D]"),
        assets=tuple(f"A{number:05d}" for number in range(N_ASSETS)),
        close=close,
        fingerprint="large",
    )


def random_inputs(panel: Panel) -> PanelInputs:
    rng = np.random.default_rng(1)
    values: SampleArray = rng.standard_normal((N_DAYS, N_ASSETS, N_FEATURES), dtype=np.float32)
    known = np.isfinite(panel.close)
    values[~known] = 0
    names = tuple(f"f{number}" for number in range(N_FEATURES))
    return PanelInputs(names=names, values=values, known=known)


def test_a_large_panel_starts_again_at_once_and_its_workers_hold_no_copy(tmp_path: Path) -> None:
    panel, config = (
        large_panel(),
        DataConfig(
            horizon=1, source="large", tier="closes", normalization="cross_rank", task="ranking"
        ),
    )
    key = InputsKey(
        fingerprint=panel.fingerprint,
        tier="closes",
        normalization="cross_rank",
        train_rows="",
        feature_hash=panel_feature_hash("closes"),
        code=panel_inputs_code(),
    )
    began = time.perf_counter()
    cached_inputs(key, tmp_path, lambda: random_inputs(panel))
    first = time.perf_counter() - began
    began = time.perf_counter()
    cached_inputs(key, tmp_path, lambda: pytest.fail("the file must be good"))
    opened = time.perf_counter() - began
    second = []
    for _ in range(3):
        began = time.perf_counter()
        data = build_panel_dataset(config, panel, cache=tmp_path)
        second.append(time.perf_counter() - began)
    size = sum(path.stat().st_size for path in tmp_path.glob("*.arrow"))
    print(
        f"{size / 1e9:.2f} GB: first start {first:.1f} s with random inputs, second start "
        f"{min(second):.2f} s with labels, the fastest of three (bar {MOST_SECONDS:g}), of which "
        f"the file takes {opened:.2f}"
    )
    assert data.warnings == ()
    whole = {name: getattr(data, name) for name in (*OF_TRAINING, "train_days", "closes", "dates")}
    of_training = {name: whole[name] for name in (*OF_TRAINING, "train_days")}
    for what, held in (("the arrays of training", of_training), ("the whole data set", whole)):
        grown, resident = worker_memory(tmp_path / "held.pickle", held)
        print(
            f"worker with {what}: {grown / 2**20:.0f} MiB of its own "
            f"(bar {MOST_BYTES / 2**20:.0f}), {resident / 2**20:.0f} resident with the mapping"
        )
        assert grown <= MOST_BYTES
    assert min(second) <= MOST_SECONDS


def worker_memory(path: Path, held: object) -> tuple[int, int]:
    """Return the bytes that a worker grows by, mapping aside, and all that are resident in it."""
    path.write_bytes(pickle.dumps(held))
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(path), str(CONTEXT)],
        capture_output=True,
        text=True,
        check=True,
    )
    grown, resident = map(int, done.stdout.split())
    return grown, resident
