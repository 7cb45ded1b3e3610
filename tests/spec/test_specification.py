from dataclasses import fields
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import given, settings

from study.errors import SpecError
from study.model.model_config import ModelConfig
from study.spec.dimension import Choice, Fixed, Range
from study.spec.overrides import Overrides
from study.spec.spec_file import load_study
from study.spec.specification import DERIVED_MODEL_FIELDS, PLANNED_FIELDS, Cell
from study.training.train_config import TrainConfig
from tests.results.damage import damaged

SPACES = Path(__file__).parents[2] / "search_spaces"


def edited(tmp_path: Path, edit: dict[str, Any]) -> Path:
    """Write phase6a with some nested keys replaced (dotted names; None deletes)."""
    raw = yaml.safe_load((SPACES / "phase6a.yaml").read_text())
    for dotted, value in edit.items():
        *parents, last = dotted.split(".")
        section = raw
        for parent in parents:
            section = section[parent]
        if value is KeyError:
            del section[last]
        else:
            section[last] = value
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def cell(path: Path, **search: Any) -> Cell:
    return load_study(path).cell("2M", 3, Overrides(search=search))


def test_a_cell_that_walks_forward_says_so_in_its_name_and_reads_no_shares(tmp_path: Path) -> None:
    study = load_study(SPACES / "phase6a.yaml")
    long = study.cell("2M", 3, Overrides(data={"source": "sp500-long"}))
    assert long.name == "phase6a_2M_h3_threshold_1pct_sp500-long_walk-forward"
    assert long.data.first_test_day == "1990-01-01"
    walking = study.cell("2M", 3, Overrides(data={"splits": "walk_forward"}))
    assert walking.name == "phase6a_2M_h3_threshold_1pct_walk-forward"
    with_shares = edited(tmp_path, {"data.test_share": 0.2})
    assert cell(with_shares).data.test_share == 0.2
    with pytest.raises(SpecError, match=r"test_share are not read where splits is walk_forward"):
        load_study(with_shares).cell("2M", 3, Overrides(data={"splits": "walk_forward"}))
    with pytest.raises(SpecError, match=r"not read where splits is shares, but got fold_days"):
        cell(edited(tmp_path, {"data.fold_days": 500}))
    with pytest.raises(SpecError, match="window_days must leave training days"):
        cell(edited(tmp_path, {"data.splits": "walk_forward", "data.window_days": 400}))


def test_a_day_in_a_file_needs_no_quotes(tmp_path: Path) -> None:
    space = {"data.splits": "walk_forward", "data.first_test_day": date(2009, 1, 2)}
    assert cell(edited(tmp_path, space)).data.first_test_day == "2009-01-02"
    with pytest.raises(SpecError, match=r"first_test_day must be a day as 1990-01-31, or null"):
        cell(edited(tmp_path, space | {"data.first_test_day": "2.1.2009"}))


def test_folds_of_a_search_are_part_of_the_name_and_of_the_record() -> None:
    study = load_study(SPACES / "phase6a.yaml")
    folded = study.cell("2M", 3, Overrides(data={"search_splits": "purged_k_fold"}))
    assert folded.name == "phase6a_2M_h3_threshold_1pct_purged-k-fold"
    assert folded.resolved()["data"]["search_groups"] == 5
    both = {"search_splits": "combinatorial_purged", "splits": "walk_forward"}
    walking = study.cell("2M", 3, Overrides(data=both))
    assert walking.name.endswith("_walk-forward_combinatorial-purged")
    plain = study.cell("2M", 3)
    assert plain == study.cell("2M", 3, Overrides(data={"search_splits": "chronological"}))
    assert not [name for name in plain.resolved()["data"] if name.startswith("search_")]


@pytest.mark.parametrize(
    "source", ["search2", "mine/search12.csv", "walk-forward", "purged-k-fold"]
)
def test_a_market_whose_name_would_mean_something_else_is_refused(source: str) -> None:
    with pytest.raises(SpecError, match=r"no market may be named walk-forward, .* or searchN"):
        load_study(SPACES / "phase6a.yaml").cell("2M", 3, Overrides(data={"source": source}))


