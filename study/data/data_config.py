"""The description of a cell's data set: source, features, inputs, label and splits."""

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from study.data.checks.acceptable import require_acceptable
from study.errors import SpecError, quoted, require
from study.fields import (
    Rule,
    above,
    between,
    check_values,
    day,
    one_of,
    or_none,
    require_type,
    text,
    whole,
    within,
)
from study.names import RANKING

Normalization = Literal["relative", "zscore", "revin", "none", "cross_rank", "cross_z"]
LabelKind = Literal["high", "close", "direction", "ranking"]
Tier = Literal["a25", "a50", "a100", "a200", "c", "closes"]
FeatureSource = Literal["ohlcv", "vix", "closes"]
Target = Literal["rank", "z", "winsorized"]
Horizons = Literal["cell", "all"]
SplitKind = Literal["shares", "walk_forward"]
SearchSplitKind = Literal["chronological", "purged_k_fold", "combinatorial_purged"]

TIER_SOURCES: dict[Tier, tuple[FeatureSource, ...]] = {
    "a25": ("ohlcv",),
    "a50": ("ohlcv",),
    "a100": ("ohlcv",),
    "a200": ("ohlcv",),
    "c": ("ohlcv", "vix"),
    "closes": ("closes",),
}
"""Which series the features of a tier are made of."""

EMBEDDED_VIX = "embedded"
EMBEDDED_VIX_RANGE = "2014-01-03 to 2019-01-03"
"""First and last day of the volatility index inside the installed package ``arch``."""

OF_SHARES = ("validation_share", "test_share")
"""Fields of DataConfig that only ``shares`` reads."""

OF_WALKS = ("first_test_day", "fold_days", "validation_days", "window_days")
"""Fields of DataConfig that only ``walk_forward`` reads."""

OF_SEARCH_FOLDS = ("search_groups", "search_validation_groups")
"""Fields of DataConfig that only the folds of a search read."""

SPLIT_FIELDS = (
    "splits", "purge_days", "embargo_days", *OF_SHARES, *OF_WALKS,
    "search_splits", *OF_SEARCH_FOLDS,
)  # fmt: skip
"""Fields of DataConfig that decide which days train, validate and test."""

ACROSS: tuple[Normalization, ...] = ("cross_rank", "cross_z")
"""Normalizations that compare an asset with the others of its day."""

OF_PANELS = ("target", "horizons", "portfolio_share", "cost_bps")
"""Fields of DataConfig that only panels read."""

PANEL_HORIZONS = (1, 5, 10, 20)
"""Trading days ahead that a network of a panel learns at once: a day, a week, two weeks and a
month, which are the horizons of ``search_spaces/panel.yaml``."""

LONG_HISTORY = "sp500-long"
"""Name of the S&P 500 of 1982 to 2018, which needs the extra ``history``."""

_USUAL_GROUPS: dict[SearchSplitKind, int] = {"purged_k_fold": 5, "combinatorial_purged": 6}
"""Number of groups of days if none is given: the usual five of k-fold, and six, of which pairs make
fifteen folds (Lopez de Prado 2018, Advances in Financial Machine Learning, chapter 12)."""

_MOST_GROUPS = 20
"""Largest number of groups: a trial trains a network for each fold; an own choice."""

_MOST_FOLDS = 100
"""Largest number of folds of a search, each a network of every trial; an own choice."""

_MOST_DAYS = 100_000
"""Largest count of days: four hundred years of trading days."""

DATA_RULES: dict[str, Rule] = {
    "horizon": whole(1, _MOST_DAYS),
    "source": text(),
    "tier": one_of(get_args(Tier)),
    "vix": or_none(text()),
    "without": or_none(one_of(get_args(FeatureSource))),
    "normalization": one_of(get_args(Normalization)),
    "label_price": one_of(("high", "close")),
    "task": text(),
    "context_length": whole(1, _MOST_DAYS),
    "validation_share": between(0, 0.5),
    "test_share": between(0, 0.5),
    "purge_days": whole(0, _MOST_DAYS),
    "embargo_days": whole(0, _MOST_DAYS),
    "splits": or_none(one_of(get_args(SplitKind))),
    "first_test_day": or_none(day()),
    "fold_days": whole(1, _MOST_DAYS),
    "validation_days": whole(1, _MOST_DAYS),
    "window_days": or_none(whole(1, _MOST_DAYS)),
    "search_splits": one_of(get_args(SearchSplitKind)),
    "search_groups": or_none(whole(2, _MOST_GROUPS)),
    "search_validation_groups": or_none(whole(2, _MOST_GROUPS)),
    "max_shift": above(0, 1_000_000),
    "target": one_of(get_args(Target)),
    "horizons": one_of(get_args(Horizons)),
    "portfolio_share": between(0, 0.5),
    "cost_bps": within(0, 10_000),
}
"""Rules of the fields' values, each by itself."""

