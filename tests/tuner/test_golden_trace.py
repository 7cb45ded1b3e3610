"""The trace of a tiny search is the recorded one: every trial, every epoch, every cut of ASHA.

It shows whether a refactoring has changed results. Other processors add in another order, so losses
are compared up to rounding errors that have grown over some dozen steps. After a change that is
meant to change results, ``python -m tests.tuner.test_golden_trace`` records a new trace.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.tuner.command import epochs_of, run, trials, write_space

_RECORD = Path(__file__).parent / "golden_trace.json"

_PER_EPOCH = ("epoch", "schedule_percent", "train_loss", "validation_loss", "auc",
              "learning_rate")  # fmt: skip
_PER_TRIAL = ("number", "source", "seed", "state", "reason", "epochs_trained", "params")

_ROUNDING = 1e-4
"""Relative difference up to which losses are equal. Float32 rounds each sum by up to 1.2e-7, which
the trial with the largest learning rate amplifies most."""


def trace(here: Path) -> list[dict[str, Any]]:
    """Search one trial at a time and return what was tried, in order, with its epochs."""
    # Of eleven tokens, as when the trace was recorded.
    write_space(here, trials=9, epochs=4, patch_stride=5, startup_trials=7, grace_share=0.25)
    run(here, "--concurrency", "1", "--device", "cpu")
    return [
        {name: row[name] for name in _PER_TRIAL}
        | {"epochs": [{name: e[name] for name in _PER_EPOCH} for e in epochs_of(here, row)]}
        for row in trials(here)
    ]


@pytest.mark.ray
def test_the_trace_is_the_one_on_record(tmp_path: Path) -> None:
    assert trace(tmp_path) == _approximately(json.loads(_RECORD.read_text()))


def _approximately(value: Any) -> Any:
    """Return a value whose floats compare equal up to rounding."""
    match value:
        case dict():
            return {name: _approximately(each) for name, each in value.items()}
        case list():
            return [_approximately(each) for each in value]
        case float():
            return pytest.approx(value, rel=_ROUNDING)
        case _:
            return value


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        recorded = trace(Path(folder))
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else _RECORD
    target.write_text(json.dumps(recorded, indent=1) + "\n")
