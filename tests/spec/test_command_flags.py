import argparse
from pathlib import Path

import pytest

from study import tune
from study.errors import SpecError
from study.output import open_console
from study.spec.command_flags import (
    add_cluster_flags,
    add_selection_flags,
    add_study_flags,
    one_cell,
    selected_cells,
    selected_phases,
)
from study.spec.dimension import Fixed
from study.spec.spec_file import load_study
from study.sweep import _OF_A_CELL, _given, _independent
from study.sweeping.sweep_log import SweepLog

SPACES = Path(__file__).parents[2] / "search_spaces"


def parsed(*words: str) -> argparse.Namespace:
    flags = argparse.ArgumentParser()
    add_study_flags(flags)
    add_selection_flags(flags)
    add_cluster_flags(flags)
    return flags.parse_args(words)


def test_a_family_reaches_every_cell() -> None:
    cells = selected_cells(parsed("--model", "itransformer", "--budgets", "2M"))
    assert [cell.model["family"] for cell in cells] == [Fixed("itransformer")] * 3
    plain = selected_cells(parsed("--budgets", "2M"))
    assert [cell.model["family"] for cell in plain] == [Fixed("patchtst")] * 3


def test_the_least_gain_of_a_panel_is_in_the_unit_of_its_scores_and_not_in_nats() -> None:
    for space in ("panel", "panel_phases"):
        for cell in selected_cells(parsed("--search", space)):
            least = cell.train.get("min_delta")
            # All that ridge gains in squared error on stocks20 at 5 days is .0021.
            assert least == Fixed(0.0005) or cell.train["patience"] == Fixed(None)


def test_an_unknown_family_is_refused_by_its_name_whatever_it_holds() -> None:
    # A shell passes any bytes; those that are not UTF-8 arrive as lone surrogates.
    for name in ("perceiver", "\udc80", "a" * 5000):
        with pytest.raises(SpecError, match="family must be one of informer, itransformer"):
            selected_cells(parsed("--model", name))


def test_what_is_accepted_is_a_part_of_the_cell() -> None:
    words = ("--budgets", "2M", "--horizons", "1", "--accept", "weekdays", "spacing", "weekdays")
    (cell,) = selected_cells(parsed(*words))
    assert cell.data.accept == ("spacing", "weekdays")
    assert cell.resolved()["data"]["accept"] == ["spacing", "weekdays"]
    with pytest.raises(SpecError, match=r"accept: must name checks .* but got 'dates differ'"):
        selected_cells(parsed("--accept", "dates differ"))


def test_a_sweep_hands_every_flag_of_a_study_on_to_its_cells() -> None:
    flags = argparse.ArgumentParser()
    add_study_flags(flags)
    assert set(vars(flags.parse_args([]))) <= set(_OF_A_CELL)


@pytest.mark.parametrize(
    ("space", "words", "goes_beyond"),
    [
        ("small", [], True),
        ("small", ["--no-beyond-edges"], False),
        ("smoke", [], False),
        ("smoke", ["--beyond-edges"], True),
    ],
)
def test_going_beyond_edges_is_switched_by_file_and_flag_in_a_sweep_too(
    space: str, words: list[str], goes_beyond: bool
) -> None:
    arguments = parsed("--search", space, *words)
    assert _given(arguments, ["beyond_edges"]) == words
    (cell, *_) = selected_cells(arguments)
    assert cell.search.beyond_edges == goes_beyond
    assert cell.is_beyond_asked == bool(words)
    # A search that stays within its file is described as it was before there was such a setting.
    assert ("beyond_edges" in cell.resolved()["search"]) == goes_beyond


def test_several_searches_of_a_cell_are_begun_without_other_cells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = tmp_path / "known.yaml"
    text = (SPACES / "smoke.yaml").read_text()
    space.write_text(text.replace("search:\n", "search:\n  neighbours: true\n"))
    study, log = load_study(space), SweepLog(open_console(), tmp_path)
    once = parsed("--search", str(space))
    assert _given(_independent(once, study, log), ["neighbours"]) == []
    assert all(cell.search.neighbours for cell in selected_cells(once))
    thrice = parsed("--search", str(space), "--searches", "3")
    assert _given(_independent(thrice, study, log), ["neighbours"]) == ["--no-neighbours"]
    assert "neighbours: off, for several searches" in capsys.readouterr().out
    words = ("--budget", "50k", "--horizon", "1", "--search-number", "2", "--neighbours")
    with pytest.raises(SpecError, match="but got --neighbours --search-number 2"):
        one_cell(tune.parser().parse_args(words))


def test_phases_are_chosen_where_there_are_some() -> None:
    def phases(*words: str) -> tuple[int | None, ...]:
        arguments = parsed(*words)
        return selected_phases(arguments, load_study(arguments.search))

    two = ("--search", str(SPACES / "two_phase.yaml"))
    assert phases("--search", str(SPACES / "small.yaml")) == (None,)
    assert phases(*two) == (1, 2)
    assert phases(*two, "--phase", "2") == (2,)
    with pytest.raises(SpecError, match="has one phase, but got --phase 2"):
        phases("--search", str(SPACES / "small.yaml"), "--phase", "2")
    # Phase 2 follows from files; phase 1 needs none.
    assert phases(*two, "--storage", "s3://bucket/x", "--phase", "1") == (1,)
    with pytest.raises(SpecError, match="phase 2 needs a results folder"):
        phases(*two, "--storage", "s3://bucket/x")
