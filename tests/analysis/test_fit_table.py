"""The fit command: from its flags to what it prints."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.__main__ import main

Fit = Callable[..., str]


@pytest.fixture
def fit(capsys: pytest.CaptureFixture[str]) -> Fit:
    """Return the fit command as a function in this process, which returns what it prints."""

    def run(*flags: str, expect: int = 0) -> str:
        try:
            code = main(["fit", "--resamples", "100", *flags])
        except SystemExit as error:
            # argparse ends a process by itself.
            code = int(str(error.code))
        shown = capsys.readouterr()
        assert code == expect, shown.out + shown.err
        return shown.out + shown.err

    return run


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two families of models on three amounts of data, without noise."""
    rows = [
        {"family": family, "params": n, "days": d, "loss": 0.4 + a * n**-0.3 + 9 * d**-0.5}
        for family, a in (("deep", 10.0), ("wide", 20.0))
        for n in (1e5, 1e6, 1e7, 1e8, 1e9)
        for d in (1e3, 1e4, 1e5)
    ]
    path = tmp_path / "runs.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


@pytest.mark.slow
def test_both_axes_are_fitted_for_each_group(table: Path, fit: Fit) -> None:
    flags = ("--n", "params", "--d", "days", "--loss", "loss", "--group", "family", "--json")
    found = json.loads(fit(str(table), *flags))["groups"]
    assert set(found) == {"deep", "wide"}
    for family, a in (("deep", 10.0), ("wide", 20.0)):
        expected = {"E": 0.4, "A": a, "alpha": 0.3, "B": 9.0, "beta": 0.5, "a_opt": 0.625}
        assert found[family]["parameters"] == pytest.approx(expected, rel=1e-4)
        assert found[family]["form"] == "saturating"
        assert found[family]["forms"]["saturating"]["converged"]
        assert (found[family]["n_runs"], found[family]["n_sizes"]) == (15, 15)


@pytest.mark.slow
def test_the_same_seed_prints_the_same_bytes(table: Path, fit: Fit) -> None:
    flags = (str(table), "--n", "params", "--loss", "loss", "--json", "--seed", "3")
    assert fit(*flags) == fit(*flags)


@pytest.mark.slow
def test_a_floor_that_is_given_is_used(table: Path, fit: Fit) -> None:
    flags = ("--n", "params", "--d", "days", "--loss", "loss", "--group", "family", "--json")
    found = json.loads(fit(str(table), *flags, "--floor", "0.4"))["groups"]["deep"]
    assert found["form"] == "fixed floor"
    assert found["parameters"]["E"] == 0.4
    assert found["intervals"]["E"] is None
    assert found["forms"]["power"]["misspecified"]


@pytest.mark.slow
def test_a_reader_sees_forms_intervals_and_a_verdict(table: Path, fit: Fit) -> None:
    pd.DataFrame(
        {
            "n": np.repeat([1e5, 1e6, 1e7, 1e8, 1e9], 3),
            "loss": np.repeat([0.6, 0.5, 0.45, 0.425, 0.4125], 3)
            + np.random.default_rng(0).normal(0, 1e-4, 15),
        }
    ).to_csv(table, index=False)
    shown = fit(str(table), "--n", "n", "--loss", "loss")
    for word in ("saturating", "alpha", "95 % interval", "largest size held out", "scaling: 5"):
        assert word in shown, shown


def test_a_form_that_is_called_misspecified_has_no_exponent(tmp_path: Path, fit: Fit) -> None:
    draw = np.random.default_rng(0)
    sizes = np.repeat(np.geomspace(2e6, 2e9, 5), 3)
    path = tmp_path / "floor.csv"
    losses = 0.45 + 0.2 * (sizes / 2e6) ** -0.25 + draw.normal(0, 1e-3, 15)
    pd.DataFrame({"n": sizes, "loss": losses}).to_csv(path, index=False)
    flags = (str(path), "--n", "n", "--loss", "loss", "--floor", "none")
    found = json.loads(fit(*flags, "--json"))
    assert found["verdict"] == "not identified"
    assert found["parameters"] == {"E": 0.0, "A": None, "alpha": None}
    assert found["intervals"]["alpha"] is None
    assert found["forms"]["power"]["misspecified"]
    assert found["forms"]["power"]["grid_points"] == 301
    shown = fit(*flags)
    assert "so that no exponent is given." in shown
    assert "no point of a grid of 301 exponents is below it" in shown
    row = next(line.split() for line in shown.splitlines() if line.split()[:1] == ["alpha"])
    assert row == ["alpha", "-", "-", "-"]


@pytest.mark.slow
def test_equally_good_exponents_are_shown_as_a_range(tmp_path: Path, fit: Fit) -> None:
    # Sizes in the middle pull as hard to one side as those at the ends to the other.
    path = tmp_path / "plateau.csv"
    sizes = np.repeat(np.geomspace(2e6, 2e9, 8), 3)
    losses = 0.4 * (sizes / 2e6) ** -0.04 * np.exp(np.tile([-0.004, 0, 0.004], 8))
    losses[6:18] *= 1.02
    pd.DataFrame({"n": sizes, "loss": losses}).to_csv(path, index=False)
    shown = fit(str(path), "--n", "n", "--loss", "loss", "--floor", "none")
    found = json.loads(fit(str(path), "--n", "n", "--loss", "loss", "--floor", "none", "--json"))
    low, high = found["fit_equally_well"]["alpha"]
    assert found["parameters"]["alpha"] is None
    assert found["intervals"]["alpha"][0] <= low < high <= found["intervals"]["alpha"][1]
    assert "no alpha is the best, any from" in shown


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"loss": "los"},
            "runs.csv: must have a column 'los' (--loss), but got 'family', 'params', 'days', "
            "'loss'. Name one of them.",
        ),
        (
            {"n": "family"},
            "runs.csv line 2 column 'family': must be a positive number, but got 'deep'",
        ),
        ({"n": "loss"}, "--n, --loss: must be different columns, but got 'loss', 'loss'"),
        ({"floor": "minus"}, "--floor: must be none, free or a number"),
        ({"floor": "inf"}, "--floor: must be none, free or a number"),
        ({"floor": "nan"}, "--floor: must be none, free or a number"),
        ({"floor": "0.9"}, "--floor: must be below every loss in runs.csv, whose least is 0.4"),
        ({"seed": "-1"}, "--seed: must not be negative, but got -1"),
        ({"resamples": "99"}, "--resamples: must be from 100 to 100,000, but got 99"),
        ({"resamples": "9" * 18}, "--resamples: must be from 100 to 100,000, but got 9999"),
        ({"resamples": "9" * 40}, "must be a whole number of at most 64 bits"),
        ({"file": "absent.csv"}, "absent.csv: must be a file that can be read, but got"),
    ],
)
def test_what_is_wrong_is_one_line(
    table: Path, fit: Fit, change: dict[str, str], message: str
) -> None:
    given = {"file": str(table), "n": "params", "loss": "loss"} | change
    flags = [text for name, value in given.items() for text in (f"--{name}", value)]
    shown = fit(*flags[1:], expect=2)
    assert message in shown
    assert shown.count("\n") == 1


def test_a_loss_of_zero_is_refused(table: Path, fit: Fit) -> None:
    rows = pd.read_csv(table)
    rows.loc[3, "loss"] = 0.0
    rows.to_csv(table, index=False)
    shown = fit(str(table), "--n", "params", "--loss", "loss", expect=2)
    assert "runs.csv line 5 column 'loss': must be a positive number, but got '0.0'" in shown
