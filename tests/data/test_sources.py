from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from study.data.prices import Prices, prices_from_frame
from study.data.reading.tables import BAR_COLUMNS
from study.data.sources import import_prices, list_imported, load_prices
from study.errors import DataError


def test_the_embedded_markets_load() -> None:
    for name in ("sp500", "nasdaq"):
        prices = load_prices(name)
        assert prices.frame.shape == (5031, 5)
        assert tuple(prices.frame.columns) == BAR_COLUMNS
        assert all(dtype == np.float64 for dtype in prices.frame.dtypes)
        assert prices.frame.index.is_monotonic_increasing
        index = pd.DatetimeIndex(prices.frame.index)
        assert (index == index.normalize()).all()
    assert any("2015-05-12, 2018-01-09" in warning for warning in load_prices("nasdaq").warnings)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".txt", ".tsv", ".parquet", ".pq"])
def test_an_imported_market_is_the_same_content(sp500: Prices, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"spy{suffix}"
    if suffix not in (".parquet", ".pq"):
        separator = "\t" if suffix == ".tsv" else ","
        sp500.frame.rename(columns=str.lower).to_csv(file, sep=separator)
    else:
        sp500.frame.reset_index().to_parquet(file)
    folder = tmp_path / "imported"
    written = import_prices(file, folder=folder)
    loaded = load_prices("spy", folder)
    assert written.fingerprint == loaded.fingerprint == sp500.fingerprint
    pd.testing.assert_frame_equal(loaded.frame, sp500.frame)
    assert list_imported(folder) == ("spy",)
    assert [path.name for path in folder.iterdir()] == ["spy.parquet"]
    assert load_prices(str(file)).fingerprint == sp500.fingerprint


def test_the_fingerprint_sees_a_single_changed_cell(sp500: Prices) -> None:
    changed = sp500.frame.copy()
    changed["Volume"] += np.eye(1, len(changed), 100)[0]
    assert prices_from_frame("x", changed).fingerprint != sp500.fingerprint
    moved = sp500.frame.set_axis(sp500.frame.index + pd.Timedelta(days=1))
    assert prices_from_frame("x", moved, accept=["weekdays"]).fingerprint != sp500.fingerprint


def test_a_broken_file_is_not_imported(tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text("Date,Open,High,Low,Close,Volume\n2020-01-02,1,1,1,0,1\n")
    folder = tmp_path / "imported"
    with pytest.raises(DataError, match=r"bad.csv line 2 \(2020-01-02\) column Close: must be > 0"):
        import_prices(file, folder=folder)
    assert not folder.exists()


@pytest.mark.parametrize("name", ["..", "../x", "a/b", "", ".hidden", "a b", "x.parquet"])
def test_a_name_cannot_leave_the_import_folder(sp500: Prices, tmp_path: Path, name: str) -> None:
    file = tmp_path / "good.csv"
    sp500.frame.to_csv(file)
    with pytest.raises(DataError, match="only letters, digits"):
        import_prices(file, name, tmp_path / "imported")
    assert not (tmp_path / "imported").exists()


def test_an_embedded_market_cannot_be_shadowed(sp500: Prices, tmp_path: Path) -> None:
    file = tmp_path / "good.csv"
    sp500.frame.to_csv(file)
    with pytest.raises(DataError, match="embedded market, but got name=nasdaq"):
        import_prices(file, "nasdaq", tmp_path)


def test_a_missing_source_lists_what_exists(sp500: Prices, tmp_path: Path) -> None:
    folder = tmp_path / "imported"
    sp500.frame.to_csv(tmp_path / "near.csv")
    import_prices(tmp_path / "near.csv", "mine", folder)
    with pytest.raises(DataError) as caught:
        load_prices("yours", folder)
    assert "got source=yours" in str(caught.value)
    assert "embedded sp500, nasdaq, sp500-long, synthetic; imported mine" in str(caught.value)
    with pytest.raises(DataError, match=r"files in .* near\.csv"):
        load_prices(str(tmp_path / "far.csv"), folder)


@pytest.mark.slow
def test_what_was_accepted_of_an_import_is_not_accepted_of_its_edit(
    sp500: Prices, tmp_path: Path
) -> None:
    split = sp500.frame.copy()
    split.iloc[:2500, :4] *= 2
    split.to_csv(tmp_path / "split.csv")
    import_prices(tmp_path / "split.csv", folder=tmp_path, accept=["level-shift"])
    imported = tmp_path / "split.parquet"
    assert load_prices("split", tmp_path).accepted == ("level-shift",)
    edited = pd.read_parquet(imported)
    edited.iloc[4000:, :4] *= 2
    edited.to_parquet(tmp_path / "edited.parquet")
    with pytest.raises(DataError, match=r"edited\.parquet row .* stay on one level"):
        load_prices(str(tmp_path / "edited.parquet"))
    edited = edited.iloc[2600:3900]
    edited.to_parquet(tmp_path / "part.parquet")
    part = load_prices(str(tmp_path / "part.parquet"))
    assert part.accepted == ()
    assert part.understood.startswith("part.parquet: columns Date")
