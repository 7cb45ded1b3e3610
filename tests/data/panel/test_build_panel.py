from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from study.data.arrays import IndexArray, PriceArray, SampleArray
from study.data.data_config import DataConfig, Normalization, SearchSplitKind, SplitKind
from study.data.data_share import DataShare
from study.data.panel.build_panel import build_panel_dataset
from study.data.panel.panel import MaskArray, Panel
from study.data.panel.panel_baselines import panel_baseline_scores
from study.data.panel.panel_dataset import PanelDataset
from study.data.panel.panel_holdout import open_panel_holdout
from study.data.panel.panel_inputs import build_panel_inputs
from study.data.panel.panel_labels import make_targets, market_volatility
from study.errors import DataError, SpecError
from tests.data.panel.long_walks import (
    ENDED,
    LATE,
    PAUSED,
    long_walks,
    of_closes,
    panel_config,
)

FIRST = 250
"""Row of the panel's first day with inputs: the tier of closes looks back as many days."""


@pytest.fixture(scope="module")
def panel() -> Panel:
    return long_walks()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def arrays_of(data: PanelDataset) -> Iterator[tuple[str, bytes]]:
    """Yield what a data set holds of its days, and those of its folds."""
    for each in (data, *data.search_folds):
        yield "inputs", each.inputs.values.tobytes()
        for name in (
            "present", "returns", "targets", "volatility", "closes", "dates", "train_days",
            "validation_days",
        ):  # fmt: skip
            yield name, getattr(each, name).tobytes()
        for labels in each.further:
            yield f"returns {labels.horizon}", labels.returns.tobytes()
            yield f"targets {labels.horizon}", labels.targets.tobytes()


def test_a_data_set_holds_the_days_that_a_search_may_see(panel: Panel, cache: Path) -> None:
    config = panel_config(horizon=2)
    data = build_panel_dataset(config, panel, cache=cache)
    n_days = len(data.dates)
    assert n_days == data.validation_days[-1] + 1
    assert data.n_rows == len(panel.dates) - FIRST
    assert data.fold_train_rows == (len(data.train_days),)
    visible = slice(FIRST, FIRST + n_days)
    np.testing.assert_array_equal(data.dates, panel.dates[visible])
    np.testing.assert_array_equal(data.closes, panel.close[: visible.stop])
    whole = build_panel_inputs(panel, "closes", "cross_rank", np.arange(0))
    np.testing.assert_array_equal(data.inputs.values, whole.values[visible])
    assert data.feature_names == whole.names
    reach = config.context_length - 1
    for day in range(n_days):
        for asset in range(len(panel.assets)):
            row = FIRST + day
            ranks = day >= reach and whole.known[row, asset] and whole.known[row - reach, asset]
            assert data.present[day, asset] == ranks
    in_parts = np.union1d(data.train_days, data.validation_days)
    assert np.isnan(np.delete(data.returns, in_parts, axis=0)).all()
    earned = panel.close[FIRST + in_parts + 2] / panel.close[FIRST + in_parts] - 1
    earned[~data.present[in_parts]] = np.nan
    np.testing.assert_array_equal(data.returns[in_parts], earned.astype(np.float32))
    np.testing.assert_array_equal(data.targets, make_targets(data.returns, "rank"))
    volatility = market_volatility(panel.close)[visible]
    usual = np.median(volatility[data.train_days])
    np.testing.assert_allclose(data.volatility, volatility / usual, rtol=1e-6)
    assert (data.sector_names, data.n_sectors) == (("all",), 0)
    assert (data.sectors == 0).all()
    assert data.oracle is None
    for name in ("present", "returns", "targets", "volatility", "closes", "train_days"):
        assert not getattr(data, name).flags.writeable


def test_inputs_of_a_file_are_those_in_memory(panel: Panel, cache: Path) -> None:
    for normalization, groups in (("cross_rank", 4), ("zscore", 2)):
        config = panel_config(
            normalization=normalization, search_splits="purged_k_fold", search_groups=groups
        )
        mapped = build_panel_dataset(config, panel, cache=cache)
        in_memory = build_panel_dataset(config, panel)
        assert mapped.inputs.file is not None
        assert in_memory.inputs.file is None
        assert list(arrays_of(mapped)) == list(arrays_of(in_memory))
        assert mapped.shift == in_memory.shift


