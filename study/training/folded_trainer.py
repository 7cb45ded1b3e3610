"""Training of one trial on several folds: a network for each, all of them an epoch at a time."""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor

from study.errors import require
from study.model.model_config import ModelConfig
from study.results.epoch_report import EpochReport, OptimizerRecord
from study.training.kept_weights import BestWeights, copied, is_better
from study.training.metrics import Metrics
from study.training.panel.panel_metrics import PanelMetrics
from study.training.requirements import require_own_state
from study.training.seeds import derived_seed
from study.training.step.graphs import Graphs
from study.training.step.samples import Samples
from study.training.stopping import EarlyStopping, is_collapsed, restored_report
from study.training.train_config import TrainConfig
from study.training.trainer import Trainer
from study.training.windows import FloatArray


class FoldedTrainer:
    """Trains one configuration on every fold and judges it by all validated days together.

    In each epoch the networks train one after the other, an epoch each, and the trial gives one
    report: validation scores are those of ``study.training.step.samples.Samples.evaluate_folds``,
    and they alone decide which epoch is the best and when the trial stops. Seconds are sums over
    the networks, training losses and gradient norms are means, and steps are those of one network.

    Each network has a seed of its own, derived from the trial's. A network that diverges ends the
    trial. Where memory runs out, all networks go on with the smaller micro-batch.

    The caller may stop after any step of any network, save the state and resume; on the CPU the
    result is bit for bit that of an epoch without a pause.

    Args:
        model: architecture of every network.
        train: schedule, optimizer and early stopping; every network has the whole schedule.
        folds: the samples of each fold, at least two.
        device: device of models and samples.
        micro_batch: most samples in one forward and backward pass.
        seed: seed from which those of the networks are derived.
        bf16: are matrix products in bfloat16? See ``study.training.device.supports_bf16``.
        graphs: what captures the steps and the validations; None runs them eagerly.

    Raises: StudyError if the parts do not fit together.
    """

    def __init__(
        self,
        *,
        model: ModelConfig,
        train: TrainConfig,
        folds: Sequence[Samples],
        device: torch.device,
        micro_batch: int,
        seed: int,
        bf16: bool,
        graphs: Graphs | None = None,
    ) -> None:
        require(
            train.memory == "full",
            "FoldedTrainer",
            "train.memory must be full for a trial with a network for each fold",
            got=f"memory={train.memory}",
            remedy="Search one split of the days, or leave train.memory out.",
        )
        require(seed >= 0, "FoldedTrainer", "seed must be >= 0", got=seed, remedy="Raise it.")
        self._model_config = model
        self._config = train
        self._data = folds
        self._seed = seed
        # No network stops by itself: the trial's own rules look at all of them together.
        of_network = dataclasses.replace(train, patience=None, collapse_grace_share=1.0)
        self._networks = [
            Trainer(
                model=model,
                train=of_network,
                data=data,
                device=device,
                micro_batch=micro_batch,
                seed=derived_seed(seed, f"fold {number}"),
                bf16=bf16,
                graphs=graphs,
                is_fold=True,
            )
            for number, data in enumerate(folds)
        ]
        self._logits: list[FloatArray | None] = [None] * len(folds)
        """Validation logits of the networks that have ended the epoch that has begun."""
        self._stopping = EarlyStopping(train)
        self._best: BestWeights | None = None
        self._epoch = 0
        self.report: EpochReport | None = None
        """Report of the last finished epoch; None before the first."""

    @property
    def optimizer_record(self) -> OptimizerRecord:
        """The values that the optimizer object of the last network holds."""
        return self._networks[-1].optimizer_record

    @property
    def micro_batch(self) -> int:
        """Most samples in one forward and backward pass; halved whenever memory runs out."""
        return min(network.micro_batch for network in self._networks)

    def limit_micro_batch(self, most: int) -> None:
        """Let no forward and backward pass take more than ``most`` samples from here on."""
        for network in self._networks:
            network.limit_micro_batch(most)

    @property
    def capture(self) -> str | None:
        """The word ``captured``, or ``eager`` with a network's reason; None if none should be."""
        found = [network.capture for network in self._networks]
        return next((each for each in found if each != "captured"), found[0])

    @overload
    def run_epoch(self, should_pause: None = None) -> EpochReport: ...

    @overload
    def run_epoch(self, should_pause: Callable[[], bool]) -> EpochReport | None: ...

    def run_epoch(self, should_pause: Callable[[], bool] | None = None) -> EpochReport | None:
        """Train every network for one epoch, or the rest of a paused one, then report.

        Args:
            should_pause: function called after every optimizer step but the last of all; the epoch
                pauses if it returns True.

        Returns: the report, or None if the epoch has paused. To resume it, call this again, or save
            the state, load it and call this.
        """
        if self.report is not None and self.report.stop_reason is not None:
            raise RuntimeError("FoldedTrainer: the trial has ended, so no further epoch can be run")
        for number, network in enumerate(self._networks):
            if self._logits[number] is not None:
                continue
            network.limit_micro_batch(self.micro_batch)
            report = network.run_epoch(should_pause) if should_pause else network.run_epoch()
            if report is None:
                return None
            if report.validation is None:
                return self._end_epoch(None, time.perf_counter())
            self._logits[number] = network.validation_logit
            is_last = number + 1 == len(self._networks)
            if should_pause is not None and not is_last and should_pause():
                return None
        began = time.perf_counter()
        return self._end_epoch(self._evaluate(), began)

    def best_weights(self) -> dict[str, Tensor] | None:
        """Return the weights of all networks in the best epoch, on the CPU, not copied.

        Each name begins with the number of its fold, from 0. Returns None before the first epoch.
        """
        return None if self._best is None else self._best.weights

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state: tensors, numbers, strings, lists and dicts, no tensor copied."""
        networks = [network.state_dict() for network in self._networks]
        return {
            "model_config": dataclasses.asdict(self._model_config),
            "train_config": dataclasses.asdict(self._config),
            "seed": self._seed,
            "epoch": self._epoch,
            "step": sum(state["step"] for state in networks),
            "micro_batch": self.micro_batch,
            "networks": networks,
            "logits": [None if each is None else torch.from_numpy(each) for each in self._logits],
            "stopping": self._stopping.state_dict(),
            "best": None if self._best is None else self._best.state_dict(),
            "report": None if self.report is None else self.report.to_json(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a saved state, bit for bit on the CPU; ``state`` is copied.

        This trial's schedule may be longer than that of the state.

        Raises: StudyError if the state is that of another trial.
        """
        require_own_state(state, self._model_config, self._config, self._seed)
        require(
            len(state["networks"]) == len(self._networks),
            "checkpoint",
            f"must hold the state of {len(self._networks)} networks",
            got=f"{len(state['networks'])}",
            remedy="Load it into a trainer built from the same folds.",
        )
        for network, own in zip(self._networks, state["networks"], strict=True):
            network.load_state_dict(own)
        self._logits = [None if each is None else each.numpy().copy() for each in state["logits"]]
        self._stopping.load_state_dict(state["stopping"])
        best = state["best"]
        self._best = best and BestWeights.from_state(best, lambda weights: copied(weights, None))
        self._epoch = state["epoch"]
        self.report = restored_report(state, self._config)

    def _evaluate(self) -> Metrics | PanelMetrics | None:
        first, *others = self._data
        return first.evaluate_folds(others, [each for each in self._logits if each is not None])

    def _end_epoch(self, metrics: Metrics | PanelMetrics | None, began: float) -> EpochReport:
        """Keep the best weights, and report the epoch; without metrics it has diverged."""
        self._logits = [None] * len(self._networks)
        self._epoch += 1
        if metrics is not None:
            self._stopping.update(metrics.loss)
            if is_better(metrics, self._best):
                self._best = BestWeights(self._epoch, metrics, self._copy_weights())
        self.report = self._epoch_report(metrics, time.perf_counter() - began)
        return self.report

    def _copy_weights(self) -> dict[str, Tensor]:
        """Copy the weights of all networks to the CPU, over those of the best epoch so far."""
        before, weights = self.best_weights(), {}
        for number, network in enumerate(self._networks):
            begin = f"{number}."
            own = before and {
                name.removeprefix(begin): w for name, w in before.items() if name.startswith(begin)
            }
            weights.update({begin + name: w for name, w in network.copy_weights(own).items()})
        return weights

    def _epoch_report(
        self, metrics: Metrics | PanelMetrics | None, judging_seconds: float
    ) -> EpochReport:
        """Return the report of the epoch that has just ended, from those of its networks."""
        reports = [network.report for network in self._networks]
        own = [each for each in reports if each is not None and each.epoch == self._epoch]
        sizes = [network.samples_per_epoch for network in self._networks[: len(own)]]
        best, config = self._best, self._config
        best_is_collapsed = None if best is None else is_collapsed(best.metrics)
        data_seconds = sum(each.data_seconds for each in own)
        step_seconds = sum(each.step_seconds for each in own)
        return EpochReport(
            epoch=self._epoch,
            step=max(each.step for each in reports if each is not None),
            schedule_percent=100 * self._epoch // config.epochs,
            stop_reason="diverged"
            if metrics is None
            else self._stopping.reason(self._epoch, best_is_collapsed=best_is_collapsed is True),
            train_loss=_mean([each.train_loss for each in own], sizes),
            train_auxiliary_loss=_mean([each.train_auxiliary_loss for each in own], sizes),
            train_terms=_mean_terms([each.train_terms for each in own], sizes),
            gradient_norm=_mean([each.gradient_norm for each in own], sizes),
            validation=None if metrics is None else metrics.validation(),
            best=None if best is None else best.metrics.best(best.epoch),
            best_is_collapsed=best_is_collapsed,
            learning_rate=own[-1].learning_rate,
            data_seconds=data_seconds,
            step_seconds=step_seconds,
            validation_seconds=judging_seconds + sum(each.validation_seconds for each in own),
            samples_per_second=sum(sizes) / (data_seconds + step_seconds),
            peak_memory_bytes=own[-1].peak_memory_bytes,
            micro_batch=self.micro_batch,
            accumulation_steps=math.ceil(
                min(config.effective_batch, max(sizes)) / self.micro_batch
            ),
            out_of_memory_count=sum(each.out_of_memory_count for each in reports if each),
            phase=own[-1].phase,
            pretrain_losses=_mean_losses([each.pretrain_losses for each in own], sizes),
            pretrain_seconds=_sum([each.pretrain_seconds for each in own]),
        )


