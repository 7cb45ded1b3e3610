import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from study.results.records import TrialRecord

PARAMS = {
    "budget": "2M", "family": "patchtst",
    "d_model": 64, "n_layers": 2, "n_heads": 4, "d_ff_ratio": 2, "patch_length": 10,
    "patch_stride": 5, "dropout": 0.2, "head": "last", "last_day_skip": False,
    "learning_rate": 1e-3, "epochs": 20, "effective_batch": 256, "weight_decay": 0.01,
    "warmup_share": 0.1,
}  # fmt: skip


def record(number: int, **changes: Any) -> TrialRecord:
    """Return a trial that ran to its end, with some values of its row changed."""
    fields: dict[str, Any] = {
        "number": number, "trial_id": f"id{number}", "source": "sampled",
        "phase": None, "group": None, "name": None,
        "folder": f"trial_{number:04d}", "seed": 42 + number, "params": PARAMS, "d_ff": 128,
        "param_count": 100_000, "reason": "completed", "message": None, "faults": [], "value": 0.5,
        "value_se": 0.02,
        "half_values": [0.48, 0.52],
        "difference": -0.1,
        "difference_se": 0.01,
        "best_epoch": 3, "epochs_trained": 20, "skill": 0.1, "skill_own_base_rate": 0.05,
        "auc": 0.7, "brier": 0.2, "micro_batch": 256, "accumulation_steps": 1,
        "out_of_memory_count": 0, "device": "cpu", "assigned_cpus": 1.0, "assigned_gpus": 0.0,
        "peak_memory_bytes": 10**9, "granted_memory_bytes": 2 * 10**9,
        "thermal_max_temp": 61.5, "seconds": {"step": 10.0}, "started": 1000.0, "ended": 1020.0,
    }  # fmt: skip
    # What a search for the log-loss minimises is the log-loss.
    fields |= {"objective": changes.get("value", fields["value"])}
    fields |= {"objective_se": changes.get("value_se", fields["value_se"]), **changes}
    return TrialRecord.from_json(fields)


@contextmanager
def full_disk(most_bytes: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size; more is refused as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