def test_assets_that_come_pause_and_go_are_masked(panel: Panel, cache: Path) -> None:
    data = build_panel_dataset(panel_config(horizon=3), panel, cache=cache)
    labelled = data.labelled(np.arange(len(data.dates)))
    np.testing.assert_array_equal(labelled, np.isfinite(data.returns))
    rows = FIRST + np.arange(len(data.dates))
    assert not labelled[rows < 500 + FIRST, LATE].any()
    assert not labelled[(rows >= 697) & (rows < 705), PAUSED].any()
    # Its last label ends with it, in the validation days.
    assert rows[labelled[:, ENDED]].max() == 1100 - 3
    assert rows[data.validation_days[0]] < 1097 < rows[data.validation_days[-1]]
    assert data.present[rows == 1100, ENDED].all()
    assert not data.present[rows > 1100, ENDED].any()
    assert labelled[data.validation_days].sum(axis=1).min() == 5
    summary = data.splits["validation"]
    assert summary.labels == labelled[data.validation_days].sum()
    assert summary.assets_mean == pytest.approx(summary.labels / summary.rows)
    assert summary.effective_size == len(data.validation_days) / 3
    assert summary.first_day == str(data.dates[data.validation_days[0]])


@pytest.mark.parametrize("search_splits", ["chronological", "purged_k_fold"])
def test_every_head_learns_the_labels_of_a_cell_of_its_horizon(
    panel: Panel, cache: Path, search_splits: SearchSplitKind
) -> None:
    def built(horizon: int, **values: Any) -> PanelDataset:
        config = panel_config(
            horizon=horizon, purge_days=20, target="winsorized", search_splits=search_splits,
            **values,
        )  # fmt: skip
        return build_panel_dataset(config, panel, cache=cache)

    own = built(5, horizons="all")
    assert [labels.horizon for labels in own.further] == [1, 10, 20]
    assert [labels.horizon for labels in built(3, horizons="all").further] == [1, 5, 10, 20]
    assert own.per_network[0].further[0].horizon == 1
    alone = built(5)
    assert alone.further == ()
    assert list(arrays_of(alone)) == [
        each for each in arrays_of(own) if not each[0].startswith(("returns ", "targets "))
    ]
    others = {horizon: built(horizon) for horizon in (1, 10)}
    for number, network in enumerate(own.per_network):
        *shorter, longest = network.further
        for labels in shorter:
            cell = others[labels.horizon].per_network[number]
            np.testing.assert_array_equal(labels.returns, cell.returns)
            np.testing.assert_array_equal(labels.targets, cell.targets)
            assert not labels.returns.flags.writeable
        # These days are too few for a cell of 20 days.
        days = np.union1d(network.train_days, network.validation_days)
        earned = panel.close[FIRST + days + 20] / panel.close[FIRST + days] - 1
        earned[~network.present[days]] = np.nan
        np.testing.assert_array_equal(longest.returns[days], earned.astype(np.float32))
        assert np.isnan(np.delete(longest.returns, days, axis=0)).all()
        np.testing.assert_array_equal(longest.targets, make_targets(longest.returns, "winsorized"))


CONFIGS = st.builds(
    lambda horizon, extra, embargo, kind, groups, splits, context, horizons: panel_config(
        horizon=horizon,
        horizons=horizons,
        purge_days=extra + (horizon if horizons == "cell" else 20),
        embargo_days=embargo,
        search_splits=kind,
        search_groups=groups if kind != "chronological" else None,
        search_validation_groups=2 if kind == "combinatorial_purged" else None,
        splits=splits,
        fold_days=150,
        validation_days=260,
        context_length=context,
    ),
    st.integers(1, 2),
    st.integers(0, 4),
    st.integers(0, 6),
    st.sampled_from(["chronological", "purged_k_fold", "combinatorial_purged"]),
    st.integers(4, 6),
    st.sampled_from(["shares", "walk_forward"]),
    st.sampled_from([5, 20]),
    st.sampled_from(["cell", "all"]),
)


