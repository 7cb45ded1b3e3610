"""The table of what a trial of each budget needs, in both memory modes."""

import json
from pathlib import Path
from typing import Any

import pytest

from study.plan import main

PAGE = Path(__file__).parent.parent.parent / "docs" / "memory.md"


def printed(capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    assert main(["--memory-table", *flags]) == 0
    return capsys.readouterr().out


def test_the_table_of_the_page_is_the_one_that_the_command_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = [line.rstrip() for line in PAGE.read_text(encoding="utf-8").splitlines()]
    lines = [line.rstrip() for line in printed(capsys).splitlines() if line.strip()]
    assert len(lines) > 10
    assert [line for line in lines if line not in page] == []


def test_what_fits_in_no_mode_is_told_from_what_fits_in_part(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table: dict[str, Any] = json.loads(printed(capsys, "--json", "--budgets", "200M", "2B"))
    rows = {(row["budget"], row["memory"]): row for row in table["rows"]}
    assert list(rows) == [("200M", "full"), ("200M", "lean"), ("2B", "full"), ("2B", "lean")]
    full, lean = rows["2B", "full"], rows["2B", "lean"]
    assert full["n_architectures"] == lean["n_architectures"] == 75
    assert full["machines"]["MacBook 32 GB"] == {"n_fit": 0, "micro_batch": None}
    assert lean["machines"]["MacBook 16 GB"] == {"n_fit": 75, "micro_batch": 256}
    assert lean["needed_max_bytes"] < full["needed_min_bytes"] / 3
    # A lean state and its best weights have seven bytes a parameter instead of twenty.
    assert lean["state_bytes"] / full["state_bytes"] == pytest.approx(7 / 20, rel=0.03)
