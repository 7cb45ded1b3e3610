"""The number of slots that a file grants."""

from pathlib import Path

import pytest

from study.tuner.slot_limit import Slots


@pytest.mark.parametrize(("text", "count"), [("0", 1), ("3", 3), ("9", 4), ("", 4), ("x", 4)])
def test_slots_stay_between_one_and_what_fits(tmp_path: Path, text: str, count: int) -> None:
    (tmp_path / "slots").write_text(text)
    assert Slots(tmp_path / "slots", most=4).count == count
    assert Slots(tmp_path / "absent", most=4).count == 4
    assert Slots(None, most=4).count == 4