@settings(deadline=None, max_examples=12)
@given(config=CONFIGS)
def test_no_label_of_training_overlaps_validation_or_the_test_part(
    panel: Panel, cache: Path, config: DataConfig
) -> None:
    data = build_panel_dataset(config, panel, cache=cache)
    heads = sorted({config.horizon, *((1, 5, 10, 20) if config.horizons == "all" else ())})
    folds = range(data.n_folds) if config.walks_forward else ()
    for seen in (data, *(build_panel_dataset(config, panel, fold=f, cache=cache) for f in folds)):
        first_test = int(np.searchsorted(panel.dates, np.datetime64(seen.splits["test"].first_day)))
        for network in seen.per_network:
            spans = {
                part: covered(network, days, len(panel.dates))
                for part, days in (
                    ("train", network.train_days), ("validation", network.validation_days),
                )
            }  # fmt: skip
            # Whatever the head: a label of training covers no day of a label that judges.
            assert sorted(spans["train"]) == sorted(spans["validation"]) == heads
            learned = np.any(list(spans["train"].values()), axis=0)
            for horizon, judging in spans["validation"].items():
                assert judging.any(), horizon
                assert not (learned & judging).any()
                assert not judging[first_test:].any()
            assert not learned[first_test:].any()
            # Nor does one begin on a day that a label of the other part looks at.
            assert not learned[FIRST + network.validation_days].any()


def covered(network: PanelDataset, days: IndexArray, n_days: int) -> dict[int, MaskArray]:
    """Return the days of each asset that labels of these days look at, by horizon."""
    found = {}
    own = [(network.horizon, network.returns)]
    for horizon, returns in own + [(each.horizon, each.returns) for each in network.further]:
        is_seen = np.zeros((n_days, returns.shape[1]), dtype=bool)
        for day in days.tolist():
            for asset in np.flatnonzero(np.isfinite(returns[day])):
                is_seen[FIRST + day + 1 : FIRST + day + horizon + 1, asset] = True
        found[horizon] = is_seen
    return found


@pytest.mark.parametrize(
    ("splits", "kind", "normalization", "longest"),
    [
        ("shares", "chronological", "zscore", 2),
        ("shares", "combinatorial_purged", "cross_z", 20),
        ("walk_forward", "purged_k_fold", "zscore", 2),
        ("walk_forward", "chronological", "cross_rank", 20),
    ],
)
def test_prices_after_the_labels_of_validation_change_nothing(
    panel: Panel, splits: SplitKind, kind: SearchSplitKind, normalization: Normalization,
    longest: int,
) -> None:  # fmt: skip
    config = panel_config(
        horizon=2,
        horizons="cell" if longest == 2 else "all",
        purge_days=max(5, longest),
        splits=splits,
        search_splits=kind,
        search_groups=None if kind == "chronological" else 3,
        normalization=normalization,
        fold_days=200,
        validation_days=260,
    )
    data = build_panel_dataset(config, panel)
    last = FIRST + len(data.dates) - 1
    close = panel.close.copy()
    close[last + longest + 1 :] *= np.random.default_rng(9).uniform(
        0.5, 2, close[last + longest + 1 :].shape
    )
    later = build_panel_dataset(config, of_closes(close))
    assert list(arrays_of(later)) == list(arrays_of(data))
    assert later.shift == data.shift
    assert later.splits == data.splits


def test_each_fold_of_a_search_knows_its_own_training_days(panel: Panel, cache: Path) -> None:
    plain = build_panel_dataset(panel_config(normalization="zscore"), panel, cache=cache)
    config = panel_config(normalization="zscore", search_splits="purged_k_fold", search_groups=3)
    data = build_panel_dataset(config, panel, cache=cache)
    assert list(arrays_of(data.without_search_folds)) == list(arrays_of(plain))
    assert plain.per_network == (plain,)
    assert len(data.per_network) == 3
    judged = np.concatenate([fold.validation_days for fold in data.search_folds])
    assert judged.tolist() == list(range(data.train_days[0], len(data.dates)))
    for fold in data.search_folds:
        in_parts = np.union1d(fold.train_days, fold.validation_days)
        assert np.isfinite(fold.targets[in_parts]).any(axis=1).all()
        assert np.isnan(np.delete(fold.targets, in_parts, axis=0)).all()
        assert np.median(fold.volatility[fold.train_days]) == pytest.approx(1)
        rows = np.unique(fold.train_days[:, None] - np.arange(config.context_length))
        own = build_panel_inputs(panel, "closes", "zscore", FIRST + rows).values
        np.testing.assert_array_equal(fold.inputs.values, own[FIRST : FIRST + len(data.dates)])
        assert fold.splits["train"].rows == len(fold.train_days)
        assert fold.splits["test"] == data.splits["test"]


