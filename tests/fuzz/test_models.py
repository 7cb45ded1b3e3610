"""Damaged exported models: they give the probabilities of the export, or are refused."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from study import predict
from study.data.data_config import DataConfig
from study.data.sources import load_prices
from study.final.export import export_model
from study.storage.layout import FINAL_FOLDER, MODEL_FOLDER
from tests.final.test_export import exported
from tests.fuzz.damage import damaged_bytes, damaged_text, fuzz
from tests.fuzz.judge import Outcome, check_form, run

pytestmark = pytest.mark.slow

CELL = "c"


def predictions(results: Path) -> Outcome:
    return run(predict.main, ["--cell", CELL, "--storage", str(results), "--days", "2", "--json"])


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    results = tmp_path_factory.mktemp("models")
    export_model(
        results / FINAL_FOLDER / CELL / MODEL_FOLDER,
        exported(DataConfig(horizon=1), load_prices("sp500")),
    )
    return results


@pytest.fixture(scope="module")
def before(results: Path) -> object:
    outcome = predictions(results)
    assert outcome.code == 0, outcome
    return json.loads(outcome.out)["predictions"]


@fuzz
@given(data=st.data())
def test_a_damaged_model_gives_the_same_probabilities_or_none(
    results: Path, before: object, data: st.DataObject
) -> None:
    model = results / FINAL_FOLDER / CELL / MODEL_FOLDER
    path = data.draw(st.sampled_from(sorted(model.iterdir())))
    whole = path.read_bytes()
    damaged = damaged_text((whole.decode(),)) if path.suffix == ".json" else damaged_bytes(whole)
    path.write_bytes(data.draw(damaged))
    try:
        outcome = predictions(results)
    finally:
        path.write_bytes(whole)
    check_form(outcome)
    if outcome.code == 0:
        assert json.loads(outcome.out)["predictions"] == before
