from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from study.data.data_config import EMBEDDED_VIX_RANGE
from study.data.reading.read_options import ReadOptions
from study.data.vix_series import import_vix, list_vix, load_vix
from study.errors import DataError


def test_the_embedded_series_has_the_range_that_is_stated() -> None:
    vix = load_vix("embedded")
    assert vix.span == EMBEDDED_VIX_RANGE
    assert len(vix.days) == 1305 - 46
    assert (np.diff(vix.days) > np.timedelta64(0, "D")).all()
    assert vix.values[0] == 13.76


def test_every_way_to_write_a_file_gives_the_same_series(tmp_path: Path) -> None:
    (tmp_path / "iso.csv").write_text("Date,Close\n2020-01-02,12.5\n2020-01-03,14\n")
    (tmp_path / "stamped.csv").write_text(
        "Date,Open,VIX,Close\n2020-01-02 06:00:00-06:00,1,12.5,9\n2020-01-03 06:00:00-06:00,1,14,9"
    )
    (tmp_path / "exchange.csv").write_text("DATE,OPEN,CLOSE\n01/02/2020,1,12.5\n01/03/2020,1,14\n")
    (tmp_path / "fred.csv").write_text(
        "observation_date,VIXCLS\n2020-01-01,\n2020-01-02,12.5\n2020-01-03,14\n2020-01-06,.\n"
    )
    (tmp_path / "exchange_old.csv").write_text(
        "a title\nDate,VIX Open,VIX High,VIX Close\n1/2/2020,1,2,12.5\n1/3/2020,1,2,14\n"
    )
    (tmp_path / "german.csv").write_text("Datum;Zuletzt\n03.01.2020;14,0\n02.01.2020;12,5\n")
    (tmp_path / "epoch.txt").write_text("time\tclose\n1577971800\t12.5\n1578058200\t14\n")
    (tmp_path / "yahoo.tsv").write_text("Date\tClose\nJan 3, 2020\t14\nJan 2, 2020\t12.5\n")
    index = pd.DatetimeIndex(["2020-01-01 06:00", "2020-01-02 06:00", "2020-01-03 06:00"], tz="UTC")
    pd.DataFrame({"Close": [np.nan, 12.5, 14.0]}, index=index).to_parquet(tmp_path / "p.parquet")
    for path in tmp_path.iterdir():
        vix = load_vix(str(path))
        np.testing.assert_array_equal(
            vix.days, np.array(["2020-01-02", "2020-01-03"], dtype="datetime64[D]")
        )
        np.testing.assert_array_equal(vix.values, [12.5, 14.0])
    assert len({load_vix(str(path)).fingerprint for path in tmp_path.iterdir()}) == 1


def test_an_import_is_found_by_its_name(tmp_path: Path) -> None:
    file, folder = tmp_path / "^VIX.csv", tmp_path / "imported"
    file.write_text("Date,Close\n2020-01-02,12.5\n2020-01-03,14\n")
    written = import_vix(file, "vix", folder)
    loaded = load_vix("vix", folder)
    assert loaded.fingerprint == written.fingerprint
    assert list_vix(folder) == ("vix",)
    assert [path.name for path in (folder / "vix").iterdir()] == ["vix.parquet"]
    with pytest.raises(DataError, match=r"There are: embedded \(2014.*\); imported vix\."):
        load_vix("other", folder)
    with pytest.raises(DataError, match="only letters, digits"):
        import_vix(file, folder=folder)
    with pytest.raises(DataError, match="must not be that of the embedded series"):
        import_vix(file, "embedded", folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "Date,Close\n2020-01-02,x\n",
            r"bad.csv line 2 \(2020-01-02\) column Close: must be a number > 0, or empty, .*'x'",
        ),
        ("Date,Close\n2020-01-02,0\n", r"line 2 \(2020-01-02\) column Close: must be a number > 0"),
        (
            "a title\nDate,Close\n\n2020-01-03,1\n2020-01-02,1\n2020-01-04,1\n2020-01-05,1\n",
            r"line 5 \(2020-01-02\) column Date: must be later than the one before",
        ),
        (
            "Date,Close\n2020-01-02,1\n2020-01-02,1\n",
            r"line 3 .* must be later than the one before",
        ),
        (
            "Date,Close\n2.1.2020,1\n",
            r"'2.1.2020', which is 2020-01-02 by DD.* or 2020-02-01 by MM",
        ),
        ("Date,Close\n2020-01-02,1\nlater,1\n2020-01-06,1\n", r"line 3 \(no date\) column Date"),
        ("Date,Close\n2020-01-02,a\n2020-01-03,b\n", r"It is so in every row: look at the file's"),
        ("Date,Open\n2020-01-02,1\n", r"needs a column vix, vixcls or Close .*columns=Date, Open"),
        ("Close\n1\n", r"missing=Date; columns=Close"),
        ("Date,Close\n2020-01-02,.\n", r"at least one value, but got rows=1, without a value=1"),
        ("Date,Close\n", r"at least one value, but got rows=0"),
        ("", r"must have a header and rows, but got no text"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        import_vix(tmp_path / "bad.csv", "bad", tmp_path / "imported")
    assert not (tmp_path / "imported").exists()


def test_a_missing_or_strange_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must be a CSV or Parquet file"):
        import_vix(tmp_path / "none.csv", "none", tmp_path)
    (tmp_path / "vix.xlsx").touch()
    with pytest.raises(DataError, match=r"vix.xlsx: must be a file \.csv"):
        import_vix(tmp_path / "vix.xlsx", "vix", tmp_path)


def test_a_vix_is_not_adjusted(tmp_path: Path) -> None:
    (tmp_path / "vix.csv").write_text("Date,Close,Adj Close\n2020-01-02,12.5,12.5\n")
    with pytest.raises(DataError, match="--adjust is for prices"):
        import_vix(tmp_path / "vix.csv", "vix", tmp_path, ReadOptions(adjust=True))