@pytest.mark.parametrize("normalization", ["cross_rank", "zscore"])
def test_a_share_of_the_training_days_changes_no_other_day(
    panel: Panel, cache: Path, normalization: Normalization
) -> None:
    config = panel_config(
        splits="walk_forward", fold_days=200, validation_days=100,
        normalization=normalization,
    )  # fmt: skip
    share = DataShare(share=0.5, choice="recent", seed=1)
    whole = build_panel_dataset(config, panel, fold=1, cache=cache)
    half = build_panel_dataset(config, panel, fold=1, share=share, cache=cache)
    wanted = round(0.5 * len(whole.train_days))
    np.testing.assert_array_equal(half.train_days, whole.train_days[-wanted:])
    np.testing.assert_array_equal(half.validation_days, whole.validation_days)
    assert half.fold_train_rows == tuple(round(0.5 * rows) for rows in whole.fold_train_rows)
    assert half.splits["test"] == whole.splits["test"]
    assert half.warnings == whole.warnings
    # Inputs along time are scaled by the share's own days, as the opened test days are then.
    is_same = np.array_equal(half.inputs.values, whole.inputs.values)
    assert is_same is (normalization != "zscore")
    opened = open_panel_holdout(config, half, panel, fold=1)
    np.testing.assert_array_equal(opened.inputs.values[: len(half.dates)], half.inputs.values)


def test_a_later_fold_of_test_days_sees_its_own_past(panel: Panel, cache: Path) -> None:
    config = panel_config(splits="walk_forward", fold_days=200, validation_days=260)
    searched = build_panel_dataset(config, panel, cache=cache)
    assert searched.n_folds > 1
    for fold in range(searched.n_folds):
        data = build_panel_dataset(config, panel, fold=fold, cache=cache)
        assert len(data.train_days) == searched.fold_train_rows[fold]
        assert data.splits["test"].rows <= searched.splits["test"].rows
    assert data.dates[-1] > searched.dates[-1]


def still(close: PriceArray) -> PriceArray:
    return np.full_like(close, 20.0)


def two_alone(close: PriceArray) -> PriceArray:
    close[:, 2:] = np.nan
    return close


def two_late(close: PriceArray) -> PriceArray:
    close[900:, 2:] = np.nan
    return close


def short(close: PriceArray) -> PriceArray:
    return close[:200]


def few(close: PriceArray) -> PriceArray:
    return close[:700]


@pytest.mark.parametrize(
    ("change", "values", "words"),
    [
        (still, {}, "not all the same return, but got train=0, .* whose prices move"),
        (two_alone, {}, "needs a day on which 3 assets have more than 250 days of prices"),
        (two_late, {}, "every part must keep days on which 3 assets .* validation=11, test=0"),
        (short, {}, "needs a day on which 3 assets have more than 250 days of prices"),
        (few, {"validation_share": 0.2, "horizon": 5}, r"least 30 days .*, worth [12]\d\.\d at"),
        (few, {"context_length": 400}, "every part must keep days"),
        (
            np.copy,
            {"horizon": 20, "purge_days": 20},
            "at horizon 20. Give a longer history, a shorter horizon",
        ),
        (np.copy, {"horizon": 900, "purge_days": 900}, "every part must keep days"),
    ],
)
def test_a_panel_that_cannot_answer_is_refused_in_a_line(
    panel: Panel, change: Callable[[PriceArray], PriceArray], values: dict[str, int], words: str
) -> None:
    close = change(panel.close.copy())
    with pytest.raises(DataError, match=words) as refusal:
        build_panel_dataset(panel_config(**values), of_closes(close))
    assert "\n" not in str(refusal.value)


def test_a_config_of_one_asset_is_refused(panel: Panel) -> None:
    with pytest.raises(SpecError, match="a panel is built for the task ranking, but got task="):
        build_panel_dataset(DataConfig(horizon=1), panel)


