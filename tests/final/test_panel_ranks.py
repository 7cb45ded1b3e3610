"""Ranks of a panel's last days by an exported model, and how study.predict shows them."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from study.data.data_config import Normalization
from study.data.panel.build_panel import build_panel_dataset
from study.data.panel.panel import Panel
from study.data.panel.panel_dataset import PanelDataset
from study.data.panel.panel_holdout import open_panel_holdout
from study.data.sources import load_prices
from study.errors import DataError
from study.final.export import ExportedModel, export_model, load_model, origin_of, scaler_of
from study.final.panel_ranks import PanelRanks, rank_days
from study.final.run_plan import with_validation_days
from study.model.architecture import AssetAttention
from study.model.families import family_of
from study.model.model_config import ModelConfig
from study.predict import main
from study.training.panel.panel_prediction import predict_scores
from tests.data.panel.long_walks import ENDED, long_walks, panel_config

CPU = torch.device("cpu")
SECTORS = ("banks", "banks", "chips", "chips", "banks", "energy", "energy")
N_DAYS = 250


@pytest.fixture(scope="module")
def panel() -> Panel:
    return replace(long_walks(n_assets=len(SECTORS)), sectors=SECTORS)


def exported(
    panel: Panel,
    normalization: Normalization = "cross_z",
    attention: AssetAttention = "none",
    *,
    with_validation: bool = False,
    source: str = "walks",
) -> ExportedModel:
    """Return a network of drawn weights, as if it had been trained on the panel."""
    config = panel_config(normalization=normalization, horizon=2, source=source)
    data = build_panel_dataset(config, panel)
    model = ModelConfig(
        n_features=len(data.feature_names), n_assets=len(data.assets),
        n_sectors=len(data.sector_names), asset_attention=attention, d_model=8, n_layers=1,
        n_heads=2, context_length=20, patch_length=10, patch_stride=10,
    )  # fmt: skip
    network = family_of(model).build(model, bf16=False, device="cpu")
    draw = torch.Generator().manual_seed(1)
    network.initialise(draw, 0.5)
    weights = {
        name: weight + 0.1 * torch.randn(weight.shape, generator=draw)
        for name, weight in network.state_dict().items()
    }
    run = with_validation_days(data) if with_validation else data
    return ExportedModel(
        cell="ranks", data=config, model=model, scaler=scaler_of(run),
        feature_hash=data.feature_hash, origin={"seed": 7, **origin_of(run)}, weights=weights,
    )  # fmt: skip


def scores(ranks: PanelRanks) -> np.ndarray:
    return np.where(ranks.present, ranks.scores, np.nan)


@pytest.mark.parametrize(
    ("normalization", "attention", "with_validation"),
    [
        ("cross_z", "none", False),
        ("cross_rank", "all", False),
        ("zscore", "sector", False),
        ("zscore", "none", True),
    ],
)
def test_past_days_have_the_scores_of_the_final_runs(
    panel: Panel, tmp_path: Path, normalization: Normalization, attention: AssetAttention,
    with_validation: bool,
) -> None:  # fmt: skip
    made = exported(panel, normalization, attention, with_validation=with_validation)
    export_model(tmp_path, made)
    ranks = rank_days(load_model(tmp_path), panel, N_DAYS, device=CPU)
    data = build_panel_dataset(made.data, panel)
    run = with_validation_days(data) if with_validation else data
    assert isinstance(run, PanelDataset)
    holdout = open_panel_holdout(made.data, run, panel)
    days = np.flatnonzero(np.isin(holdout.dates, ranks.dates))
    assert len(days) == N_DAYS
    expected = predict_scores(
        made.model, made.weights, holdout.inputs.values, holdout.present, data.sectors, days,
        device=CPU,
    )[..., 0]  # fmt: skip
    np.testing.assert_array_equal(scores(ranks), np.where(holdout.present[days], expected, np.nan))
    # The last day is ranked, though nobody knows what it earns, and an asset that has ended is not.
    assert ranks.dates[-1] == panel.dates[-1]
    assert (ranks.present[-1] == (np.arange(len(SECTORS)) != ENDED)).all()
    assert ranks.notes == ()


def test_ranks_count_the_assets_with_a_higher_score_and_equals_share_one() -> None:
    ranks = PanelRanks(
        dates=np.array(["2020-01-02", "2020-01-03"], dtype="datetime64[D]"),
        assets=("A", "B", "C", "D"),
        sectors=("x", "y", "x", "y"),
        scores=np.array([[0.1, 0.3, 0.3, 9.0], [3, 2, 1, 0]], dtype=np.float32),
        present=np.array([[True, True, True, False], [True] * 4]),
        notes=(),
    )
    rows = ranks.rows()
    assert [(row["asset"], row["rank"]) for row in rows] == [
        ("B", 1), ("C", 1), ("A", 3), ("A", 1), ("B", 2), ("C", 3), ("D", 4),
    ]  # fmt: skip
    assert rows[2] == {
        "date": "2020-01-02", "asset": "A", "sector": "x", "score": 0.1, "rank": 3,
    }  # fmt: skip


def test_other_assets_are_ranked_and_named(panel: Panel) -> None:
    made = exported(panel)
    kept = slice(2, None)
    other = replace(
        panel, assets=(*panel.assets[2:-1], "NEW"), close=panel.close[:, kept],
        sectors=(*SECTORS[2:-1], "rails"),
    )  # fmt: skip
    ranks = rank_days(made, other, 1, device=CPU)
    assert {row["asset"] for row in ranks.rows()} == {"A2", "A3", "A5", "NEW"}
    assert ranks.notes == (
        "not among the assets of training: NEW",
        "missing here: A0, A1, A6",
        "not among the sectors of training: rails",
    )
    (line,) = (
        note
        for note in rank_days(exported(panel, "zscore"), other, 1, device=CPU).notes
        if "standardised" in note
    )
    assert line == "inputs are standardised by the training days of these assets, not of those"


def test_names_of_sectors_change_nothing(panel: Panel) -> None:
    made = exported(panel, attention="sector")
    # In another order of names, and one that is divided in two.
    renamed = {"banks": "z", "chips": "y", "energy": "x"}
    other = replace(panel, sectors=tuple(renamed[each] for each in SECTORS))
    own, found = (rank_days(made, each, 20, device=CPU) for each in (panel, other))
    np.testing.assert_allclose(scores(found), scores(own), rtol=1e-4, atol=1e-6)
    divided = replace(panel, sectors=(*SECTORS[:-1], "another"))
    assert not np.allclose(
        scores(rank_days(made, divided, 20, device=CPU)), scores(own), equal_nan=True
    )


def test_sectors_that_training_knew_not_change_nothing(panel: Panel) -> None:
    bare = replace(panel, sectors=None)
    either: tuple[AssetAttention, ...] = ("none", "sector")
    for attention in either:
        made = exported(bare, attention=attention)
        own, found = (rank_days(made, each, 20, device=CPU) for each in (bare, panel))
        np.testing.assert_array_equal(scores(found), scores(own))
        assert found.notes == ("training knew no sectors, so those of this panel change nothing",)
        assert (own.rows()[0]["sector"], found.rows()[0]["sector"] in SECTORS) == (None, True)
    # And the other way round, where inputs are relative to sectors.
    ranks = rank_days(exported(panel), bare, 1, device=CPU)
    assert ranks.notes == (
        "no sectors here: what was relative to a sector is relative to all assets",
    )


def test_a_day_on_which_two_assets_have_inputs_is_not_ranked(panel: Panel) -> None:
    close = panel.close.copy()
    close[-3:, :5] = np.nan
    ranks = rank_days(exported(panel), replace(panel, close=close), 1, device=CPU)
    assert ranks.dates.tolist() == [panel.dates[-4].item()]
    assert ranks.notes == (
        f"{panel.dates[-4]} is the last day that is ranked: on later ones, up to "
        f"{panel.dates[-1]}, fewer than 3 assets have inputs",
    )


def test_what_the_model_needs_and_the_panel_lacks_is_one_line(panel: Panel) -> None:
    late = replace(panel, dates=panel.dates[900:], close=panel.close[900:])
    assert rank_days(exported(panel), late, 1, device=CPU).rows()
    with pytest.raises(DataError, match=r"must hold the \d+ days from .* are standardised, but"):
        rank_days(exported(panel, "zscore"), late, 1, device=CPU)
    short = replace(panel, dates=panel.dates[-260:], close=panel.close[-260:])
    with pytest.raises(DataError, match="must have a day on which 3 assets have inputs of 20 days"):
        rank_days(exported(panel), short, 1, device=CPU)
    bare = replace(panel, sectors=None)
    assert rank_days(exported(panel), bare, 1, device=CPU).rows()[0]["sector"] is None
    with pytest.raises(DataError, match="must have the sector of each asset: the network compares"):
        rank_days(exported(panel, attention="sector"), bare, 1, device=CPU)
    # A network that was trained without sectors asks for none.
    assert rank_days(exported(bare, attention="sector"), bare, 1, device=CPU).rows()


CELL = "ranks"


@pytest.fixture(scope="module")
def results(panel: Panel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with a model of a panel, and the panel as a file."""
    here = tmp_path_factory.mktemp("ranks")
    days = np.arange("2015-01-05", "2021-01-05", dtype="datetime64[D]")
    days = days[np.is_busday(days)][: len(panel.dates)]
    table = pd.DataFrame(panel.close, columns=panel.assets, index=pd.Index(days, name="Date"))
    table.to_csv(here / "panel.csv")
    load_prices("sp500").frame.iloc[-800:].to_csv(here / "market.csv")
    made = exported(replace(panel, sectors=None), source=str(here / "panel.csv"))
    export_model(here / "final" / CELL / "model", made)
    return here


