"""The judge command: anybody's probabilities beside those of a study, from flags to words."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.answers.final_answers import baselines_section
from analysis.answers.report_parts import plain
from analysis.cell_judgement import judge_study
from analysis.judge_dates import date_warnings
from analysis.statistics.day_resampling import resampled_days
from analysis.study_records import Predictions, read_study
from study.final.answers.baseline_predictions import BASELINES
from study.results.finals.final_records import read_predictions
from tests.analysis.records import oracle_days, write_study

Judge = Callable[..., str]
SIZES = {10_000: 0.5, 20_000: 0.2}
N_DAYS = 120
EXAMPLES = Path(__file__).parent.parent.parent / "examples"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study")
    write_study(path, SIZES, n_days=N_DAYS)
    return path


@pytest.fixture(scope="module")
def answers(results: Path) -> pd.DataFrame:
    """What the study's own logistic regression answers on all days, one day ahead."""
    table = read_predictions(results / "final/demo_10000_h1_threshold_1pct/predictions.parquet")
    return table[table["model"] == "logistic"]


@pytest.fixture
def judge(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Judge:
    """Return the command as a function in this process, which returns what it prints."""

    def run(table: pd.DataFrame | str, *flags: str, expect: int = 0) -> str:
        path = tmp_path / "mine.csv"
        text = table if isinstance(table, str) else table.to_csv(index=False)
        path.write_text(text)
        where = () if "--against" in flags else ("--storage", str(results), "--horizon", "1")
        code = main(["judge", str(path), *where, *flags])
        shown = capsys.readouterr()
        assert code == expect, shown.out + shown.err
        return shown.out + shown.err

    return run


def on(answers: pd.DataFrame, part: str) -> pd.DataFrame:
    return answers.loc[answers["part"] == part, ["date", "p"]]


@pytest.mark.slow
def test_a_copy_of_a_model_is_scored_as_the_model(
    judge: Judge, answers: pd.DataFrame, results: Path
) -> None:
    found = json.loads(judge(on(answers, "test"), "--json"))
    own, copied = found["scores"]["logistic"], found["scores"]["mine"]
    assert copied == own
    assert found["notes"] == found["warnings"] == []
    assert found["n_days"] == N_DAYS
    # All baselines, of which the copy is one, and the winners.
    assert found["baselines"] == ["logistic", "constant"]
    assert {each["other"] for each in found["differences"]} == {
        *found["baselines"], *map(str, SIZES)
    }  # fmt: skip
    assert {each["claim"] for each in found["differences"]} <= {"better", "worse", "not told apart"}


@pytest.mark.slow
def test_the_words_and_the_numbers_are_those_of_the_report(judge: Judge, results: Path) -> None:
    # Both winners, as in the report: how far seeds move is drawn for a family of comparisons.
    names = [f"demo_{size}_h1_threshold_1pct" for size in SIZES]
    section = baselines_section(judge_study(read_study(results, None))[:1])
    tables = [read_predictions(results / f"final/{name}/predictions.parquet") for name in names]
    winners = pd.concat(
        table[(table["model"] == "patchtst") & (table["part"] == "test")].assign(model=f"w{size}")
        for table, size in zip(tables, SIZES, strict=True)
    )
    found = json.loads(judge(winners[["date", "p", "seed", "model"]], "--json"))
    for name, size in zip(names, SIZES, strict=True):
        assert found["scores"][f"w{size}"] == plain(section.numbers[name]["scores"]["patchtst"])
    sentences = [sentence.removeprefix("w") for sentence in found["sentences"]]
    # The last one of the report is on its days.
    assert sentences == section.sentences[:-1]
    zero = [each for each in found["differences"] if each["model"] == f"w{each['other']}"]
    assert len(zero) == len(SIZES)
    for each in zero:
        assert each["difference"]["value"] == pytest.approx(0, abs=1e-12)
        assert each["claim"] == "not told apart"


@pytest.mark.slow
def test_days_that_are_not_common_are_named(judge: Judge, answers: pd.DataFrame) -> None:
    mine = on(answers, "test").iloc[5:].assign(model="logistic")
    later = pd.DataFrame({"date": ["2031-01-01", "2031-01-02"], "p": 0.5, "model": "logistic"})
    shown = judge(pd.concat([on(answers, "validation").assign(model="logistic"), mine, later]))
    assert f"{N_DAYS + 2} of the file's {2 * N_DAYS - 3} dates are left out" in shown
    assert f"({N_DAYS} of them are its validation days): 2002-01-01, 2002-01-02, 2002-" in shown
    assert f"lacks 5 of the study's {N_DAYS} test days" in shown
    # A name that the study has too is marked.
    assert "logistic (mine.csv), 1 day ahead: not told apart from" in shown


@pytest.mark.slow
def test_a_table_of_predictions_can_stand_for_a_study(
    judge: Judge, answers: pd.DataFrame, results: Path
) -> None:
    name = "final/demo_10000_h1_threshold_1pct/predictions.parquet"
    flags = ("--against", str(results / name))
    found = json.loads(judge(on(answers, "validation"), *flags, "--horizon", "1",
                             "--part", "validation", "--json"))  # fmt: skip
    assert found["scores"]["mine"] == found["scores"]["logistic"]
    assert "patchtst" in found["scores"]
    assert "--horizon: must be given with --against" in judge(on(answers, "test"), *flags, expect=2)


@pytest.mark.slow
def test_the_example_writes_a_table_that_can_stand_for_a_study(
    judge: Judge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example = runpy.run_path(str(EXAMPLES / "baselines_of_a_market.py"))
    example["main"]("sp500", 1, tmp_path / "sp500_h1.parquet")
    said = f"{len(BASELINES)} baselines on 1424 days of sp500 written to"
    assert said in capsys.readouterr().out
    table = read_predictions(tmp_path / "sp500_h1.parquet")
    har = on(table[table["model"] == "HAR"], "test").assign(model="HAR")
    flags = ("--against", str(tmp_path / "sp500_h1.parquet"), "--horizon", "1", "--json")
    found = json.loads(judge(har, *flags))
    assert found["n_days"] == len(har) == 712
    assert found["scores"]["HAR (mine.csv)"] == found["scores"]["HAR"]


BROKEN = {
    "": "mine.csv: must have a header and rows, but got no text",
    "date,p\n": "mine.csv: must have rows, but got a header alone",
    "day,p\n2002-01-01,.5\n": "mine.csv: must have a column 'date' (the day on which",
    "date,prob\n2002-01-01,.5\n": "mine.csv: must have a column 'p' (the probability of",
    "date,p\n2002-01-01,.5\n2002-01-02,1.5\n": "line 3 column 'p': must be a probability from 0 to "
    "1, but got '1.5'",
    "date,p\n2002-01-01,-0.1\n": "line 2 column 'p': must be a probability from 0 to 1",
    "date,p\n2002-01-01,nan\n": "line 2 column 'p': must be a probability from 0 to 1, but got "
    "'nan'. Leave out the rows",
    "date,p\n2002-01-01,52 %\n": "must be a probability from 0 to 1, but got '52 %'",
    "date,p\n01/02/2002,.5\n": "line 2 column 'date': must be a day as 2013-01-31, but got "
    "'01/02/2002'",
    "date,p\n2002-02-30,.5\n": "must be a day as 2013-01-31, but got '2002-02-30'",
    "date,p\n2002-01-01 09:30:00,.5\n": "must be a day as 2013-01-31",
    "date,p\n2002-01-01,.5\n2002-01-01 00:00:00,.4\n": "line 3: date, model and seed must be given "
    "together once, but got 2002-01-01 of 'mine' again, as in line 2",
    "date,p,model,seed\n2002-01-01,.5,a,1.5\n": "column 'seed': must be a whole number or empty",
    "date,p,model\n2002-01-01,.5,a\n2002-01-01,.5,\n": "line 3 column 'model': must name the model",
    "date,p\n2031-01-01,.5\n": "must have at least 40 of the 120 test days of the study, 2002-05-01"
    " to 2002-08-28, but got none in 1 dates from 2031-01-01 to 2031-01-01",
    "date,p\n2002-01-01,.5\n": "got none in 1 dates from 2002-01-01 to 2002-01-01 (1 of them are "
    "its validation days)",
    "date,p,model\n2002-05-01,.5,a\n2002-05-02,.5,a\n2002-05-01,.5,b\n": "every model and seed must"
    " have the same days of the study, but got 2002-05-02 of 'a' and not of 'b'",
}  # fmt: skip


@pytest.mark.parametrize(("text", "said"), BROKEN.items(), ids=range(len(BROKEN)))
def test_a_file_that_breaks_a_rule_is_refused_in_one_line(
    judge: Judge, text: str, said: str
) -> None:
    shown = judge(text, expect=2)
    assert said in shown
    assert shown.count("\n") == 1


def test_the_study_and_its_horizon_must_be_there(judge: Judge, results: Path) -> None:
    text = "date,p\n2002-05-01,.5\n"
    assert "--horizon: must be one with final runs: 1, 3" in judge(text, "--horizon", "2", expect=2)
    assert "--storage: must be a results folder" in judge(
        text, "--storage", str(results / "none"), expect=2
    )
    assert "--against: must be a table of predictions" in judge(
        text, "--against", "x.parquet", "--horizon", "1", expect=2
    )
    assert "--against: must stand without --study" in judge(
        text, "--against", "x.parquet", "--study", "demo", expect=2
    )


def test_two_models_of_one_name_are_not_taken_for_one(judge: Judge, answers: pd.DataFrame) -> None:
    mine = on(answers, "test")
    # A name on two lines, which a sentence writes on one.
    both = pd.concat([mine.assign(model=name) for name in ("my net", "my\nnet")])
    assert "must give each model a name of its own, but got 'my net' again" in judge(both, expect=2)


@pytest.mark.slow
def test_answers_of_zero_and_one_are_bounded_and_said(judge: Judge, answers: pd.DataFrame) -> None:
    mine = on(answers, "test")
    shown = judge(mine.assign(p=[0, 1, *mine["p"][2:]]))
    assert "2 probabilities nearer to 0 or 1 than 0.0001 count as 0.0001 from it" in shown


@pytest.mark.parametrize(
    ("lag", "said"),
    [(-1, "a day late"), (0, None), (1, "the bar of the day after, which is the future")],
)
def test_dates_that_are_a_day_off_are_warned_of(lag: int, said: str | None) -> None:
    n = 300
    p, y = oracle_days(n + 2)
    draw = np.random.default_rng(0)
    logits = np.log(p) - np.log1p(-p) + 0.3 * draw.standard_normal(n + 2)
    seen = 1 / (1 + np.exp(-(logits + 0.1 * draw.standard_normal((2, n + 2)))))
    study = Predictions(
        dates=np.arange(n + 2).astype("datetime64[D]"), y=y.astype(float), p={"own": seen[:1]}
    )
    rows = np.arange(1, n + 1)
    days = resampled_days(n, 1)
    found = date_warnings({"mine": seen[1:, rows + lag]}, study, ["own"], rows, days)
    assert [said is not None and said in each for each in found] == ([] if said is None else [True])


@pytest.mark.parametrize(("lag", "word"), [(-1, "late"), (1, "early")])
def test_answers_that_go_with_the_label_of_another_day_are_warned_of(lag: int, word: str) -> None:
    p, y = oracle_days(302)
    study = Predictions(
        dates=np.arange(302).astype("datetime64[D]"), y=y.astype(float), p={"own": p[None]}
    )
    rows, days = np.arange(1, 301), resampled_days(300, 1)
    noise = np.random.default_rng(0).uniform(0, 0.3, 300)
    mine = (0.2 + 0.2 * y[rows + lag] + noise)[None]
    (said,) = date_warnings({"mine": mine}, study, ["own"], rows, days)
    assert f"its dates may be a day {word}" in said
    # It is no warning where the study's models do so too, or where nothing is to be seen.
    both = Predictions(dates=study.dates, y=study.y, p={"own": np.full((1, 302), 0.3)})
    both.p["own"][:, rows] = mine
    quiet = {"mine": np.full((1, 300), 0.3)}
    assert date_warnings(quiet, study, ["own"], rows, days) == []
