import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from study.data.data_config import DataConfig
from study.data.dataset import build_dataset, vix_of
from study.data.holdout import known_inputs
from study.data.prices import Prices
from study.data.sources import load_prices
from study.errors import DataError, StudyError
from study.final.export import ExportedModel, export_model, load_model, predict_days
from study.model.families import family_of
from study.model.model_config import ModelConfig
from study.predict import main
from study.storage.layout import CARD_FILE, WEIGHTS_FILE

CPU = torch.device("cpu")


def exported(config: DataConfig, prices: Prices) -> ExportedModel:
    dataset = build_dataset(config, prices)
    model = ModelConfig(n_features=len(dataset.feature_names), d_model=8, n_layers=1, n_heads=2)
    network = family_of(model).build(model, bf16=False, device="cpu")
    network.initialise(torch.Generator().manual_seed(1), dataset.base_rate)
    return ExportedModel(
        cell="c",
        data=config,
        model=model,
        scaler=dataset.scaler,
        feature_hash=dataset.feature_hash,
        origin={"seed": 7, "base_rate": dataset.base_rate},
        weights=network.state_dict(),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        DataConfig(horizon=1),
        DataConfig(horizon=1, tier="a200"),
        DataConfig(horizon=1, tier="c", vix="embedded", task="direction"),
    ],
)
def test_a_model_of_any_tier_predicts_the_latest_days(config: DataConfig, tmp_path: Path) -> None:
    prices = load_prices("sp500")
    export_model(tmp_path, exported(config, prices))
    model, vix = load_model(tmp_path), vix_of(config)
    dates, probability = predict_days(model, prices, 3, device=CPU, vix=vix)
    last = prices.frame.index.to_numpy()[-3:].astype("datetime64[D]")
    np.testing.assert_array_equal(dates, last)
    assert ((probability > 0) & (probability < 1)).all()
    inputs = known_inputs(config, build_dataset(config, prices), prices, vix)
    assert inputs.shape[1] == model.model.n_features


@pytest.mark.parametrize(
    ("config", "n_bars", "words"),
    [
        (DataConfig(horizon=1), 278, r"must hold at least 279 bars, but got 278"),
        (DataConfig(horizon=1, tier="a200"), 331, r"must hold at least 332 bars, but got 331"),
        (
            DataConfig(horizon=1, tier="c", vix="embedded", task="direction"),
            3000,
            r"279 bars, 60 of them with inputs made of the VIX, but got 3000, 0 \(vix embedded",
        ),
    ],
)
def test_a_history_too_short_for_a_window_is_refused(
    config: DataConfig, n_bars: int, words: str
) -> None:
    prices = load_prices("sp500")
    short = replace(prices, frame=prices.frame.iloc[:n_bars])
    with pytest.raises(DataError, match=words):
        predict_days(exported(config, prices), short, 3, device=CPU, vix=vix_of(config))