def flags(results: Path, *more: str) -> list[str]:
    return ["--cell", CELL, "--storage", str(results), *more]


def test_the_command_prints_top_and_bottom_and_writes_all(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(flags(results, "--json", "--days", "2", "--csv", str(tmp_path / "r.csv"))) == 0
    ranks = json.loads(capsys.readouterr().out)["ranks"]
    written = (tmp_path / "r.csv").read_text()
    rows = [
        {**row, "score": float(row["score"]), "rank": int(row["rank"]), "sector": None}
        for row in csv.DictReader(written.splitlines())
    ]
    assert rows == ranks
    assert len(ranks) == 2 * 6
    assert main(flags(results, "--days", "2", "--csv", "-")) == 0
    assert capsys.readouterr().out == written
    assert main(flags(results)) == 0
    printed = capsys.readouterr().out
    last = [row for row in ranks if row["date"] == ranks[-1]["date"]]
    assert f"{ranks[-1]['date']}, 6 assets\n" in printed
    for row in last:
        assert f"{row['rank']:>6}  {row['asset']}  {row['score']:+.4f}\n" in printed
    assert main(flags(results, "--days", "3")) == 0
    assert "6 assets; --csv FILE or --json has all 3 days" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--data", "sp500"), "--data: must be a panel of many assets, as the one that the model "),
        (("--data", "market.csv"), "market.csv', a market of one. Give such data, or a --cell"),
        (("--data", "nowhere"), "must be an embedded panel, an imported one or a file, but got"),
        (("--vix", "embedded"), "--vix: a panel has no inputs made of a volatility index, but got"),
        (("--csv", "."), "--csv: must be a file in a folder that exists, but got '.'. Give a file"),
        (("--csv", "/nowhere/ranks"), "--csv: must be a file in a folder that exists, but got"),
        (("--json", "--csv", "-"), "--csv: must be a file where --json prints, but got -"),
    ],
)
def test_what_is_no_panel_is_one_line(
    results: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], words: str
) -> None:
    given = [str(results / word) if word.endswith(".csv") else word for word in more]
    assert main(flags(results, *given)) == 2
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = output.err.splitlines()
    assert words in line
