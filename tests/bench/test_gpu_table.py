"""The table of a GPU is made where there is none as well, in tiny sizes and plainly marked."""

import json
import shutil
import time
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml

from tests.bench import gpu_table
from tests.bench.gpu.alternatives import Buffers, attention, library, numbers, products
from tests.bench.gpu.commands import run_module
from tests.bench.gpu.searches import Searches, plan_rows
from tests.bench.gpu.sizes import FULL, TINY
from tests.bench.gpu.timing import Row, Rows
from tests.bench.gpu_table import MOST_SECONDS, Part, parts, show

CPU = torch.device("cpu")
RECORD = Path(__file__).parent.parent / "results" / "search_record"


@pytest.mark.slow
def test_the_table_has_all_of_its_rows_without_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_table.main(["--dry-run"]) == 0
    output = capsys.readouterr().out
    assert output.count(gpu_table.DRY) == 2
    for row in (
        "2 processes, MPS", "cell of", "600 trials", "checks on", "product rate", "step d16 L1",
        "profile d16 L1", "best loss of", "attention over 11 tokens", "clip, AdamW and average",
        "compile of", "elementwise chains of a layer",
    ):  # fmt: skip
        assert f"\n{row}" in output or row == "2 processes, MPS"
    assert "2 processes, MPS" in output
    assert "FAILED" not in output
    assert "are over" not in output


def test_the_full_table_has_every_step_that_has_a_bar_in_its_time() -> None:
    assert {(size.width, size.layers) for size in FULL.steps} == {
        (192, 4), (64, 64), (384, 12), (768, 28), (2048, 48), (1024, 192),
    }  # fmt: skip
    assert sum(part.seconds for part in parts(FULL, CPU)) < MOST_SECONDS
    assert {part.name for part in parts(FULL, CPU)} >= {"cell, MPS on", "cell, MPS off"}


def _rows(seconds: float, *, takes: float, seen: list[float], fails: bool = False) -> Rows:
    seen.append(seconds)
    yield Row("first", "1")
    if fails:
        raise RuntimeError("of the device")
    time.sleep(takes)
    yield Row("second", "2")


@pytest.mark.slow
def test_a_part_that_runs_out_of_time_shows_what_it_has_and_the_next_ones_come_after(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen: list[float] = []

    def part(name: str, takes: float, fails: bool = False) -> Part:
        return Part(name, 1.5, partial(_rows, takes=takes, seen=seen, fails=fails))

    assert show([part("quick", 0.0), part("slow", 9.0)], CPU, times=1.0)
    first, second = seen
    assert first == 1.5
    # What the first part has not needed is the second one's.
    assert 1.5 < second <= 3.0
    assert not show([part("broken", 0.0, True), part("quick", 0.0)], CPU, times=1.0)
    assert capsys.readouterr().out.splitlines() == [
        "first | 1 |  | ", "second | 2 |  | ",
        "first | 1 |  | ", f"slow | its {second:.0f} s are over: no more rows | | ",
        "first | 1 |  | ", "broken | FAILED: RuntimeError: of the device | | ",
        "first | 1 |  | ", "second | 2 |  | ",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_command_whose_time_is_up_is_ended_and_its_output_kept() -> None:
    began = time.monotonic()
    done = run_module("timeit", "-n1", "-r1", "import time; print(1, flush=True); time.sleep(60)",
                      seconds=9.0)  # fmt: skip
    assert time.monotonic() - began < 9.0
    assert done.code is None
    assert done.output.startswith("1\n")
    assert run_module("timeit", "-n1", "-r1", "pass", seconds=60.0).code == 0


def test_the_records_of_a_cell_that_did_not_end_give_its_rows(tmp_path: Path) -> None:
    searches = Searches(FULL)
    name = "cell of 24 trials, MPS on"
    (none,) = searches.rows_of(tmp_path, name, "42 s, its time was up")
    assert none.measured == "42 s, its time was up; no epoch was reported"

    cell = tmp_path / "cell"
    records = json.loads((RECORD / "all_trials.json").read_text())
    for folder in (records[0]["folder"], "trial_0009_d8_L1_h2", "trial_0010_d8_L1_h2"):
        (cell / folder).mkdir(parents=True)
        shutil.copy(RECORD / "result.json", cell / folder)
    (cell / "trial_0010_d8_L1_h2" / "result.json").write_text("")
    (cell / "all_trials.json").write_text(json.dumps(records[:1]))
    whole, outside = searches.rows_of(tmp_path, name, "42 s, its time was up")
    assert whole.measured == "42 s, its time was up; 1 trials ended"
    lines = (RECORD / "result.json").read_text().splitlines()
    epochs = [json.loads(line) for line in lines]
    steps = sum(each["data_seconds"] + each["step_seconds"] for each in epochs)
    share = 1 - steps / (epochs[-1]["reported"] - epochs[0]["began"])
    assert outside.what == "slot time outside steps"
    assert outside.measured.startswith(f"{share:.0%}, of it ")

    ((shape, taken),) = searches.epoch_seconds
    plan = {
        "total": {"search_seconds_expected": 5400.0, "trials": 600, "cells_with_problem": 0},
        "cells": [{"estimate": {"epoch_seconds": {shape: taken / 2}}}, {"estimate": None}],
    }
    assert not [*plan_rows(tmp_path / "none", 0.0, 1.0)]
    estimate = {"start_seconds": 12.0, "search_seconds_expected": 50.0}
    (cell / "cell.yaml").write_text(yaml.safe_dump({"estimate": estimate}))
    first, error = plan_rows(tmp_path, epochs[0]["began"] - 15, 40.0)
    assert (first.measured, first.reference) == ("15.0 s", "12.0 s planned")
    assert (error.measured, error.reference) == ("-20%", "50 s planned")
    row = searches.study_row(plan)
    assert row.measured == "1.50 h planned for 600 trials, not taken"
    assert row.reference == "epochs above took 2.00 of their plan"


@pytest.mark.parametrize("n_tokens", [1, 11])
def test_attention_by_batched_products_is_the_library_one_with_its_gradient(n_tokens: int) -> None:
    torch.manual_seed(0)
    qkv = torch.randn(5, n_tokens, 3 * 16, requires_grad=True)
    grad = torch.randn(5, n_tokens, 16)
    mixed: list[torch.Tensor] = []
    gradients: list[torch.Tensor] = []
    for attend in (library, products):
        mixed.append(attention(attend, qkv, 4))
        gradients += torch.autograd.grad(mixed[-1], qkv, grad)
    torch.testing.assert_close(*mixed)
    torch.testing.assert_close(*gradients)


def test_flat_buffers_change_as_tensors_do() -> None:
    torch.manual_seed(0)
    usual = Buffers.of([torch.Size((3, 5)), torch.Size((7,))], CPU)
    flat = usual.flat()
    for each in (usual, flat):
        steps, rate, share = numbers(CPU)
        each.change(steps, rate, share)
        assert steps == 1
    again = usual.flat()
    for name in Buffers.__dataclass_fields__:
        (ours,), (expected,) = getattr(flat, name), getattr(again, name)
        torch.testing.assert_close(ours, expected)
    assert not flat.gradients[0].any()


def test_the_dry_run_has_every_part_of_the_full_table() -> None:
    tiny = {part.name.partition(", MPS")[0] for part in parts(TINY, CPU)}
    assert tiny == {part.name.partition(", MPS")[0] for part in parts(FULL, CPU)}