_THRESHOLD_TASK = re.compile(r"threshold_(\d+(?:\.\d+)?)pct")


def task_threshold(task: str) -> float | None:
    """Return the threshold that a task name asks for; None for ``direction`` and ``ranking``.

    ``threshold_1pct`` is 0.01, ``threshold_0.5pct`` is 0.005: the name is the number, so that two
    tasks never share a folder.

    Raises:
        SpecError: the name is none of ``direction``, ``ranking`` and ``threshold_<number>pct``.
    """
    if task in ("direction", RANKING):
        return None
    match = _THRESHOLD_TASK.fullmatch(task)
    require(
        match is not None,
        "task",
        "must be direction, threshold_<percent>pct or, of a panel, ranking",
        got=f"task={quoted(task)}",
        remedy="Write for example threshold_1pct or threshold_0.5pct.",
    )
    assert match is not None
    percent = float(match.group(1))
    require(
        0 < percent < 100,
        "task",
        "the threshold must lie between 0 and 100 %",
        got=f"task={quoted(task)}",
        remedy="Write for example threshold_1pct.",
    )
    return percent / 100


def usual_splits(source: str) -> SplitKind:
    """Return how the days of a market become parts if nothing else is asked for."""
    return "walk_forward" if source == LONG_HISTORY else "shares"


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """The data set of one cell. Equal configs and equal prices give bit-equal arrays."""

    horizon: int
    """Trading days ahead that the label looks, >= 1; the day itself is excluded."""
    source: str = "sp500"
    """An embedded market (sp500, sp500-long, nasdaq, synthetic), the name of an imported one, or a
    CSV/Parquet path."""
    tier: Tier = "a25"
    """Named feature set."""
    vix: str | None = None
    """Volatility index of tier c: ``embedded``, the name of an imported series, or a CSV/Parquet
    path."""
    without: str | None = None
    """A source that no feature may be made of: ``vix`` asserts that the tier is free of it."""
    normalization: Normalization = "relative"
    """How features become model inputs; ``revin`` and ``none`` leave raw levels in the arrays."""
    label_price: Literal["high", "close"] = "high"
    """Which later price must reach the threshold; ignored by the task ``direction``."""
    task: str = "threshold_1pct"
    """Question of a day: ``threshold_<percent>pct``, ``direction`` (is the close higher in
    ``horizon`` days?) or, of a panel, ``ranking`` (whose close will have risen most?)."""
    context_length: int = 60
    """Days that a model sees; the last of them is the sample's day."""
    validation_share: float = 0.15
    """Share of the usable days, the ones before the test part."""
    test_share: float = 0.15
    """Share of the usable days, the latest ones."""
    purge_days: int = 5
    """Days dropped before a border so that no label reaches over it; at least the longest horizon
    that is learned, and best that of the study, which keeps the evaluation days the same for every
    horizon. Folds of a search drop as many after a block of validation days."""
    embargo_days: int = 5
    """Days dropped after a border, on top of the purge."""
    splits: SplitKind | None = None
    """How days become parts: ``shares`` cuts them once, ``walk_forward`` trains the winner again
    before every fold of test days. None takes ``walk_forward`` for sp500-long, ``shares`` for any
    other market. The fields up to ``window_days`` are of ``walk_forward`` alone, the two shares of
    ``shares``."""
    first_test_day: str | None = None
    """ISO date from which on days are test days; a search sees earlier ones only. None takes
    1990-01-01 for sp500-long, and of any other market the later half of its days."""
    fold_days: int = 731
    """Test days of a fold: the 7,302 days of sp500-long from 1990 on are ten folds of it."""
    validation_days: int = 520
    """Latest days of a fold's past that validate, purge and embargo included: about two years,
    which are worth a hundred independent labels at a horizon of 5 days."""
    window_days: int | None = None
    """Days of a fold's past that it is trained and validated on, the latest ones; None takes all,
    a window that expands."""
    search_splits: SearchSplitKind = "chronological"
    """Which of the days before the test days validate a search: ``chronological`` takes the latest,
    ``purged_k_fold`` each of several groups in turn, ``combinatorial_purged`` each combination of
    groups. With folds a trial trains a network for each fold, and learns from days after those
    that it validates on."""
    search_groups: int | None = None
    """Contiguous groups into which the days of a search are cut; None takes 5 of
    ``purged_k_fold``, 6 of ``combinatorial_purged``, which alone read it."""
    search_validation_groups: int | None = None
    """Groups that validate in a fold of ``combinatorial_purged``, which alone reads it; None takes
    2."""
    max_shift: float = 3.0
    """Largest allowed |validation mean - train mean| of a model input, in train standard
    deviations; larger fails the build."""
    target: Target = "rank"
    """What a panel's training aims at, computed from the returns of a day across its assets:
    their ``rank`` as normal scores, ``z`` (less their mean, over their standard deviation), or
    ``winsorized``, which is ``z`` of returns cut at three robust standard deviations."""
    horizons: Horizons = "cell"
    """Horizons that a panel's network learns: its ``cell``'s alone, or ``all`` of PANEL_HORIZONS
    beside it, each with a head of its own. Only that of the cell is what a search is about."""
    portfolio_share: float = 0.2
    """Share of a panel's assets that are bought, and that are sold, by which a Sharpe ratio is
    judged: a fifth, as in the usual quintile portfolios."""
    cost_bps: float = 10.0
    """Cost of trading in those portfolios, basis points of what is traded; an own choice."""
    accept: tuple[str, ...] = ()
    """Checks whose refusal is overridden, of ACCEPTABLE: what they find becomes a warning."""

    def __post_init__(self) -> None:
        where = "DataConfig"
        require_type(self.accept, Sequence[str], f"{where}: accept", "Write [a, b].", SpecError)
        # A list where a record was read again; in one order, so that equal choices are equal.
        object.__setattr__(self, "accept", tuple(sorted(set(self.accept))))
        require_acceptable(self.accept)
        if self.splits is None:
            object.__setattr__(self, "splits", usual_splits(self.source))
        if self.first_test_day is None and self.walks_forward and self.source == LONG_HISTORY:
            object.__setattr__(self, "first_test_day", "1990-01-01")
        check_values(DATA_RULES, self, "Mend the search space or the flag.")
        longest = max((self.horizon, *self.further_horizons))
        require(
            self.purge_days >= longest,
            where,
            "purge_days must be at least the horizon, or labels reach into the next part"
            if longest == self.horizon
            else "purge_days must be at least the longest horizon that is learned, or its labels "
            "reach into the next part",
            got=f"purge_days={self.purge_days}, horizon={longest}",
            remedy="Raise purge_days to the longest horizon of the study.",
        )
        self._check_sources()
        self._check_panel()
        self._check_window()
        self._set_search_folds()
        task_threshold(self.task)

    def _check_window(self) -> None:
        if not self.walks_forward or self.window_days is None:
            return
        needed = self.validation_days + self.context_length + self.purge_days
        require(
            self.window_days > needed,
            "DataConfig",
            "window_days must leave training days: it must be more than validation_days, "
            "context_length and purge_days together",
            got=f"window_days={self.window_days}, the others {needed}",
            remedy="Raise window_days, or lower the others.",
        )

    def _set_search_folds(self) -> None:
        """Fill in the usual numbers of groups, and refuse those that nothing would read."""
        is_combined = self.search_splits == "combinatorial_purged"
        read = OF_SEARCH_FOLDS if is_combined else OF_SEARCH_FOLDS[:1] * self.has_search_folds
        unread = [
            name for name in OF_SEARCH_FOLDS if name not in read and getattr(self, name) is not None
        ]
        require(
            not unread,
            "DataConfig",
            f"{', '.join(unread)} are not read where search_splits is {self.search_splits}",
            got=", ".join(f"{name}={getattr(self, name)}" for name in unread),
            remedy="Leave them out, or give another --search-splits.",
        )
        if self.has_search_folds and self.search_groups is None:
            object.__setattr__(self, "search_groups", _USUAL_GROUPS[self.search_splits])
        if is_combined and self.search_validation_groups is None:
            object.__setattr__(self, "search_validation_groups", 2)
        groups, validation = self.search_groups or 0, self.search_validation_groups or 1
        require(
            not self.has_search_folds or validation < groups,
            "DataConfig",
            "search_validation_groups must leave groups to train on",
            got=f"search_validation_groups={validation} of search_groups={groups}",
            remedy="Lower it, or raise search_groups.",
        )
        require(
            self.n_search_folds <= _MOST_FOLDS,
            "DataConfig",
            f"a search may have at most {_MOST_FOLDS} folds, each a network of every trial",
            got=f"{self.n_search_folds} choices of {validation} of {groups} groups",
            remedy="Lower search_groups or search_validation_groups.",
        )

    def _check_sources(self) -> None:
        where, sources = "DataConfig", TIER_SOURCES[self.tier]
        require(
            self.without not in sources,
            where,
            f"tier {self.tier} must be free of {self.without}",
            got=f"features made of {', '.join(sources)}",
            remedy="Choose another tier, or drop the assertion.",
        )
        uses_vix = "vix" in sources
        require(
            self.vix is not None or not uses_vix,
            where,
            f"tier {self.tier} needs a VIX series",
            got=f"vix={quoted(self.vix)}",
            remedy=f"Give {EMBEDDED_VIX} ({EMBEDDED_VIX_RANGE}), the name of an imported series "
            "(python -m study.data import vix.csv --series vix) or a CSV/Parquet path.",
        )
        require(
            self.vix is None or uses_vix,
            where,
            f"tier {self.tier} uses no VIX series",
            got=f"vix={quoted(self.vix)}",
            remedy="Leave it out, or choose tier c.",
        )

    def _check_panel(self) -> None:
        of_panels = [*ACROSS, "zscore"] if self.is_panel else None
        require(
            self.is_panel == (self.normalization in ACROSS) or self.normalization == "zscore",
            "DataConfig",
            f"the task {RANKING} takes the normalizations {', '.join(of_panels or ())}"
            if of_panels
            else f"{' and '.join(ACROSS)} compare the assets of a panel, whose task is {RANKING}",
            got=f"task={self.task}, normalization={self.normalization}",
            remedy="Choose another --normalization or --task.",
        )
        require(
            self.is_panel or self.tier != "closes",
            "DataConfig",
            f"the tier closes is of panels, whose task is {RANKING}",
            got=f"task={self.task}, tier={self.tier}",
            remedy="Choose another --tier or --task.",
        )
        require(
            self.is_panel or self.horizons == "cell",
            "DataConfig",
            f"horizons all is of panels, whose task is {RANKING}",
            got=f"task={self.task}, horizons={self.horizons}",
            remedy=f"Leave it out, or give --task {RANKING} with a panel.",
        )
        require(
            not self.is_panel or "vix" not in TIER_SOURCES[self.tier],
            "DataConfig",
            "a panel has no tier with a volatility index",
            got=f"tier={self.tier}",
            remedy="Choose another --tier.",
        )

    @property
    def is_panel(self) -> bool:
        """Are many assets a day ranked, in place of one being asked about?"""
        return self.task == RANKING

    @property
    def further_horizons(self) -> tuple[int, ...]:
        """Horizons that are learned beside that of the cell, ascending; may be none."""
        if self.horizons == "cell" or not self.is_panel:
            return ()
        return tuple(horizon for horizon in PANEL_HORIZONS if horizon != self.horizon)

    @property
    def walks_forward(self) -> bool:
        """Are the test days cut into folds, before each of which the winner is trained again?"""
        return self.splits == "walk_forward"

    @property
    def has_search_folds(self) -> bool:
        """Does a trial of a search train a network for each of several folds of its days?"""
        return self.search_splits != "chronological"

    @property
    def n_search_folds(self) -> int:
        """Number of folds of a search, which is that of the networks of a trial."""
        if not self.has_search_folds:
            return 1
        return math.comb(self.search_groups or 0, self.search_validation_groups or 1)

    def resolved(self) -> dict[str, Any]:
        """Return all values by name, without those on folds, panels and heads where it has none.

        A search that has none, one of a single asset, and one of a single horizon is then described
        as it was before there were such folds, panels and heads.
        """
        of_folds = () if self.has_search_folds else ("search_splits", *OF_SEARCH_FOLDS)
        of_heads = () if self.further_horizons else ("horizons",)
        left_out = (*of_folds, *of_heads, *(() if self.is_panel else OF_PANELS))
        return {name: value for name, value in asdict(self).items() if name not in left_out}

    @property
    def label_kind(self) -> LabelKind:
        """Which label function applies."""
        if self.task == "direction" or self.task == RANKING:
            return "ranking" if self.is_panel else "direction"
        return self.label_price

    @property
    def threshold(self) -> float:
        """Return that a price must reach, as a fraction; 0 for ``direction`` and ``ranking``."""
        return task_threshold(self.task) or 0.0
