import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from study.data.embedded.stocks20 import REQUIREMENT
from study.data.panel.panel_sources import load_panel
from study.errors import DataError

ROOT = Path(__file__).parent.parent.parent.parent


def test_the_twenty_stocks_have_seven_sectors_and_no_gap() -> None:
    panel = load_panel("stocks20")
    assert panel.close.shape == (8_313, 20)
    assert np.isfinite(panel.close).all()
    assert (str(panel.dates[0]), str(panel.dates[-1])) == ("1990-01-02", "2022-12-28")
    assert panel.sectors is not None
    assert len(set(panel.sectors)) == 7
    assert dict(zip(panel.assets, panel.sectors, strict=True))["XOM"] == "Energy"


def test_the_warnings_name_survivors_coarse_prices_and_what_was_accepted() -> None:
    survivors, coarse, *others = load_panel("stocks20").warnings
    assert "(survivors)" in survivors
    assert "the least is 0.098 (AAPL), where a step is 1.0%" in coarse
    assert [each.split(":")[0] for each in others] == [
        "accepted (panel-splits)",
        "accepted (panel-constant-prices)",
        "stocks20",
    ]
    # No other stock is refused: AAPL's crash is no split.
    assert others[0].count(" of the close before") == 1
    assert "RRC 1990-04-10" in others[0]


def test_skfolio_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skfolio", None)  # an import of it now raises
    assert load_panel("stocks20").assets[0] == "AAPL"


def test_without_the_package_one_line_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(DataError) as caught:
        load_panel("stocks20")
    message = str(caught.value)
    assert message.startswith("stocks20: the package skfolio must be installed")
    assert f"pip install '{REQUIREMENT}'" in message
    assert "\n" not in message


def test_the_extra_asks_for_the_release_that_the_message_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"]["panel"] == [REQUIREMENT]
    assert ".[dev,history,panel,lightgbm]" in (ROOT / "Makefile").read_text()