def _mean(values: Sequence[float | None], sizes: Sequence[int]) -> float | None:
    """Return the mean of values with the sizes as weights; None if one is missing."""
    found = [value for value in values if value is not None]
    if len(found) < len(values):
        return None
    return sum(v * n for v, n in zip(found, sizes, strict=True)) / sum(sizes)


def _sum(values: Sequence[float | None]) -> float | None:
    """Return the sum of values; None if one is missing."""
    found = [value for value in values if value is not None]
    return None if len(found) < len(values) else sum(found)


def _mean_losses(
    losses: Sequence[Sequence[float] | None], sizes: Sequence[int]
) -> list[float] | None:
    """Return the mean of each epoch's losses; None if they are missing from one.

    Where a network has diverged the epochs are those that all have ended.
    """
    found = [each for each in losses if each is not None]
    if len(found) < len(losses):
        return None
    return [
        sum(v * n for v, n in zip(values, sizes, strict=True)) / sum(sizes)
        for values in zip(*found, strict=False)
    ]


def _mean_terms(
    terms: Sequence[Mapping[str, float] | None], sizes: Sequence[int]
) -> dict[str, float] | None:
    """Return the means of terms of the same names; None if they are missing from one."""
    found = [each for each in terms if each is not None]
    if len(found) < len(terms) or not found:
        return None
    return {
        name: sum(each[name] * n for each, n in zip(found, sizes, strict=True)) / sum(sizes)
        for name in found[0]
    }


