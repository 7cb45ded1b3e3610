from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import study.tune
from study.data.panel.panel_dataset import PanelDataset
from study.errors import StudyError
from study.planning.cell_series import build_data, sample_shape
from study.search.space import build_space
from study.spec.dimension import Fixed
from study.spec.overrides import Overrides
from study.spec.spec_file import load_study
from tests.data.panel.planted import planted_panel

SPACE = Path(__file__).parents[2] / "search_spaces" / "panel.yaml"


def test_attention_within_sectors_is_refused_where_no_sectors_are_known() -> None:
    own = load_study(SPACE).cell("20k", 5, Overrides())
    own = replace(own, model={**own.model, "asset_attention": Fixed("sector")})
    unknown = planted_panel(n_days=60, n_assets=20)
    with pytest.raises(StudyError, match="asset_attention sector needs the number of sectors"):
        build_space(own, **sample_shape(unknown))
    known = replace(unknown, sector_names=("a", "b"), sectors=np.arange(20) % 2)
    assert build_space(own, **sample_shape(known)).sample_shape.n_sectors == 2


@pytest.mark.parametrize("flags", [[], ["--dry-run"]])
def test_a_plan_and_a_dry_run_keep_no_inputs_of_a_panel(tmp_path: Path, flags: list[str]) -> None:
    asked = study.tune.parser().parse_args(["--budget", "20k", "--horizon", "5", *flags])
    may_write = study.tune._planning(asked, tmp_path, None).may_write
    assert may_write == (not flags)
    own = load_study(SPACE).cell("20k", 1, Overrides(data={"source": "synthetic-panel"}))
    build_data(own.data, tmp_path, may_write=may_write)
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".arrow"] * may_write
    # A plan maps what a search has kept.
    data = build_data(own.data, tmp_path, may_write=False)
    assert isinstance(data, PanelDataset)
    assert (data.inputs.file is not None) == may_write
