"""The table of a panel's predictions, whole and damaged."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from study.errors import StudyError
from study.results.finals.panel_predictions import (
    PANEL_COLUMNS,
    panel_rows,
    read_panel_predictions,
    write_panel_predictions,
)

ASSETS = ("AAA", "BBB", "CCC")


def tables(n_days: int = 4) -> list[pd.DataFrame]:
    """Return the rows of a run and of a baseline; the second asset is missing on the first day."""
    days = np.datetime64("2020-01-01") + np.arange(n_days)
    y = np.arange(3 * n_days, dtype=np.float32).reshape(n_days, 3) / 100
    labelled = np.ones(y.shape, bool)
    labelled[0, 1] = False
    return [
        panel_rows("patchtst", 2**53 + 1, "validation", days, ASSETS, y + 1, y, labelled),
        panel_rows("zero", None, "test", days, ASSETS, 0 * y, y, labelled),
    ]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "predictions.parquet"
    write_panel_predictions(path, tables())
    found = read_panel_predictions(path)
    assert tuple(found.columns) == PANEL_COLUMNS
    assert len(found) == 2 * 11
    assert list(found["asset"][:3]) == ["AAA", "CCC", "AAA"]
    assert found["date"].iloc[2] == pd.Timestamp("2020-01-02")
    # A seed that a float cannot hold.
    assert found["seed"].iloc[0] == 2**53 + 1
    assert found["seed"].isna().sum() == 11
    assert set(found["model"]) == {"patchtst", "zero"}
    assert list(found.loc[found["model"] == "patchtst", "score"][:2]) == [
        np.float32(1), np.float32(1.02),
    ]  # fmt: skip
    assert found["y"].dtype == np.float32
    assert isinstance(found["asset"].dtype, pd.CategoricalDtype)
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("score", [0.1, float("nan")], "column score: must hold a finite number, but got 'nan'"),
        ("score", ["a", "b"], "column score: must hold a finite number, but got 'a' in row 1"),
        ("y", [0.1, None], "column y: must hold a finite number, but got 'None' in row 2"),
        ("y", [0.1, float("inf")], "column y: must hold a finite number, but got 'inf' in row 2"),
        ("seed", [0.5, 1.5], "column seed: must hold a whole number or nothing"),
        ("part", ["test", "train"], "part: must hold validation or test, but got 'train' in row 2"),
        ("part", [1, 2], "column part: must hold validation or test, but got '1' in row 1"),
        ("model", ["a", None], "column model: must hold text, but got 'None' in row 2"),
        ("asset", [1, 2], "column asset: must hold text, but got '1' in row 1"),
        ("date", ["2020-01-01", "b"], "column date: must hold days, but got '2020-01-01' in row 1"),
    ],
)
def test_a_column_of_another_kind_is_refused(
    tmp_path: Path, column: str, values: list[Any], message: str
) -> None:
    good = {
        "model": ["a", "a"], "seed": [1, None], "part": ["test", "test"],
        "date": np.array(["2020-01-01", "2020-01-02"], "datetime64[s]"),
        "asset": ["A", "B"], "score": [0.1, 0.2], "y": [0.0, 0.1],
    }  # fmt: skip
    path = tmp_path / "predictions.parquet"
    pq.write_table(pa.table(good), path)
    assert len(read_panel_predictions(path)) == 2
    pq.write_table(pa.table({**good, column: values}), path)
    with pytest.raises(StudyError, match=r"predictions\.parquet") as raised:
        read_panel_predictions(path)
    assert message in str(raised.value)


def test_a_missing_column_and_a_torn_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    pq.write_table(pa.table({"model": ["a"], "score": [0.1]}), path)
    with pytest.raises(StudyError, match="must have each of the columns model, seed, part"):
        read_panel_predictions(path)
    write_panel_predictions(path, tables())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(StudyError, match="must be a table of predictions"):
        read_panel_predictions(path)
    path.unlink()
    with pytest.raises(StudyError, match="No such file"):
        read_panel_predictions(path)