@pytest.mark.parametrize("path", sorted(SPACES.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_spaces_load_for_every_cell(path: Path) -> None:
    study = load_study(path)
    names = {
        study.cell(budget, horizon).name for budget in study.budgets for horizon in study.horizons
    }
    assert len(names) == len(study.budgets) * len(study.horizons)


def test_cell_is_named_by_study_budget_horizon_and_task() -> None:
    study = load_study(SPACES / "phase6a.yaml")
    assert study.cell("2M", 3).name == "phase6a_2M_h3_threshold_1pct"
    other = study.cell("2M", 3, Overrides(data={"source": "nasdaq", "label_price": "close"}))
    assert other.name == "phase6a_2M_h3_threshold_1pct_close_nasdaq"
    larger = study.cell("2M", 3, Overrides(data={"source": "nasdaq", "tier": "a200"}))
    assert larger.name == "phase6a_2M_h3_threshold_1pct_nasdaq_a200"


def test_a_study_may_assert_that_its_features_are_free_of_the_vix(tmp_path: Path) -> None:
    text = (SPACES / "phase6a.yaml").read_text(encoding="utf-8")
    for lines, words in (
        ("tier: a200\n  without: vix", None),
        ("tier: c\n  vix: embedded", None),
        ("tier: c\n  vix: embedded\n  without: vix", "tier c must be free of vix"),
        ("tier: c", "tier c needs a VIX series"),
        ("tier: a500", "data.tier: must be one of a25, .* but got 'a500'"),
    ):
        path = tmp_path / "space.yaml"
        path.write_text(text.replace("tier: a25", lines), encoding="utf-8")
        if words is None:
            assert load_study(path).cell("2M", 1).data.tier in lines
        else:
            with pytest.raises(SpecError, match=words):
                load_study(path).cell("2M", 1)


def test_a_family_is_named_and_overridden(tmp_path: Path) -> None:
    study = load_study(SPACES / "phase6a.yaml")
    other = {"family": Fixed("itransformer")}
    found = study.cell("2M", 3, Overrides(data={"source": "nasdaq"}, model=other))
    assert found.name == "phase6a_2M_h3_threshold_1pct_nasdaq_itransformer"
    assert found.resolved()["model"]["family"] == "itransformer"
    plain = study.cell("2M", 3)
    assert plain.resolved()["model"]["family"] == "patchtst"
    assert plain.name == study.cell("2M", 3).name
    from_file = cell(edited(tmp_path, {"model.family": "itransformer"}))
    assert from_file.name == "phase6a_2M_h3_threshold_1pct_itransformer"


def test_flags_win_over_the_file_and_epochs_are_cut() -> None:
    study = load_study(SPACES / "origin.yaml")
    found = study.cell(
        "2M", 1, Overrides(data={"task": "direction"}, search={"trials": 7}, max_epochs=60)
    )
    assert found.data.task == "direction"
    assert found.search.trials == 7
    assert found.train["epochs"] == Choice((50, 60))


def test_what_is_accepted_stands_in_the_file_or_a_flag(tmp_path: Path) -> None:
    assert cell(edited(tmp_path, {"data.accept": ["weekdays"]})).data.accept == ("weekdays",)


def test_values_keep_their_kind() -> None:
    found = cell(SPACES / "phase6a.yaml")
    assert found.train["learning_rate"] == Range(3e-4, 2e-3, log=True)
    assert found.model["dropout"] == Range(0.2, 0.5, log=False)
    assert found.model["head"] == Fixed("last")


def test_the_resolved_cell_names_every_field_that_trains() -> None:
    study = load_study(SPACES / "smoke.yaml")
    resolved = study.cell("50k", 1).resolved()
    trained = {field.name for field in fields(TrainConfig)} - set(PLANNED_FIELDS)
    assert set(resolved["train"]) == trained
    derived = set(DERIVED_MODEL_FIELDS)
    assert set(resolved["model"]) == {field.name for field in fields(ModelConfig)} - derived
    assert resolved["train"]["clip_norm"] == TrainConfig(learning_rate=1.0, epochs=1).clip_norm


def test_the_memory_mode_is_the_plans_unless_the_file_says_it(tmp_path: Path) -> None:
    assert "memory" not in cell(SPACES / "phase6a.yaml").train
    assert cell(edited(tmp_path, {"train.memory": "lean"})).train["memory"] == Fixed("lean")
    with pytest.raises(SpecError, match="memory"):
        cell(edited(tmp_path, {"train.memory": "small"}))


def test_evaluation_days_do_not_depend_on_the_horizon() -> None:
    study = load_study(SPACES / "phase6a.yaml")
    purges = {study.cell("2M", h).data.purge_days for h in study.horizons}
    assert purges == {5}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            {"train.lr": 0.1},
            "train: lr: unknown field, but got 'lr'. Expected one of learning_rate",
        ),
        ({"model.n_features": 3}, "model: n_features: unknown field"),
        ({"train.learning_rate": "1e-4"}, "PyYAML reads 1e-4 as text"),
        ({"train.learning_rate": {"log_uniform": ["1e-4", 1.0]}}, "PyYAML reads 1e-4 as text"),
        ({"train.learning_rate": {"log_uniform": [1.0, 0.1]}}, "needs low < high"),
        ({"model.d_model": {"uniform": [64, 128]}}, "must be a number or a choice"),
        ({"train.learning_rate": float("inf")}, "must be a finite number"),
        ({"train.learning_rate": {"log_uniform": [0.1, float("nan")]}}, "two finite numbers"),
        ({"train.weight_decay": {"choice": [0.1, [0.2]]}}, "must list finite numbers"),
        ({"model.d_model": {"choice": []}}, "choice needs a list"),
        ({"model.d_model": {"choice": [64, 64]}}, "must not repeat"),
        ({"model.head": {"choice": ["last", "first"]}}, "model.head: must be"),
        ({"model.family": "autoformer"}, "family must be one of informer, itransformer, patchtst"),
        ({"model.family": {"choice": ["patchtst", "itransformer"]}}, "must be one family"),
        ({"train.learning_rate": KeyError}, "the field learning_rate is missing"),
        ({"search.trials": KeyError}, "the field trials is missing"),
        ({"search.trials": 0}, "trials must be a whole number >= 1"),
        ({"search.across_budgets": True}, "a search across budgets stays within its file"),
        ({"search.grace_share": 0.05}, "must exceed train.warmup_share"),
        (
            {"data.task": "direction", "train.fall_weight": {"choice": [0.0, 1.0]}},
            "train.fall_weight must be 0 for the task direction",
        ),
        ({"budgets": {"2M": "many"}}, "must map plain labels"),
        ({"budgets": {"../2M": 2}}, "must map plain labels"),
        ({"budgets": {"2M": 20_000_000}}, "but got '2M': 20,000,000. Write 2M: 2000000"),
        ({"study": "../escape"}, "must be a plain name"),
        ({"horizons": [0]}, "must be a list of trading days >= 1"),
        ({"data.normalization": "revin"}, "model.revin must be true"),
        ({"data.normalization": "none"}, "cannot take, but got model.last_day_skip=True"),
        ({"data.accept": "weekdays"}, "data.accept: must be a list, but got 'weekdays'"),
        ({"data.accept": ["dates differ"]}, "must name checks whose refusal can be overridden"),
        ({"data.purge_days": 1}, "purge_days must be at least the horizon"),
        ({"train.memory": {"choice": ["full", "lean"]}}, "train.memory: must be one value"),
    ],
)
def test_a_broken_space_is_refused(tmp_path: Path, edit: dict[str, Any], message: str) -> None:
    path = edited(tmp_path, edit)
    with pytest.raises(SpecError) as caught:
        cell(path)
    assert message in str(caught.value)


