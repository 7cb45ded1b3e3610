"""The bench of curves: its file says what the records say, and rules are chosen on other cells."""

from pathlib import Path

import numpy as np
import pytest

from study.results.scheduling.curves import Curve, read_curves
from study.results.scheduling.rules import Rule
from study.search.space import build_space
from tests.bench.curves.cells import read_cells
from tests.bench.curves.collect import add_cell, cell_of, curves_of, known_cells
from tests.bench.curves.compare import NEAR, Bench, chosen, halves, held_out, main
from tests.results.scheduling.planted import planted, write_search

LOSSES = [[0.5, 0.4, 0.3, 0.2], [0.6, 0.5, 0.5, 0.5], [0.4, 0.1, 0.3, 0.3]]


def test_the_file_has_the_curves_of_the_records(tmp_path: Path) -> None:
    out = tmp_path / "curves.parquet"
    assert known_cells(out) == frozenset()
    cells = [cell_of(name, tmp_path) for name in ("20k:1", "2M:3")]
    for cell in cells:
        space = build_space(cell.specification, n_features=25)
        write_search(cell.folder, LOSSES, space.forced(space.shapes[0]).flat())
        add_cell(curves_of(cell), out)
    names = [cell.folder.name for cell in cells]
    assert known_cells(out) == {*names}
    read = read_cells(out)
    assert list(read) == names
    for own, recorded in zip(read[names[1]], read_curves(cells[1].folder), strict=True):
        assert (own.number, own.losses, own.scores) == (
            recorded.number, recorded.losses, recorded.scores,
        )  # fmt: skip
        assert own.epoch_seconds == pytest.approx(recorded.epoch_seconds)
        assert own.begin_seconds == pytest.approx(recorded.begin_seconds)
        assert own.epoch_cost == recorded.epoch_cost
    assert main([str(out), "--orders", "2", "--rules", "fifo", "asha:patience=2"]) == 0


def test_without_its_file_the_command_says_how_to_collect_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "curves.parquet")]) == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert "must be the file of collected curves, but got no file. Collect them: python -m" in shown


def crossing(n: int, *, at: int, draw: np.random.Generator) -> list[Curve]:
    """Return curves of 8 epochs of which the best looks worst until an epoch."""
    best = int(draw.integers(n))
    return [
        planted([2.0 if number == best else 1.0 + 0.01 * number] * at
                + [0.5 if number == best else 0.9 + 0.01 * number] * (8 - at), number)
        for number in range(n)
    ]  # fmt: skip


def test_a_rule_is_chosen_without_the_cells_that_it_is_judged_on() -> None:
    draw = np.random.default_rng(0)
    early, late = Rule(scheduler="asha", grace_share=0.13), Rule(scheduler="asha", grace_share=0.5)
    cells = {f"c{k}": crossing(12, at=3 if k else 6, draw=draw) for k in range(4)}
    bench = Bench(cells, n_orders=5)
    choose = chosen(bench, [early, late], 1.0)
    assert choose(["c1", "c2", "c3"]) is late
    # What is best there shows only after its rung.
    assert bench.replays(late, "c0", 2).lost.mean() > NEAR
    found, of_halves = held_out(bench, [early, late], 1.0)
    assert len(of_halves) == len(list(halves(bench.names))) == 6
    # Held out it was judged by three halves, each in five orders.
    assert found["c0"][2].lost.shape == (15,)
    assert found["c1"][1].lost.mean() <= NEAR
    # A share that none keeps is kept best by the one that trains least.
    least = min((early, late), key=lambda rule: bench.replays(rule, "c1", 2).epochs.mean())
    assert chosen(bench, [early, late], 0.0)(["c1"]) is least
