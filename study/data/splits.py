"""The days that train, validate and test, and how many independent labels they are worth."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from study.data.arrays import DayArray, IndexArray, SampleArray
from study.data.data_config import DataConfig
from study.errors import DataError, require
from study.statistics.block_length import block_days
from study.statistics.mean_error import standard_error

Part = Literal["train", "validation", "test"]

MIN_OF_EACH_CLASS = 50
"""Fewest positives, and negatives, that training and validation must hold."""
MIN_EFFECTIVE_SIZE = 100.0
"""Smallest effective sample size of the validation part."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Splits:
    """The sample days of each part, as row positions, ascending.

    A sample's window ends on its day, and its label looks at the ``horizon`` days after it. The
    rows left out at the borders are the purge (before) and the embargo (after).
    """

    train: IndexArray
    validation: IndexArray
    test: IndexArray


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchFold:
    """The sample days of one fold of a search, as row positions, ascending."""

    train: IndexArray
    validation: IndexArray


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitSummary:
    """The size and content of one part."""

    rows: int
    """Number of samples: days with a label."""
    positives: int
    base_rate: float
    """Share of positives; nan without rows."""
    effective_size: float
    """Number of independent labels that would show the base rate as well, by the error of blocks of
    days."""
    first_day: str
    """ISO date of the first sample, empty without rows."""
    last_day: str


def split_days(dates: DayArray, config: DataConfig, fold: int | None = None) -> Splits:
    """Cut the days into consecutive parts: train, validation, test.

    Windows may reach back over a border, since past inputs are no leak, so validation and test are
    the same days for every horizon up to ``purge_days``, context and normalization; the context
    only delays the first training day.

    With shares, the borders depend on the shares only. The last ``purge_days`` before a border (and
    before the end) and the first ``embargo_days`` after one are left out.

    Walking forward, a fold's past ends ``purge_days`` and ``embargo_days`` before its first test
    day, so that no test day is lost between two folds; its latest ``validation_days`` validate. The
    last days of the history, whose labels are not known, are left out.

    Args:
        dates: days with inputs, ascending.
        config: kind and size of the parts, purge, embargo and context.
        fold: number of the fold, from 0; None returns what a search needs: training and validation
            of the first fold, and the test days of all.

    Raises:
        DataError: a part would be empty, or validation could not be reached by a whole context.
    """
    if config.walks_forward:
        splits = _walk(dates, config, fold)
    else:
        splits = _by_shares(len(dates), config)
    sizes = {
        "train": len(splits.train),
        "validation": len(splits.validation),
        "test": len(splits.test),
    }
    require(
        all(sizes.values()),
        "splits",
        "every part must keep days after context, purge and embargo",
        got=", ".join(f"{part}={size}" for part, size in sizes.items()) + f" of {len(dates)} days",
        remedy="Give a longer history, or lower context_length, purge_days or embargo_days."
        if not config.walks_forward
        else f"There are days from {dates[0] if len(dates) else 'none'} to "
        f"{dates[-1] if len(dates) else 'none'}: move first_test_day={config.first_test_day}, or "
        "lower validation_days, context_length, purge_days or embargo_days"
        f"{'' if config.window_days is None else ', or raise window_days'}.",
        error=DataError,
    )
    return splits