def test_a_missing_or_malformed_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no such file"):
        load_study(tmp_path / "absent.yaml")
    twice = tmp_path / "twice.yaml"
    twice.write_text(
        (SPACES / "smoke.yaml").read_text().replace("epochs: 2", "epochs: 2\n  epochs: 5")
    )
    with pytest.raises(SpecError, match="'epochs' is given twice"):
        load_study(twice)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00s")
    with pytest.raises(SpecError, match="must be YAML"):
        load_study(binary)
    broken = tmp_path / "broken.yaml"
    broken.write_text("study: [")
    with pytest.raises(SpecError, match="must be YAML"):
        load_study(broken)


SMOKE = yaml.safe_load((SPACES / "smoke.yaml").read_text())


@pytest.mark.slow
@settings(deadline=None)
@given(damaged(SMOKE))
def test_whatever_a_space_holds_is_a_study_or_an_error(raw: Any) -> None:
    with TemporaryDirectory() as name:
        path = Path(name) / "space.yaml"
        path.write_text(yaml.safe_dump(raw))
        message = ""
        try:
            study = load_study(path)
            for budget in study.budgets:
                assert study.cell(budget, study.horizons[0]).resolved()
        except SpecError as error:
            message = str(error)
    assert message.isprintable()
    assert len(message) <= 2_000


def test_a_cell_has_a_name_that_can_be_a_folder(tmp_path: Path) -> None:
    study = load_study(edited(tmp_path, {"study": "a" * 100}))
    source = {"source": f"{'b' * 90}.csv"}
    with pytest.raises(SpecError, match="must name a folder of at most 200 bytes, but got 'aaa"):
        study.cell("2M", 3, Overrides(data=source))


def test_unknown_budget_and_horizon_are_refused() -> None:
    study = load_study(SPACES / "phase6a.yaml")
    with pytest.raises(SpecError, match="--budget: must be one of 750k, 2M"):
        study.cell("3M", 3)
    with pytest.raises(SpecError, match="--horizon: must be at least 1"):
        study.cell("2M", 0)


@pytest.mark.parametrize("epochs", [0, -1])
def test_no_schedule_is_cut_to_nothing(epochs: int) -> None:
    with pytest.raises(SpecError, match=rf"--max-epochs: must be >= 1, but got .* {epochs}"):
        Overrides(max_epochs=epochs)
