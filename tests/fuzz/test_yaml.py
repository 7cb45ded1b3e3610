"""Damaged search spaces: they are loaded with values that keep every rule, or refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.search.space import build_space
from study.spec.spec_file import load_study
from tests.fuzz.damage import damaged_text, fuzz
from tests.fuzz.judge import refuses

pytestmark = pytest.mark.slow

SPACES = tuple(
    path.read_text(encoding="utf-8")
    for path in sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))
)


@fuzz
@given(st.data())
def test_a_damaged_search_space_is_refused_in_one_line_or_is_whole(
    folder: Path, data: st.DataObject
) -> None:
    path = folder / "space.yaml"
    path.write_bytes(data.draw(damaged_text(SPACES)))

    def load() -> None:
        study = load_study(path)
        label, horizon = min(study.budgets, key=study.budgets.__getitem__), study.horizons[0]
        cell = (
            study.cell_of_all([label], horizon)
            if study.across_budgets
            else study.cell(label, horizon)
        )
        space = build_space(cell, n_features=25)
        # Every value can be drawn, trained and written.
        for config in space.configs():
            assert config.model.n_layers >= 1
            assert config.train.epochs >= 1

    refuses(load)