def test_days_with_two_assets_are_left_out_and_said_so(panel: Panel) -> None:
    close = panel.close.copy()
    close[600:640, 2:] = np.nan
    data = build_panel_dataset(panel_config(), of_closes(close))
    left_out = np.arange(599, 640 + 19) - FIRST  # until no window begins in the gap
    assert not np.isin(left_out, data.train_days).any()
    assert np.isin([left_out[0] - 1, left_out[-1] + 1], data.train_days).all()
    (line,) = data.warnings
    assert line.startswith(f"60 of {len(data.train_days) + 60} training days are left out: fewer ")


def test_a_still_asset_among_others_is_no_reason_to_refuse(panel: Panel) -> None:
    close = panel.close.copy()
    close[:, 0] = 20.0
    data = build_panel_dataset(panel_config(), of_closes(close))
    assert np.isfinite(data.inputs.values).all()
    assert all(map(np.isfinite, data.shift.values()))
    assert (data.returns[data.train_days, 0][data.present[data.train_days, 0]] == 0).all()


def test_inputs_that_drift_are_refused_along_time_alone(panel: Panel, cache: Path) -> None:
    strict = {"max_shift": 1e-4}
    with pytest.raises(DataError, match="zscore inputs: must not shift more than max_shift"):
        build_panel_dataset(panel_config(normalization="zscore", **strict), panel, cache=cache)
    data = build_panel_dataset(panel_config(**strict), panel, cache=cache)
    assert set(data.shift) == set(data.feature_names)


def test_sectors_and_the_best_scores_of_a_simulated_panel_are_kept(
    panel: Panel, cache: Path
) -> None:
    best = np.arange(panel.close.size, dtype=float).reshape(panel.close.shape)
    names = ("b", "a", "b", "c", "a", "a")
    known = replace(panel, sectors=names, oracle={1: best}, fingerprint="with sectors")
    data = build_panel_dataset(panel_config(), known, cache=cache)
    assert (data.sector_names, data.n_sectors) == (("a", "b", "c"), 3)
    assert [data.sector_names[row] for row in data.sectors] == list(names)
    oracle: SampleArray | None = data.oracle
    assert oracle is not None
    np.testing.assert_array_equal(oracle, best[FIRST : FIRST + len(data.dates)])


def test_a_simulated_panel_is_refused_at_a_horizon_without_its_best_scores(panel: Panel) -> None:
    simulated = replace(panel, oracle={1: panel.close, 2: panel.close})
    with pytest.raises(DataError, match="known up to a horizon of 2 days, but got horizon=3"):
        build_panel_dataset(panel_config(horizon=3), simulated)


def test_baselines_look_back_from_the_first_day_of_the_first_fold(
    panel: Panel, cache: Path
) -> None:
    config = panel_config(search_splits="purged_k_fold", search_groups=4)
    fold = build_panel_dataset(config, panel, cache=cache).search_folds[0]
    first = fold.validation_days[:1]
    momentum = panel_baseline_scores(fold, first)["momentum"]
    row = FIRST + int(first[0])
    expected = np.where(
        fold.present[first[0]], panel.close[row - 20] / panel.close[row - 250] - 1, np.nan
    )
    np.testing.assert_allclose(momentum[0], expected, rtol=1e-6)


def test_a_cache_that_was_damaged_is_a_warning(panel: Panel, tmp_path: Path) -> None:
    build_panel_dataset(panel_config(), panel, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-9])
    damaged = build_panel_dataset(panel_config(), panel, cache=tmp_path)
    assert [line for line in damaged.warnings if "built again" in line]
    assert build_panel_dataset(panel_config(), panel, cache=tmp_path).warnings == ()


@pytest.mark.slow
def test_folds_are_those_of_skfolio(panel: Panel, cache: Path) -> None:
    selection = pytest.importorskip("skfolio.model_selection")
    config = panel_config(
        horizon=2,
        purge_days=4,
        embargo_days=3,
        search_splits="combinatorial_purged",
        search_groups=5,
    )
    data = build_panel_dataset(config, panel, cache=cache)
    days = np.arange(data.train_days[0], len(data.dates))
    peer = selection.CombinatorialPurgedCV(n_folds=5, n_test_folds=2, purged_size=4, embargo_size=3)
    folds = list(peer.split(days[:, None]))
    assert len(folds) == len(data.search_folds) == 10
    for (train, tests), fold in zip(folds, data.search_folds, strict=True):
        np.testing.assert_array_equal(fold.train_days, days[train])
        np.testing.assert_array_equal(fold.validation_days, days[np.concatenate(tests)])
