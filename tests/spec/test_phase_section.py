import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from study.errors import SpecError
from study.search.space import SearchSpace, TrialConfig, build_space
from study.spec.dimension import Fixed
from study.spec.overrides import Overrides
from study.spec.spec_file import load_study
from study.spec.specification import Cell

SPACE = Path(__file__).parents[2] / "search_spaces" / "panel_phases.yaml"


def cell(path: Path = SPACE, **overrides: Any) -> Cell:
    return load_study(path).cell("20k", 5, Overrides(**overrides))


def space_of(own: Cell) -> SearchSpace:
    return build_space(own, 25, n_assets=20, n_sectors=7)


def edited(tmp_path: Path, *, model: Any = (), train: Any = (), phase: Any = ()) -> Path:
    """Write the space with other values in two sections, and in every one of its phases."""
    raw = yaml.safe_load(SPACE.read_text())
    raw["model"] |= dict(model)
    raw["train"] |= dict(train)
    if isinstance(raw["train"]["phases"], list):
        raw["train"]["phases"] = [each | dict(phase) for each in raw["train"]["phases"]]
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def test_phases_decide_the_epochs_and_are_one_plain_text_of_the_record() -> None:
    own = cell()
    assert own.train["epochs"] == Fixed(8)
    text = own.resolved()["train"]["phases"]
    names = [each["name"] for each in json.loads(text)]
    assert names == ["baseline", "terms", "assets", "fine-tuning"]
    space = space_of(own)
    config = space.forced(space.shapes[0])
    assert config.flat()["phases"] == text
    assert TrialConfig.from_flat(json.loads(json.dumps(config.flat()))) == config
    assert space.contains(config)


def test_a_record_of_an_earlier_version_has_no_phases_and_no_pretraining() -> None:
    space = space_of(cell())
    flat = space.forced(space.shapes[0]).flat()
    later = ("phases", "pretrain_epochs", "pretrain_mask_share")
    config = TrialConfig.from_flat({n: v for n, v in flat.items() if n not in later})
    assert (config.train.phases, config.train.pretrain_epochs) == ("", 0)


def test_the_text_of_a_record_can_stand_in_a_file(tmp_path: Path) -> None:
    text = cell().resolved()["train"]["phases"]
    again = cell(edited(tmp_path, train={"phases": text}))
    assert again.train["phases"] == Fixed(text)
    assert again.train["epochs"] == Fixed(8)


def test_a_flag_ends_the_schedule_earlier_and_cannot_lengthen_it_beyond_its_phases() -> None:
    assert space_of(cell(max_epochs=3)).epochs == 3
    with pytest.raises(SpecError, match="hold all epochs of the schedule, 9, but got 8"):
        space_of(cell(max_epochs=9, may_lengthen=True))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"train": {"epochs": 9}}, "train.epochs must be the sum of those of the phases, 8"),
        ({"train": {"epochs": {"choice": [8]}}}, "must be the sum of those of the phases, 8"),
        ({"train": {"phases": 3}}, "train.phases: must be a list of phases"),
        ({"train": {"phases": {"choice": ["", "[]"]}}}, "train.phases: must be a list of phases"),
        ({"phase": {"lr": 1.0}}, "train.phases[0]: a phase has name, epochs"),
        ({"phase": {"epochs": 0}}, "epochs must be a whole number >= 1"),
        (
            {"train": {"rank_weight": {"choice": [0.0, 0.1]}}, "phase": {"rank_weight": 0.2}},
            "a list or a range for rank_weight, of which each phase has its own",
        ),
        (
            {"model": {"asset_attention": {"choice": ["none", "all"]}},
             "phase": {"trains": ["assets"]}},
            "a phase that trains assets alone needs attention across them",
        ),
        ({"model": {"patch_stride": 3}}, "patchtst with patches that do not overlap"),
        ({"model": {"family": "informer"}}, "patchtst with patches that do not overlap"),
        ({"train": {"pretrain_epochs": -1}}, "pretrain_epochs must be a whole number >= 0"),
        ({"train": {"pretrain_mask_share": 1.0}}, "pretrain_mask_share must lie in [0.05, 0.95]"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_what_some_trial_could_not_follow_is_refused(
    tmp_path: Path, edit: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        cell(edited(tmp_path, **edit))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