def search_folds(chronological: Splits, config: DataConfig) -> list[SearchFold]:
    """Cut the days of a search into folds, each of which trains on days before and after its own.

    The days are those from the first training day to the last validation day. They become
    ``search_groups`` contiguous groups of equal length, of which the last one has the rest as well.
    Every choice of ``search_validation_groups`` of them is a fold, in lexicographic order: these
    groups validate, and all others train. So every day is validated in the same number of folds.
    The folds are those of the ``CombinatorialPurgedCV`` of skfolio 1.12.

    Around each block of validation days, training days are left out: ``purge_days`` before it,
    whose labels would reach into it; after it ``purge_days``, into which its own labels reach, and
    ``embargo_days`` more, since what follows a day is like it. No validation day is left out.

    Windows may reach over a border on both sides. A training window after a block then holds inputs
    of validation days, and no label of theirs: the network sees prices that a validation label was
    made of, as inputs of a later day. Leaving out such days too would cost ``context_length`` days
    a block.

    Args:
        chronological: the parts of the search by time.
        config: kind and number of the groups, purge and embargo.

    Raises:
        DataError: a fold would have no training days.
    """
    first, end = int(chronological.train[0]), int(chronological.validation[-1]) + 1
    assert config.search_groups is not None
    days = np.arange(first, end)
    length = len(days) // config.search_groups
    gap = config.purge_days + config.embargo_days
    require(
        length > gap,
        "splits",
        "a group of search days must be longer than purge and embargo",
        got=f"{length} days of a group, purge and embargo {gap}",
        remedy="Lower search_groups, purge_days or embargo_days.",
        error=DataError,
    )
    group = np.minimum(np.arange(len(days)) // length, config.search_groups - 1)
    choices = itertools.combinations(
        range(config.search_groups), config.search_validation_groups or 1
    )
    folds = [
        _search_fold(days, np.isin(group, choice), config.purge_days, gap) for choice in choices
    ]
    require(
        all(len(fold.train) for fold in folds),
        "splits",
        "every fold of a search must keep training days after purge and embargo",
        got=f"{len(days)} days in {config.search_groups} groups",
        remedy="Lower search_validation_groups, purge_days or embargo_days.",
        error=DataError,
    )
    return folds


def _search_fold(
    days: IndexArray, validates: npt.NDArray[np.bool_], before: int, after: int
) -> SearchFold:
    """Return a fold whose training days are neither ``before`` nor ``after`` a validation block."""
    is_near = np.zeros(len(days), dtype=np.bool_)
    change = np.diff(validates.astype(np.int8), prepend=0, append=0)
    for begin, end in zip(np.flatnonzero(change == 1), np.flatnonzero(change == -1), strict=True):
        is_near[max(0, begin - before) : end + after] = True
    return SearchFold(train=days[~is_near], validation=days[validates])


def count_folds(dates: DayArray, config: DataConfig) -> int:
    """Return the number of folds of test days; 1 where days are cut by shares."""
    return len(_fold_starts(dates, config)) if config.walks_forward else 1


def _by_shares(n_days: int, config: DataConfig) -> Splits:
    n_test = round(n_days * config.test_share)
    n_validation = round(n_days * config.validation_share)
    validation_start = n_days - n_test - n_validation
    test_start = n_days - n_test
    return Splits(
        train=np.arange(config.context_length - 1, validation_start - config.purge_days),
        validation=np.arange(
            validation_start + config.embargo_days, test_start - config.purge_days
        ),
        test=np.arange(test_start + config.embargo_days, n_days - config.purge_days),
    )


def _walk(dates: DayArray, config: DataConfig, fold: int | None) -> Splits:
    """Return the parts of a fold, or those of the first one with the test days of all."""
    starts, end = _fold_starts(dates, config), len(dates) - config.purge_days
    number = fold or 0
    gap = config.purge_days + config.embargo_days
    test_start = starts[number] if number < len(starts) else end
    validation_start = test_start - config.validation_days
    first = 0 if config.window_days is None else max(0, test_start - config.window_days)
    is_last = fold is None or number + 1 >= len(starts)
    return Splits(
        train=np.arange(
            first + config.context_length - 1, max(0, validation_start - config.purge_days)
        ),
        validation=np.arange(
            max(0, validation_start + config.embargo_days), max(0, test_start - gap)
        ),
        test=np.arange(test_start, end if is_last else starts[number + 1]),
    )


def _fold_starts(dates: DayArray, config: DataConfig) -> list[int]:
    """Return the row of each fold's first test day.

    Days at the end that are fewer than half a fold belong to the fold before.
    """
    first = len(dates) // 2
    if config.first_test_day is not None:
        first = int(np.searchsorted(dates, np.datetime64(config.first_test_day, "D")))
    starts = list(range(first, len(dates) - config.purge_days, config.fold_days))
    is_short = (
        len(starts) > 1 and len(dates) - config.purge_days - starts[-1] < config.fold_days / 2
    )
    return starts[:-1] if is_short else starts


def effective_size(labels: SampleArray, horizon: int) -> float:
    """Return how many independent labels would show their share as well as these do.

    The variance of single labels over the squared standard error that blocks of days give to their
    mean is the effective size of a correlated sample (Kish 1965, Survey Sampling).
    Labels that overlap are alike, and so are those of a calm month; counting overlaps sees the
    first alone, and takes overlapping labels for more alike than they are.

    Args:
        labels: of consecutive sample days, 0 or 1.
        horizon: trading days that a label covers.

    Returns: at most the number of labels. Where blocks give no error, because there is one kind of
        label or fewer than two blocks, the number of labels that do not overlap.
    """
    values = labels.astype(np.float64)
    error = standard_error(values, block_days(horizon))
    if error is None or error == 0:
        return float(-(-len(values) // horizon))
    return min(float(values.var()) / error**2, float(len(values)))


def summarise(days: IndexArray, labels: SampleArray, dates: DayArray, horizon: int) -> SplitSummary:
    """Count one part.

    Args:
        days: the part's sample days.
        labels: of every day, shape (n_days,); those of ``days`` are 0 or 1.
        dates: datetime64[D] of every day.
        horizon: trading days that a label covers.
    """
    positives = int(labels[days].sum())
    return SplitSummary(
        rows=len(days),
        positives=positives,
        base_rate=positives / len(days) if len(days) else float("nan"),
        effective_size=effective_size(labels[days], horizon),
        first_day=str(dates[days[0]]) if len(days) else "",
        last_day=str(dates[days[-1]]) if len(days) else "",
    )


def require_answerable(summaries: dict[Part, SplitSummary]) -> None:
    """Refuse parts that cannot answer the question, before anything is spent on them.

    Raises:
        DataError: training or validation has too few of a class, or the validation labels are
            worth too few independent ones.
    """
    require_both_classes(
        summaries,
        "part",
        "Give a longer history, a larger validation_share, or a task and horizon whose answer "
        "varies more.",
    )
    validation = summaries["validation"]
    require(
        validation.effective_size >= MIN_EFFECTIVE_SIZE,
        "validation part",
        f"needs an effective sample size of at least {MIN_EFFECTIVE_SIZE:g}",
        got=f"effective_size={validation.effective_size:.1f} from {validation.rows} days",
        remedy="Give a longer history, a shorter horizon or a larger validation_share.",
        error=DataError,
    )


def require_both_classes(summaries: Mapping[Part, SplitSummary], where: str, remedy: str) -> None:
    """Refuse training or validation days with too few labels of a class.

    Args:
        summaries: the parts.
        where: what they are parts of, for the message.
        remedy: what the user can do.

    Raises:
        DataError: there are too few.
    """
    for part in ("train", "validation"):
        summary = summaries[part]
        for kind, count in (
            ("positives", summary.positives),
            ("negatives", summary.rows - summary.positives),
        ):
            require(
                count >= MIN_OF_EACH_CLASS,
                f"{part} {where}",
                f"needs at least {MIN_OF_EACH_CLASS} {kind}",
                got=f"{kind}={count} of {summary.rows} days",
                remedy=remedy,
                error=DataError,
            )
