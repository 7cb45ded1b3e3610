"""Trains a winner again with one setting changed, and keeps what its runs answer."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from study.errors import StudyError, require
from study.final.answers.run_answers import write_answers
from study.final.candidates import Candidate, source_of
from study.final.cell_record import WinnerRuns
from study.final.run_plan import RunPlan, plan_runs
from study.final.searched_cell import SearchedCell
from study.final.seed_runs import Stage
from study.planning.cell_series import AnyDataset
from study.results.finals.final_records import FinalRecord, RunRecord
from study.results.finals.variant_records import (
    Setting,
    VariantRecord,
    read_variant,
    variant_folder,
    write_variant,
)
from study.results.provenance import commit
from study.search.forced import Forced
from study.search.space import TrialConfig
from study.spec.dimension import Fixed
from study.spec.variants import Variant, plain_setting
from study.storage.layout import PREDICTIONS_FILE
from study.training.phases.pretraining import require_patches
from study.training.train_config import TrainConfig

_READ_WITH = {"rank_temperature": "rank_weight", "pretrain_mask_share": "pretrain_epochs"}
"""Settings that are read where another one is above 0, with that one."""


def differing(
    record: FinalRecord, variants: Sequence[Variant]
) -> tuple[list[Variant], list[StudyError]]:
    """Return the variants that a winner can be compared with, and why others cannot.

    Args:
        record: the final runs of the winner.
        variants: the variants that are asked for.
    """
    found: list[Variant] = []
    refused: list[StudyError] = []
    for variant in variants:
        try:
            _require_comparable(record, variant)
        except StudyError as error:
            refused.append(error)
        else:
            found.append(variant)
    return found, refused


def _require_comparable(record: FinalRecord, variant: Variant) -> None:
    """Refuse a variant that is the winner itself, or another network, or cannot be trained.

    Raises:
        StudyError: it is refused.
    """
    config, base = TrialConfig.from_flat(record.params), winner_value(record, variant)

    def check(condition: bool, rule: str, got: str, remedy: str) -> None:
        where = f"{record.cell}: --variants"
        require(condition, where, rule, got=got, remedy=remedy, error=StudyError)

    check(
        base != variant.value,
        f"must differ from the winner, trial {record.winner}",
        f"{variant.name}, which it has",
        "Give another value, or leave it out.",
    )
    check(
        variant.field != "auxiliary_weight" or 0 not in (base, variant.value),
        "must keep the network of the winner, which has a head for auxiliary_weight above 0 alone",
        f"{variant.name} against {base}",
        "Give a weight above 0 to a winner that has one, or search again.",
    )
    check(
        _is_read(config.train, variant),
        f"must change a setting that the winner, trial {record.winner}, reads",
        f"{variant.name}, which its other settings leave unread",
        "Leave it out.",
    )
    try:
        changed = _changed(config, variant)
        require_patches(changed.model, changed.train)
    except StudyError as error:
        raise StudyError(f"{record.cell}: --variants {variant.name}: {error}") from error


def _is_read(train: TrainConfig, variant: Variant) -> bool:
    """Does training read a setting, as the others of the winner are?"""
    phases = train.phase_list
    if phases and all(variant.field in phase.overrides for phase in phases):
        return False
    other = _READ_WITH.get(variant.field)
    own = [train, *(train.in_phase(phase) for phase in phases)]
    return other is None or any(getattr(each, other) > 0 for each in own)


def _changed(config: TrialConfig, variant: Variant) -> TrialConfig:
    """Return a configuration with one setting changed.

    Raises:
        StudyError: its other settings do not allow that.
    """
    train = dataclasses.replace(config.train, **cast(Any, {variant.field: variant.value}))
    return dataclasses.replace(config, train=train)


def winner_value(record: FinalRecord, variant: Variant) -> Setting:
    """Return the value that a winner has of the setting that a variant changes."""
    own: Setting = getattr(TrialConfig.from_flat(record.params).train, variant.field)
    return plain_setting(own)


def variants_left(folder: Path, variants: Sequence[Variant]) -> list[Variant]:
    """Return the variants whose runs have not ended yet.

    Args:
        folder: the folder of the cell's final runs.
        variants: the variants that are asked for.

    Raises:
        StudyError: a record cannot be read.
    """
    return [variant for variant in variants if read_variant(folder, variant.name) is None]


def require_batches(search: SearchedCell, variants: Sequence[Variant]) -> None:
    """Refuse a batch that is larger than the training days of a fold, before any run.

    Args:
        search: the search of the winner.
        variants: the variants that are asked for.

    Raises:
        StudyError: a variant has such a batch.
    """
    fewest = min(search.data.fold_train_rows)
    for variant in variants:
        require(
            variant.field != "effective_batch" or int(str(variant.value)) <= fewest,
            f"{search.finalist.name}: --variants {variant.name}",
            "must leave at least a batch of training samples",
            got=f"{fewest} samples",
            remedy="Give a smaller batch.",
            error=StudyError,
        )


def variant_plan(
    search: SearchedCell, best: Candidate, variant: Variant, folds: Sequence[AnyDataset]
) -> RunPlan:
    """Return how a winner is trained with one setting changed.

    Args:
        search: the search of the winner.
        best: the winner.
        variant: the setting, and its value.
        folds: the data set of each fold of test days, those of the winner's final runs.
    """
    plan = plan_runs(search, best, folds, with_validation=False)
    config = _changed(TrialConfig.from_flat(best.trial.params), variant)
    own = {**search.space.train, variant.field: Fixed(variant.value)}
    return dataclasses.replace(
        plan,
        configuration=Forced(
            name=f"{source_of(best.trial)}, {variant.name}",
            config=config,
        ),
        space=dataclasses.replace(search.space, train=own),
    )


def train_variant(
    stage: Stage, plan: RunPlan, variant: Variant, record: FinalRecord, *, seed: int
) -> VariantRecord:
    """Train a winner with one setting changed, or resume what has not ended.

    Args:
        stage: the cell.
        plan: how its winner is trained with the setting changed.
        variant: the setting, and its value.
        record: the final runs of the winner, whose number of seeds these runs have.
        seed: number that is added to the search's seed for the first run: that of the final runs,
            so that run k has the seed of run k there.

    Raises:
        Unfinished: training was stopped.
    """
    folder = variant_folder(stage.folder, variant.name)
    runs_folder = folder / plan.folder
    given = plan.given(record.n_seeds)
    records = stage.train(given, runs_folder, seed=seed, folds=plan.folds, space=plan.space)
    runs = WinnerRuns(plan=plan, folder=runs_folder, records=records)
    if plan.whole_series(runs.usable):
        file = folder / PREDICTIONS_FILE
        write_answers(stage.search, plan, runs.usable, runs_folder, stage.results, file)
    found = VariantRecord(
        cell=record.cell,
        field=variant.field,
        value=variant.value,
        base_value=winner_value(record, variant),
        winner=record.winner,
        runs=[RunRecord.of(each, fold=plan.fold_of(each.number)) for each in records],
        commit=commit(),
    )
    write_variant(stage.folder, found)
    return found