def trainer_of(
    folds: Sequence[Samples],
    *,
    model: ModelConfig,
    train: TrainConfig,
    device: torch.device,
    micro_batch: int,
    seed: int,
    bf16: bool,
    graphs: Graphs | None,
    scratch: Path | None = None,
) -> Trainer | FoldedTrainer:
    """Return what trains a trial: one network or, with several folds, one for each of them.

    Args:
        folds: the samples of each network, at least one.
        model: architecture.
        train: schedule, optimizer and early stopping.
        device: device of models and samples.
        micro_batch: most samples in one forward and backward pass.
        seed: the trial's.
        bf16: are matrix products in bfloat16?
        graphs: what captures the steps; None runs them eagerly.
        scratch: folder for what the lean memory mode keeps in files; see ``Trainer``.

    Raises: StudyError if the parts do not fit together.
    """
    if len(folds) == 1:
        return Trainer(
            model=model, train=train, data=folds[0], device=device, micro_batch=micro_batch,
            seed=seed, bf16=bf16, graphs=graphs, scratch=scratch,
        )  # fmt: skip
    return FoldedTrainer(
        model=model, train=train, folds=folds, device=device, micro_batch=micro_batch, seed=seed,
        bf16=bf16, graphs=graphs,
    )  # fmt: skip
