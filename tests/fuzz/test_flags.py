"""Mistyped flags: every command refuses them in one line, before it starts anything."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.__main__ import main as analysis_main
from study import plan, predict, status, sweep, train, tune
from study.command import exit_code
from study.data.__main__ import main as data_main
from study.data.sources import load_prices
from study.spec import command_flags
from tests.fuzz.damage import NASTY, fuzz
from tests.fuzz.judge import check_form, run

pytestmark = pytest.mark.slow

WORDS = st.one_of(
    st.sampled_from(
        [*NASTY, "2M", "750k", "3", "1", "5", "a25", "c", "sp500", "auc", "cpu", "auto"]
    ),
    st.text(max_size=12),
)
BARS = load_prices("sp500").frame.iloc[2000:2060].to_csv()
SMOKE = str(Path(__file__).parents[2] / "search_spaces" / "smoke.yaml")


def planned(module: object, select: Callable[..., object]) -> Callable[[list[str]], int]:
    """Return a command that only checks its flags; Ray is not started."""

    def main(argv: list[str]) -> int:
        def work() -> int:
            arguments = module.parser().parse_args(argv)  # type: ignore[attr-defined]
            select(arguments)
            command_flags.concurrency(arguments.concurrency)
            command_flags.places(arguments.storage)
            return 0

        return exit_code(work)

    return main


_OF_STUDY = (
    "--trials", "--max-epochs", "--seed", "--source", "--tier", "--task", "--label", "--model",
    "--normalization", "--metric", "--vix", "--without", "--concurrency", "--storage",
    "--early-stop-patience", "--early-stop-threshold", "--accept",
)  # fmt: skip
_OF_SELECTION = (
    "--budgets", "--horizons", "--from", "--trials", "--seed", "--task", "--phase", "--accept",
    "--searches",
)  # fmt: skip
_OF_BUILD = (
    "--source", "--horizon", "--task", "--label", "--normalization", "--context-length", "--vix",
    "--validation-share", "--test-share", "--purge-days", "--embargo-days", "--max-shift",
    "--accept",
)  # fmt: skip

COMMANDS: dict[str, tuple[Callable[[list[str]], int], list[str], tuple[str, ...]]] = {
    "tune": (
        planned(tune, command_flags.one_cell),
        ["--search", SMOKE, "--budget", "50k", "--horizon", "1"],
        (*_OF_STUDY, "--budget", "--horizon", "--device", "--param-budget", "--search-number"),
    ),
    "sweep": (planned(sweep, command_flags.selected_cells), ["--search", SMOKE], _OF_SELECTION),
    "plan": (planned(plan, command_flags.selected_cells), ["--search", SMOKE], _OF_SELECTION),
    "train": (planned(train, command_flags.selected_cells), ["--search", SMOKE], _OF_SELECTION),
    "status": (status.main, [], ("--storage",)),
    "predict": (predict.main, [], ("--cell", "--days", "--storage", "--data")),
    "data": (data_main, ["build"], _OF_BUILD),
    "check": (
        data_main,
        ["check", "prices.csv"],
        ("--symbol", "--timezone", "--accept", "--import-folder"),
    ),
    "fit": (
        analysis_main,
        ["fit", "runs.csv"],
        ("--n", "--loss", "--d", "--group", "--floor", "--seed", "--resamples"),
    ),
    "replay": (
        analysis_main,
        ["replay", "trials.csv"],
        ("--metric", "--value-se", "--positives", "--negatives", "--value", "--study"),
    ),
}


def can_be_passed(value: str) -> bool:
    """Can a shell pass this to a program as an argument?"""
    try:
        return b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


@pytest.mark.parametrize("name", COMMANDS)
@fuzz
@given(data=st.data())
def test_a_slip_is_answered_in_one_line(folder: Path, name: str, data: st.DataObject) -> None:
    (folder / "runs.csv").write_text("n,loss\n1e6,1.0\n1e7,0.8\n1e8,0.7\n")
    (folder / "prices.csv").write_text(BARS)
    (folder / "trials.csv").write_text("number,value,a\n0,0.5,1\n1,0.6,2\n")
    main, given_flags, slips = COMMANDS[name]
    argv = [str(folder / each) if each.endswith(".csv") else each for each in given_flags]
    for _ in range(data.draw(st.integers(1, 3))):
        flag, value = data.draw(st.sampled_from(slips)), data.draw(WORDS)
        if not can_be_passed(value):
            continue
        argv += [f"{flag}={value}"] if data.draw(st.booleans()) else [flag, value]
    check_form(run(main, argv), may_fail=name == "status")
