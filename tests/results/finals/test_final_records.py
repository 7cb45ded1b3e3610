import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

from study.errors import StudyError
from study.results.finals.final_records import read_final, read_predictions, write_predictions
from study.storage.layout import RECORD_FILE
from study.text.short_forms import architecture
from tests.analysis.records import final_record
from tests.results.damage import damaged

PLAIN = json.loads(json.dumps(dataclasses.asdict(final_record("demo", 750_000, 1))))


@settings(deadline=None)
@given(damaged(PLAIN))
def test_a_record_that_is_read_can_be_used(raw: Any) -> None:
    with TemporaryDirectory() as name:
        path = Path(name) / RECORD_FILE
        path.write_text(json.dumps(raw))
        try:
            found = read_final(path.parent)
        except StudyError:
            return
    assert found is not None
    assert architecture(found.params)
    assert any(each.trial == found.winner for each in found.selection)
    assert found.search["asked"] + found.splits["test"]["effective_size"] is not None


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "model": ["patchtst", "patchtst", "logistic"],
            "seed": pd.array([1, 2, None], dtype="Int64"),
            "part": ["test", "validation", "test"],
            "date": np.array(["2000-01-03", "2000-01-04", "2000-01-05"], dtype="datetime64[D]"),
            "p": [0.1, 0.5, 0.9],
            "y": np.array([0, 1, 1], dtype=np.int8),
        }
    )


def test_predictions_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_predictions(tmp_path / "predictions.parquet", table())
    found = read_predictions(tmp_path / "predictions.parquet")
    assert found["seed"].dtype == "Int64"
    pd.testing.assert_frame_equal(found, table(), check_dtype=False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns="p"), "must have each of the columns model, .* but got"),
        (lambda t: t.assign(p=[0.1, 1.0, 0.9]), "column p: must hold .* but got .*1.0.* in row 2"),
        (lambda t: t.assign(p=["a", "b", "c"]), "column p: must hold a probability"),
        (lambda t: t.assign(p=[0.1, None, 0.9]), "column p: .* in row 2"),
        (lambda t: t.assign(y=[0, 2, 1]), "column y: must hold 0 or 1, but got .*2.* in row 2"),
        (lambda t: t.assign(part="train"), "column part: must hold validation or test"),
        (lambda t: t.assign(model=[1, 2, 3]), "column model: must hold text"),
        (lambda t: t.assign(seed=["a", "b", "c"]), "column seed: must hold a whole number"),
        (lambda t: t.assign(seed=[0.5, 1, 2]), "column seed: must hold a whole number"),
        (lambda t: t.assign(date=[1, 2, 3]), "column date: must hold days"),
    ],
)
def test_predictions_of_another_kind_are_refused_with_column_and_row(
    tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], words: str
) -> None:
    path = tmp_path / "predictions.parquet"
    change(table()).to_parquet(path)
    with pytest.raises(StudyError, match=rf"predictions\.parquet: {words}"):
        read_predictions(path)


def test_damaged_predictions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    write_predictions(path, table())
    good = path.read_bytes()
    for content in (b"", b"PAR1", good[: len(good) // 2], good[:-1]):
        path.write_bytes(content)
        with pytest.raises(StudyError, match=r"predictions\.parquet: must be a table"):
            read_predictions(path)
    table().to_parquet(path, compression=None)
    path.write_bytes(path.read_bytes().replace(b"logistic", b"logisti\xf4"))
    with pytest.raises(StudyError, match=r"predictions\.parquet: must be a table .* UTF8"):
        read_predictions(path)
    with pytest.raises(StudyError, match=r"absent\.parquet: must be a table .* No such file"):
        read_predictions(tmp_path / "absent.parquet")
