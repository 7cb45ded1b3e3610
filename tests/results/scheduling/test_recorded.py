"""The curves of a search as its writers leave them, and what rules would have trained of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from study.errors import StudyError
from study.results.finals.final_records import write_final
from study.results.records import BEYOND
from study.results.scheduling.curves import read_curves
from study.results.scheduling.recorded import play_schedulers
from study.results.scheduling.rules import Rule
from study.storage.layout import FINAL_FOLDER, TRIALS_FILE
from tests.analysis.records import final_record
from tests.results.scheduling.planted import write_search

LOSSES = [[0.5, 0.4, 0.3, 0.2], [0.6, 0.5, 0.5, 0.5], [0.4, 0.1, 0.3, 0.3], [0.7, 0.6]]


def test_a_recorded_search_is_played_with_its_own_losses_and_times(tmp_path: Path) -> None:
    write_search(tmp_path / "cell", LOSSES)
    curves = read_curves(tmp_path / "cell")
    assert [curve.number for curve in curves] == [0, 1, 2, 3]
    assert curves[2].losses == (0.4, 0.1, 0.3, 0.3)
    assert curves[2].scores == (0.4, 0.1, 0.1, 0.1)
    assert curves[2].epoch_seconds == pytest.approx((1.3, 1.25, 1.25, 1.25))
    # What the first two waited for their workers is not theirs.
    assert [curve.begin_seconds for curve in curves] == pytest.approx([0.5] * 4)
    assert curves[0].epoch_cost == 0.5
    rules = [Rule.parse(text) for text in ("fifo:patience=1,gain=0.15", "asha:grace=0.25,eta=2")]
    found = play_schedulers(tmp_path / "cell", rules, slots=1)
    assert (found.n_epochs, found.n_short) == (14, 1)
    assert found.seconds == pytest.approx(4 * (0.5 + 1.3) + 10 * 1.25)
    patient, asha = (each for _, each in found.outcomes)
    # Gains below .15 end the first and the second after two epochs, the third after three.
    assert (patient.n_epochs, patient.winner, patient.lost) == (2 + 2 + 3 + 2, 2, 0.0)
    # The second is behind at the first rung, the third is not, the fourth is.
    assert (asha.n_epochs, asha.winner, asha.lost_fresh) == (4 + 1 + 4 + 1, 2, None)
    # Once the final runs of the cell are there, which trained trial 1 again.
    final = tmp_path / FINAL_FOLDER / "cell"
    final.mkdir(parents=True)
    write_final(final, final_record("cell", 1000, 1))
    fresh = [curve.fresh_loss for curve in read_curves(tmp_path / "cell")]
    assert fresh == [None, 0.515, None, None]


def test_trials_beyond_an_edge_are_not_played(tmp_path: Path) -> None:
    write_search(tmp_path / "cell", LOSSES)
    path = tmp_path / "cell" / TRIALS_FILE
    rows = json.loads(path.read_text(encoding="utf-8"))
    rows[2]["source"] = BEYOND
    path.write_text(json.dumps(rows), encoding="utf-8")
    found = play_schedulers(tmp_path / "cell", [Rule(scheduler="fifo")], slots=1)
    # The third had the best loss of all, in four epochs.
    assert (found.n_epochs, found.outcomes[0][1].winner) == (10, 0)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("learning_curve", 1, "epoch"), 3, "numbered from 1, and at most 4, but got 1, 3, 3"),
        (("learning_curve", 0, "optimizer"), [], "optimizer: must be"),
        (("learning_curve", 0, "validation_loss"), "low", "validation_loss: must be a"),
        (("learning_curve", 2), 7, "must be a mapping"),
        (("learning_curve",), {}, "learning_curve: must be a list"),
    ],
)
def test_a_damaged_curve_is_refused(
    tmp_path: Path, place: tuple[Any, ...], value: Any, message: str
) -> None:
    write_search(tmp_path / "cell", LOSSES)
    path = next((tmp_path / "cell").glob("*/metrics.json"))
    inside = whole = json.loads(path.read_text(encoding="utf-8"))
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = value
    path.write_text(json.dumps(whole), encoding="utf-8")
    with pytest.raises(StudyError, match=message):
        read_curves(tmp_path / "cell")
