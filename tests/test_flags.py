import argparse

import pytest

from study.dimension import Fixed
from study.errors import SpecError
from study.flags import add_selection_flags, add_study_flags, selected_cells
from study.sweep import _OF_A_CELL


def parsed(*words: str) -> argparse.Namespace:
    flags = argparse.ArgumentParser()
    add_study_flags(flags)
    add_selection_flags(flags)
    return flags.parse_args(words)


def test_a_family_reaches_every_cell() -> None:
    cells = selected_cells(parsed("--model", "itransformer", "--budgets", "2M"))
    assert [cell.model["family"] for cell in cells] == [Fixed("itransformer")] * 3
    plain = selected_cells(parsed("--budgets", "2M"))
    assert [cell.model["family"] for cell in plain] == [Fixed("patchtst")] * 3


def test_what_is_accepted_is_a_part_of_the_cell() -> None:
    words = ("--budgets", "2M", "--horizons", "1", "--accept", "weekdays", "spacing", "weekdays")
    (cell,) = selected_cells(parsed(*words))
    assert cell.data.accept == ("spacing", "weekdays")
    assert cell.resolved()["data"]["accept"] == ("spacing", "weekdays")
    with pytest.raises(SpecError, match=r"accept: must name checks .* but got 'dates differ'"):
        selected_cells(parsed("--accept", "dates differ"))


def test_a_sweep_hands_every_flag_of_a_study_on_to_its_cells() -> None:
    flags = argparse.ArgumentParser()
    add_study_flags(flags)
    assert set(vars(flags.parse_args([]))) <= set(_OF_A_CELL)
