"""The replay command: from its flags to what it prints."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.__main__ import main
from study.results.convergence import ConvergenceRule, completed_trials
from study.results.records import BEYOND, NEIGHBOUR, Metric
from study.results.scores import BestEpoch
from study.results.store import CellIdentity, CellStore, write_cell
from study.statistics.auc_error import auc_standard_error
from tests.results.conftest import PARAMS, record
from tests.results.reports import panel_best
from tests.results.scheduling.planted import write_search

Replay = Callable[..., str]

AUC = ("--metric", "auc")
COUNTS = ("--positives", "76", "--negatives", "346")


@pytest.fixture
def replay(capsys: pytest.CaptureFixture[str]) -> Replay:
    """Return the replay command as a function in this process, which returns what it prints."""

    def run(*flags: object, expect: int = 0) -> str:
        try:
            code = main(["replay", *map(str, flags)])
        except SystemExit as error:
            # argparse ends a process by itself.
            code = int(str(error.code))
        shown = capsys.readouterr()
        assert code == expect, shown.out + shown.err
        return shown.out + shown.err

    return run


def write_csv(path: Path, values: Sequence[float], **columns: Sequence[object]) -> Path:
    """Write a table in which every trial has a configuration of its own unless x is given."""
    n = len(values)
    table = {"number": range(n), "value": values, "x": range(n), **columns}
    pd.DataFrame(table).to_csv(path, index=False)
    return path


def origin_like(n: int = 50, seed: int = 1) -> list[float]:
    """Return areas with a standard deviation of .01, skewed to the left as those of a search."""
    return list(0.72 - np.random.default_rng(seed).gamma(2, 0.007, n))


@pytest.mark.parametrize("seed", range(12))
def test_the_rule_of_document_002_stops_at_its_least_trial(
    tmp_path: Path, replay: Replay, seed: int
) -> None:
    values = origin_like(seed=seed)
    path = write_csv(tmp_path / "trials.csv", values)
    found = json.loads(replay(path, *AUC, *COUNTS, "--json"))
    stop = found["rules"][0]["stop"]
    assert (stop["number"], stop["place"], stop["saved"]) == (19, 20, 30)
    assert stop["best"] == max(values[:20])
    assert stop["lost"] == pytest.approx(max(values) - max(values[:20]))
    se = auc_standard_error(max(values), 76, 346)
    assert found["best"]["value_se"] == se
    assert stop["lost_in_se"] == pytest.approx(stop["lost"] / se)


def test_both_rules_stop_where_it_was_planted(tmp_path: Path, replay: Replay) -> None:
    falling = [0.9 - 0.01 * i for i in range(22)]
    near = [0.60, 0.601, 0.602, 0.603, 0.604, 0.605]
    nearer = [0.5999, 0.6001, 0.6002, 0.6003, 0.59]
    path = write_csv(tmp_path / "trials.csv", [*falling, *near, *nearer])
    flags = ("--metric", "log_loss", "--value-se", "0.02")
    absolute, in_errors = json.loads(replay(path, *flags, "--json"))["rules"]
    # The fifth near one; then the first with which five lie within .1 x .02 = .002 (of .0011,
    # the one before of .0021).
    assert absolute["stop"]["number"] == 26
    assert absolute["stop"]["lost"] == pytest.approx(0.01)
    assert absolute["stop"]["lost_in_se"] == pytest.approx(0.5)
    assert in_errors["stop"]["number"] == 30
    assert in_errors["stop"]["lost"] == pytest.approx(0.0099)
    strict = json.loads(replay(path, *flags, "--json", "--se-share", "0.01"))["rules"][1]
    assert (strict["can_fire"], strict["stop"]) == (True, None)
    shown = replay(path, *flags)
    for word in ("within 0.02", "within 0.1 SE", "26", "30", "0.50"):
        assert word in shown, shown


def test_repeats_do_not_count_and_are_told(tmp_path: Path, replay: Replay) -> None:
    values = [0.6 + 0.005 * i for i in range(20)] + [0.72] * 5 + [0.75]
    x = [*range(20), *[20] * 5, 21]
    path = write_csv(tmp_path / "trials.csv", values, x=x)
    flags = (*AUC, *COUNTS, "--early-stop-threshold", "0.004", "--json")
    found = json.loads(replay(path, *flags))
    assert (found["n_complete"], found["n_distinct"], found["n_repeats"]) == (26, 22, 4)
    for rule in found["rules"]:
        assert rule["stop"] is None
        assert rule["stop_if_repeats_counted"]["number"] == 24
        assert rule["stop_if_repeats_counted"]["lost"] == pytest.approx(0.03)


def test_how_a_configuration_is_written_does_not_matter(tmp_path: Path, replay: Replay) -> None:
    spread = [
        {"number": i, "value": 0.6 + 0.005 * i, "params": {"x": i, "lr": 0.001}} for i in range(20)
    ]
    best = [
        {"number": 20, "value": 0.72, "params": {"x": 20, "lr": 0.001}},
        {"number": 21, "value": 0.72, "params": {"lr": 0.001, "x": 20.0}},
        {"number": 22, "value": 0.72, "params": {"lr": 1e-3, "x": 20}, "state": "COMPLETE"},
        {"number": 23, "value": 0.72, "params": {"lr": 1e-3, "x": 20, "y": None}},
        # As the study that this one replaces wrote what a forced trial trained.
        {
            "number": 24, "value": 0.72, "params": {}, "state": "TrialState.COMPLETE",
            "user_attrs": {"forced_extreme": True, "forced_x": 20, "forced_lr": 0.001},
        },
    ]  # fmt: skip
    path = tmp_path / "all_trials.json"
    path.write_text(json.dumps({"trials": [*best, *spread]}), encoding="utf-8")
    found = json.loads(replay(path, *AUC, "--json", "--early-stop-threshold", "0.004"))
    assert found["n_repeats"] == 4
    assert found["parameters"] == ["x", "lr", "y"]
    assert found["rules"][0]["stop"] is None
    assert found["rules"][0]["stop_if_repeats_counted"]["number"] == 24


def test_only_our_own_trials_can_be_put_near_a_best_one(tmp_path: Path, replay: Replay) -> None:
    ours = {"trial_id": "a", "source": BEYOND}
    rows = [
        {"number": 0, "value": 0.6, "params": {"x": 0}},
        # As exported to Optuna.
        {"number": 1, "value": 0.6, "params": {"x": 1}, "user_attrs": ours},
        {"number": 2, "value": 0.6, "params": {"x": 2}, "source": BEYOND},
        {"number": 3, "value": 0.6, "params": {"x": 3}, **ours},
        {"number": 4, "value": 0.6, "params": {"x": 4}, **ours, "source": f"{NEIGHBOUR}a/3"},
    ]
    path = tmp_path / "all_trials.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    found = json.loads(replay(path, "--metric", "log_loss", "--json"))
    assert found["n_trials"] == 2
    assert found["notes"] == [
        "not counted: 2 trials beyond an edge of the file",
        "not counted: 1 trial with the settings of other cells' best ones",
    ]


def test_only_complete_trials_count_and_all_that_were_run_are_saved(
    tmp_path: Path, replay: Replay
) -> None:
    values = [0.5, float("nan"), float("-inf")] + [0.5 + 0.0001 * i for i in range(27)]
    states = ["PRUNED", "FAIL", "TrialState.COMPLETE", *["COMPLETE"] * 27]
    path = write_csv(tmp_path / "trials.csv", values, state=states)
    found = json.loads(replay(path, "--metric", "log_loss", "--json"))
    stop = found["rules"][0]["stop"]
    assert (found["n_trials"], found["n_complete"]) == (30, 27)
    assert (stop["number"], stop["place"], stop["saved"]) == (22, 23, 7)
    # Without a state, a finite value decides.
    path = write_csv(tmp_path / "trials.csv", values)
    assert json.loads(replay(path, "--metric", "log_loss", "--json"))["n_complete"] == 28


def test_without_a_standard_error_that_rule_cannot_stop(tmp_path: Path, replay: Replay) -> None:
    path = write_csv(tmp_path / "trials.csv", [0.5] * 30)
    found = json.loads(replay(path, "--metric", "log_loss", "--json"))
    assert (found["rules"][1]["can_fire"], found["rules"][1]["stop"]) == (False, None)
    shown = replay(path, "--metric", "log_loss")
    assert "cannot: no SE" in shown
    assert "30 of 30 complete trials have no standard error" in shown
    stored = write_csv(tmp_path / "trials.csv", [0.5] * 30, value_se=[0.01] * 30)
    found = json.loads(replay(stored, "--metric", "log_loss", "--json"))
    assert found["rules"][1]["stop"]["number"] == 19
    assert found["parameters"] == ["x"]


def test_only_the_marked_columns_of_optunas_table_are_parameters(
    tmp_path: Path, replay: Replay
) -> None:
    path = write_csv(tmp_path / "trials.csv", [0.5] * 30, params_lr=[0.1] * 30)
    found = json.loads(replay(path, "--metric", "log_loss", "--json"))
    assert (found["parameters"], found["n_repeats"]) == (["lr"], 29)


@pytest.mark.parametrize("metric", ["log_loss", "auc"])
def test_our_own_records_are_replayed_as_the_search_sees_them(
    metric: Metric, tmp_path: Path, replay: Replay
) -> None:
    draw = np.random.default_rng(3)
    records = []
    for n in range(40):
        worse = float(draw.exponential(0.01))
        value, auc = 0.6 + worse, 0.7 - worse
        params = {**PARAMS, "dropout": round(float(draw.uniform(0, 0.5)), 1), "d_model": 8 * n}
        records.append(
            record(
                n, value=value, auc=auc, objective=value if metric == "log_loss" else 1 - auc,
                objective_se=0.02, ended=1000.0 + 7 * n % 40, params=params,
                reason="asha" if n % 5 == 4 else "completed",
            )
        )  # fmt: skip
    identity = CellIdentity(
        name="cell", study="demo", budget="2M", phase=None, metric=metric, horizon=1,
        task="threshold_1pct",
        data_sha256="abc", versions={},
    )  # fmt: skip
    folder = tmp_path / "cell"
    folder.mkdir()
    write_cell(folder, {"metric": metric})
    CellStore(folder, identity).write_trials(records)
    found = json.loads(replay(folder, "--json"))
    assert found["ordered_by"] == "end"
    ends = sorted(records, key=lambda r: (r.ended, r.number))
    complete = [r for r in ends if r.state == "COMPLETE"]
    rules = (ConvergenceRule(threshold=0.02), ConvergenceRule(se_share=0.1))
    for rule, told in zip(rules, found["rules"], strict=True):
        index = rule.first_stop(completed_trials(records))
        assert index is not None
        assert told["stop"]["number"] == complete[index].number
        assert told["stop"]["place"] == ends.index(complete[index]) + 1
    assert found["metric"] == metric
    best = max(r.best.auc or 0.0 for r in complete if isinstance(r.best, BestEpoch))
    by_file = json.loads(replay(folder / "all_trials.json", *AUC, *COUNTS, "--json"))
    assert by_file["best"]["value"] == best
    # What is given is taken in place of what is known.
    assert by_file["best"]["value_se"] == pytest.approx(auc_standard_error(best, 76, 346))
    # Trials beyond an edge, all alike and better than any, change nothing but the notes.
    beyond = [
        record(
            40 + n, value=0.5, auc=0.8, objective=0.5 if metric == "log_loss" else 0.2,
            objective_se=0.02, ended=1000.5, params={**PARAMS, "d_model": 1000 + n}, source=BEYOND,
        )
        for n in range(20)
    ]  # fmt: skip
    CellStore(folder, identity).write_trials([*records, *beyond])
    again = json.loads(replay(folder, "--json"))
    assert again.pop("notes") == ["not counted: 20 trials beyond an edge of the file"]
    assert found.pop("notes") == []
    assert again == found


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "--metric: must say what the values in"),
        (("--metric", "loss"), "invalid choice: 'loss'"),
        (
            (*AUC, "--positives", "76"),
            "must both be given, above 0 and at most 1,000,000,000, but got 76 and None",
        ),
        (("--metric", "log_loss", *COUNTS), "must come with --metric auc"),
        ((*AUC, "--value-se", "0"), "--value-se: must be a number above 0, but got 0.0"),
        ((*AUC, "--early-stop-patience", "3"), "must be at least 5"),
        ((*AUC, "--early-stop-threshold", "-1"), "threshold must be a number above 0"),
        ((*AUC, "--se-share", "nan"), "must be a finite number, but got 'nan'"),
    ],
)
def test_flags_that_are_wrong_are_one_line(
    tmp_path: Path, replay: Replay, flags: tuple[str, ...], message: str
) -> None:
    shown = replay(write_csv(tmp_path / "trials.csv", origin_like()), *flags, expect=2)
    assert message in shown
    assert "Traceback" not in shown


GOOD = {"number": 0, "value": 0.7, "params": {"x": 1}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "must be the folder of a cell, or trials in JSON"),
        ({"runs": []}, "must be a list of trials, or hold one under 'trials', but got keys 'runs'"),
        ([1], "must be a list of trials"),
        ([], "must have trials, but got none"),
        ([GOOD, GOOD], "must have each trial once, but got number 0 again"),
        ([{**GOOD, "value": "high"}], "trial 0: value must be a number, but got value='high'"),
        ([{**GOOD, "number": 1.5}], "number must be a whole number, but got number=1.5"),
        ([{**GOOD, "number": None}], "number must be a whole number"),
        ([{**GOOD, "value_se": -1}], "value_se must be a number that is not negative"),
        ([{**GOOD, "params": {}}], "trial 0: must have parameters, but got none"),
        ([{**GOOD, "params": [1]}], "params must be an object, but got params=[1]"),
        ([{**GOOD, "value": float("-inf")}], "must hold a complete trial with a finite value"),
        ([{**GOOD, "value": 1.2}], "an auc must lie in [0, 1], but got value=1.2"),
    ],
)
def test_a_table_that_is_wrong_is_one_line(
    tmp_path: Path, replay: Replay, content: Any, message: str
) -> None:
    path = tmp_path / "all_trials.json"
    path.write_text(content if content == "{" else json.dumps(content), encoding="utf-8")
    shown = replay(path, *AUC, *COUNTS, expect=2)
    assert message in shown
    assert "Traceback" not in shown


def test_a_csv_or_a_folder_that_is_wrong_is_one_line(tmp_path: Path, replay: Replay) -> None:
    path = tmp_path / "trials.csv"
    pd.DataFrame({"trial": [1], "auc": [0.5]}).to_csv(path, index=False)
    assert "must have a column 'number' (the place of a trial), but got 'trial', 'auc'" in replay(
        path, *AUC, expect=2
    )
    assert "absent.csv: must be the folder of a cell or a file" in replay(
        tmp_path / "absent.csv", *AUC, expect=2
    )
    assert "all_trials.json: must be the folder of a cell" in replay(tmp_path, *AUC, expect=2)


def test_the_help_has_examples(replay: Replay) -> None:
    shown = replay("--help")
    assert "python -m analysis replay ray_results/" in shown
    assert "--early-stop-threshold" in shown


def test_the_search_of_a_panel_is_replayed_by_its_score_and_not_by_what_it_minimised(
    tmp_path: Path, replay: Replay
) -> None:
    records = [
        dataclasses.replace(
            record(number, objective=1 - rank_ic, objective_se=0.02),
            best=panel_best(rank_ic, rank_ic_se=0.03),
        )
        for number, rank_ic in enumerate((-0.02, 0.05, 0.01))
    ]
    identity = CellIdentity(
        name="cell", study="demo", budget="2M", phase=None, metric="rank_ic", horizon=1,
        task="ranking", data_sha256="abc", versions={},
    )  # fmt: skip
    folder = tmp_path / "cell"
    folder.mkdir()
    write_cell(folder, {"metric": "rank_ic"})
    CellStore(folder, identity).write_trials(records)
    found = json.loads(replay(folder, "--json"))
    assert found["metric"] == "rank_ic"
    best = found["best"]
    assert (best["number"], best["value"], best["value_se"]) == (1, 0.05, 0.03)
    by_file = json.loads(replay(folder / "all_trials.json", "--json"))
    assert (by_file["metric"], by_file["best"]["value"]) == ("loss", 0.95)
    assert "best rank_ic at the end: 0.05, trial 1" in replay(folder)
    wrong = write_csv(tmp_path / "trials.csv", [0.02, 1.5])
    assert "a rank_ic must lie in [-1, 1]" in replay(wrong, "--metric", "rank_ic", expect=2)


def test_schedulers_are_played_on_the_curves_of_a_cell(tmp_path: Path, replay: Replay) -> None:
    folder = tmp_path / "cell"
    write_search(folder, [[0.5, 0.4, 0.3, 0.2], [0.6, 0.5, 0.5, 0.5], [0.4, 0.1, 0.3, 0.3], [0.7]])
    rules = ("fifo", "asha:grace=0.25,eta=2")
    shown = replay(folder, "--scheduler", *rules, "--slots", 2)
    assert "its 13 epochs take" in shown
    assert "1 of the trials have not trained their whole schedules" in shown
    assert "asha:eta=2   10 (77%)" in shown
    told = json.loads(replay(folder, "--scheduler", *rules, "--json"))["schedulers"]
    fifo, asha = told["rules"]
    assert (fifo["rule"], fifo["n_epochs"], fifo["seconds"]) == ("fifo", 13, told["seconds"])
    assert (asha["winner"], asha["lost"], asha["lost_whole"]) == (2, 0.0, 0.0)
    assert "schedulers" not in json.loads(replay(folder, "--json"))
    for flags, message in (
        ((folder / "all_trials.json", "--scheduler", "fifo"), "needs the folder of a cell"),
        ((folder, "--scheduler", "asha:rungs=2"), "with a key of grace, eta"),
        ((folder, "--scheduler", "fifo", "--slots", "0"), "--slots: must be >= 1, but got 0"),
    ):
        assert message in replay(*flags, *AUC[: 2 * (flags[0] != folder)], expect=2)
