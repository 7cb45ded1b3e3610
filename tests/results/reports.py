"""Reports of epochs, made up."""

import dataclasses
from typing import Any

from study.results.epoch_report import EpochRecord, OptimizerRecord, WorkerFacts
from study.results.scores import BestEpoch, PanelBest, PanelValidation, Validation

_OPTIMIZER = OptimizerRecord(
    name="AdamW", learning_rate=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01,
    n_decayed=1000, n_undecayed=10, is_fused=False,
)  # fmt: skip
_WORKER = WorkerFacts(
    checkpoint_seconds=0.1, device="cpu", capture=None, optimizer=_OPTIMIZER, assigned_cpus=1.0,
    assigned_gpus=0.0, began=1.0, reported=1000.0, machine="here", temperature=None,
    temperature_source=None, temperature_max=None,
)  # fmt: skip


def validation(loss: float, **changes: Any) -> Validation:
    fields: dict[str, Any] = {
        "loss": loss, "skill": 0.1, "skill_own_base_rate": 0.05, "auc": 0.7, "brier": 0.2,
        "prediction_sd": 0.1, "prediction_min": 0.1, "prediction_max": 0.9, "logit_sd": 0.2,
    }  # fmt: skip
    return Validation(**{**fields, **changes})


def best_epoch(loss: float, **changes: Any) -> BestEpoch:
    fields: dict[str, Any] = {
        "loss": loss, "skill": 0.1, "skill_own_base_rate": 0.05, "auc": 0.7, "brier": 0.2,
        "epoch": 1, "loss_se": 0.02, "half_losses": (loss - 0.02, loss + 0.02),
        "difference": -0.1, "difference_se": 0.01, "auc_se": 0.03,
    }  # fmt: skip
    return BestEpoch(**{**fields, **changes})


def panel_validation(rank_ic: float, **changes: Any) -> PanelValidation:
    """Return the scores of an epoch on a panel whose search ranks by RankIC."""
    fields: dict[str, Any] = {
        "loss": 1 - rank_ic, "base_loss": 0.9, "rank_ic": rank_ic, "ic": 0.03, "icir": 0.2,
        "hit_rate": 0.51, "long_short": 1e-4, "turnover": 0.8, "sharpe": 0.6, "sharpe_net": 0.1,
        "spread": 0.1,
    }  # fmt: skip
    return PanelValidation(**{**fields, **changes})


def panel_best(rank_ic: float, **changes: Any) -> PanelBest:
    """Return the best epoch on a panel, with the errors of its scores."""
    fields: dict[str, Any] = {
        **dataclasses.asdict(panel_validation(rank_ic)), "epoch": 1, "loss_se": 0.02,
        "half_losses": (0.96 - rank_ic, 1.04 - rank_ic), "rank_ic_se": 0.02, "ic_se": 0.02,
        "sharpe_se": 0.4, "difference": 0.04 - rank_ic, "difference_se": 0.01,
        "boosting_difference": 0.02 - rank_ic, "boosting_difference_se": 0.01,
    }  # fmt: skip
    return PanelBest(**{**fields, **changes})


OF_HEADS = {
    "further_rank_ic": {"1": 0.011, "20": 0.03}, "further_ic": {"1": 0.012, "20": 0.02},
    "further_rank_ic_se": {"1": 0.004, "20": None},
}  # fmt: skip
"""Scores of the further heads of ``panel_best``."""


def epoch_record(
    epoch: int, *, loss: float | None = 0.5, worker: dict[str, Any] | None = None, **changes: Any
) -> EpochRecord:
    """Return an epoch, with some fields changed; without a loss it has no scores."""
    fields: dict[str, Any] = {
        "epoch": epoch, "step": 10 * epoch, "schedule_percent": 5 * epoch, "stop_reason": None,
        "train_loss": 0.7, "train_auxiliary_loss": None,
        "validation": None if loss is None else validation(loss),
        "best": None if loss is None else best_epoch(loss, epoch=epoch),
        "best_is_collapsed": None if loss is None else False,
        "learning_rate": 1e-3, "gradient_norm": 1.0, "data_seconds": 0.1, "step_seconds": 1.0,
        "validation_seconds": 0.1, "samples_per_second": 1000.0, "peak_memory_bytes": 10**8,
        "micro_batch": 64, "accumulation_steps": 1, "out_of_memory_count": 0,
    }  # fmt: skip
    facts = dataclasses.replace(_WORKER, **(worker or {}))
    return EpochRecord(**{**fields, **changes}, worker=facts)
