import argparse

from study.dimension import Fixed
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


def test_a_sweep_hands_every_flag_of_a_study_on_to_its_cells() -> None:
    flags = argparse.ArgumentParser()
    add_study_flags(flags)
    assert set(vars(flags.parse_args([]))) <= set(_OF_A_CELL)