CELL = "demo_50k_h1_threshold_1pct"
FLAGS = ("--cell", CELL, "--days", "3")

Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with the exported model of one cell."""
    results = tmp_path_factory.mktemp("intact")
    made = replace(exported(DataConfig(horizon=1), load_prices("sp500")), cell=CELL)
    export_model(results / "final" / CELL / "model", made)
    return results


@pytest.fixture
def results(intact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(intact, tmp_path / "results"))


def predicted(results: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    """Return the one line with which the command refuses; it prints nothing on stdout."""
    assert main([*FLAGS, "--storage", str(results), *flags]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = output.err.splitlines()
    assert line.startswith("error: ")
    return line


def test_an_intact_model_gives_probabilities(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*FLAGS, "--storage", str(results), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [0 < row["probability"] < 1 for row in printed["predictions"]] == [True] * 3
    assert main([*FLAGS, "--storage", str(results)]) == 0


def test_probabilities_are_written_as_a_table(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*FLAGS, "--storage", str(results), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["predictions"]
    assert main([*FLAGS, "--storage", str(results), "--csv", "-"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header == "date,probability"
    assert lines == [f"{row['date']},{row['probability']}" for row in rows]


@pytest.mark.parametrize("source", ["stocks20", "panel.csv"])
def test_a_panel_is_refused_for_the_model_of_a_market(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str
) -> None:
    if source == "panel.csv":
        close = load_prices("sp500").frame["Close"].iloc[-400:]
        walks = {"A": close, "B": close[::-1].to_numpy(), "C": close.to_numpy() ** 0.5}
        pd.DataFrame(walks, index=close.index).to_csv(tmp_path / source)
        source = str(tmp_path / source)
    line = predicted(results, capsys, "--data", source)
    assert line == (
        "error: --data: must be a market of one asset, as the one that the model learnt from, but "
        f"got {source!r}, a panel of many. Give such data, or a --cell that was trained on that "
        "kind."
    )


def test_how_a_file_was_understood_is_printed(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "newest.csv"
    load_prices("sp500").frame.iloc[-800:].iloc[::-1].to_csv(file)
    assert main([*FLAGS, "--storage", str(results), "--data", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "read newest.csv: columns Date, Open, High, Low, Close, Volume; " in printed
    assert "newest first, turned round; " in printed


def flip_a_bit_of(name: str) -> Change:
    def change(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        # The second half of the file holds weights alone.
        content[len(content) * 3 // 4] ^= 1
        (folder / name).write_bytes(content)

    return change


def set_in_card(*keys: str | int, value: Any) -> Change:
    def change(folder: Path) -> None:
        card = json.loads((folder / CARD_FILE).read_text())
        part = card
        for key in keys[:-1]:
            part = part[key]
        part[keys[-1]] = value
        (folder / CARD_FILE).write_text(json.dumps(card))

    return change


def without(*keys: str) -> Change:
    def change(folder: Path) -> None:
        card = json.loads((folder / CARD_FILE).read_text())
        for key in keys:
            card.pop(key)
        (folder / CARD_FILE).write_text(json.dumps(card))

    return change


def with_content(name: str, content: bytes) -> Change:
    def change(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return change


def removed(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def a_folder_as(name: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return change


def of_another_model(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS_FILE)
    save_file({name: weight + 1 for name, weight in weights.items()}, folder / WEIGHTS_FILE)


CHANGES = {
    "a bit of the weights": flip_a_bit_of(WEIGHTS_FILE),
    "a bit of the card": flip_a_bit_of(CARD_FILE),
    "weights of another cell": of_another_model,
    "no weights": removed(WEIGHTS_FILE),
    "a folder of weights": a_folder_as(WEIGHTS_FILE),
    "empty weights": with_content(WEIGHTS_FILE, b""),
    "no card": removed(CARD_FILE),
    "a folder of a card": a_folder_as(CARD_FILE),
    "an empty card": with_content(CARD_FILE, b""),
    "a list": with_content(CARD_FILE, b"[]"),
    "a word": with_content(CARD_FILE, b'"cell"'),
    "a deep card": with_content(CARD_FILE, b"[" * 100_000),
    "a deep value": with_content(CARD_FILE, b'{"cell":' + b"[" * 900 + b"]" * 900 + b"}"),
    "another mean": set_in_card("scaler", "mean", 0, value=1.0),
    "no scaler": set_in_card("scaler", value=[]),
    "another horizon": set_in_card("data", "horizon", value=3),
    "another base rate": set_in_card("origin", "base_rate", value=0.1),
    "no base rate": set_in_card("origin", value={"seed": 1}),
    "layers without end": set_in_card("model", "n_layers", value=10**30),
    "another hash": set_in_card("sha256", value="0"),
    "an infinite number": set_in_card("origin", "base_rate", value=float("inf")),
    "another hash of the weights": set_in_card("weights_sha256", value=None),
}


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_is_not_as_it_was_exported_is_refused(
    results: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    CHANGES[what](results / "final" / CELL / "model")
    line = predicted(results, capsys)
    assert f"Move {results}/final/{CELL}/final.json away and run study.train" in line
    assert predicted(results, capsys, "--json") == line


@pytest.mark.parametrize("keys", [("sha256",), ("weights_sha256",), ("sha256", "weights_sha256")])
def test_an_export_of_an_earlier_version_is_refused_with_the_remedy(
    results: Path, capsys: pytest.CaptureFixture[str], keys: tuple[str, ...]
) -> None:
    without(*keys)(results / "final" / CELL / "model")
    line = predicted(results, capsys)
    assert "model.json: must hold the hashes of the model, but got an export of an earlier" in line
    assert "run study.train for its cell: what was trained is exported again." in line


def sealed(folder: Path) -> None:
    """Write the new hashes of a changed model into its card."""
    card = json.loads((folder / CARD_FILE).read_text())
    weights = (folder / WEIGHTS_FILE).read_bytes()
    card = {name: value for name, value in card.items() if name != "sha256"}
    card["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    text = json.dumps(card, sort_keys=True)
    card["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (folder / CARD_FILE).write_text(json.dumps(card))


def with_another_name(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS_FILE)
    weights["another"] = weights.pop(next(iter(weights)))
    save_file(weights, folder / WEIGHTS_FILE)


def weights_of(change: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    def changed(folder: Path) -> None:
        weights = load_file(folder / WEIGHTS_FILE)
        changed = {name: change(weight).contiguous() for name, weight in weights.items()}
        save_file(changed, folder / WEIGHTS_FILE)

    return changed


SEALED = {
    "every weight must be a finite number": weights_of(lambda weight: weight * float("nan")),
    "NaN or infinity in": weights_of(lambda weight: weight + float("inf")),
    "the model must say a probability of every day": weights_of(lambda weight: weight * 1e38),
    "AttributeError": set_in_card("scaler", value=[]),
    "KeyError: 'base_rate'": set_in_card("origin", value={"seed": 1}),
    "a base rate outside of": set_in_card("origin", "base_rate", value=2),
    "n_layers must be a whole number": set_in_card("model", "n_layers", value=10**30),
    "weights of another number than": set_in_card("model", "d_model", value=16),
    "weights of other names": with_another_name,
    "a scaler of another number": set_in_card("scaler", "mean", value=[0.0]),
    "a scaler without finite means": set_in_card("scaler", "sd", 0, value=0.0),
    "n_heads must be a whole number": set_in_card("model", "n_heads", value="x"),
    "unexpected keyword": set_in_card("data", "years", value=3),
    "must hold the model of": set_in_card("cell", value="another"),
    "no name of a cell": set_in_card("cell", value=3),
    "another definition of them": set_in_card("feature_hash", value="0"),
}


@pytest.mark.parametrize("words", SEALED)
def test_what_was_sealed_must_make_sense(
    results: Path, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    folder = results / "final" / CELL / "model"
    SEALED[words](folder)
    sealed(folder)
    line = predicted(results, capsys)
    assert words in line
    assert predicted(results, capsys, "--json") == line


def test_weights_that_are_not_numbers_are_not_exported(tmp_path: Path) -> None:
    made = exported(DataConfig(horizon=1), load_prices("sp500"))
    name = next(iter(made.weights))
    weights = {**made.weights, name: made.weights[name] * float("nan")}
    with pytest.raises(StudyError, match="every weight must be a finite number"):
        export_model(tmp_path / "model", replace(made, weights=weights))
    assert not (tmp_path / "model").exists()


def test_an_export_writes_through_no_link(tmp_path: Path) -> None:
    made = exported(DataConfig(horizon=1), load_prices("sp500"))
    victim = tmp_path / "victim"
    victim.write_text("years of work")
    (tmp_path / "model").mkdir()
    for name in (WEIGHTS_FILE, CARD_FILE, f".{WEIGHTS_FILE}.tmp"):
        (tmp_path / "model" / name).symlink_to(victim)
    export_model(tmp_path / "model", made)
    assert victim.read_text() == "years of work"
    assert load_model(tmp_path / "model").cell == "c"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ("--cell", "a\nb"),
            r"must be a cell whose winner has been trained, but got 'a\nb'; there",
        ),
        (("--storage", "a" * 300), "--storage: must be a results folder that can be read"),
    ],
)
def test_a_wrong_flag_is_refused_in_one_line(
    results: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, str], words: str
) -> None:
    assert words in predicted(results, capsys, *flags)
