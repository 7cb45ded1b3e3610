"""Checks and times the study on a GPU in one go, and prints one table: ``make gpu``.

Each figure stands beside a reference of the same run: a usual training step (library modules, AdamW
and a loader, in bfloat16 where the device has it), and the device's rate of matrix products. Where
there is no GPU everything runs in tiny sizes, which shows that it runs and nothing else.

Every part of the table has its seconds, five and a half minutes in all, and what the parts before
it have not needed. A part whose time is up says so below the lines that it has.
"""

import argparse
import dataclasses
import gc
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import closing

import torch

from study.training.device import release_cached_memory, resolve_device
from tests.bench.gpu import alternatives, profiles, side_by_side
from tests.bench.gpu.commands import run_module
from tests.bench.gpu.searches import Searches
from tests.bench.gpu.sizes import FULL, TINY, Sizes
from tests.bench.gpu.steps import loss_rows, step_rows
from tests.bench.gpu.timing import OutOfTime, Row, Rows, at_most

DRY = "DRY RUN on a CPU in tiny sizes: no figure below is a GPU's, or of any use."
MOST_SECONDS = 330.0
"""Seconds of all parts together; with the imports the command takes less than six minutes."""


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """A part of the table, and the time that it may take."""

    name: str
    seconds: float
    rows: Callable[[float], Rows]
    """Function of the seconds that measures the rows one after the other."""


def parts(sizes: Sizes, device: torch.device) -> list[Part]:
    # Other processes come first, while this one holds nothing of the device.
    searches = Searches(sizes)

    def beside(setting: str) -> Part:
        return Part(f"side by side, MPS {setting}", 32, lambda _: side_by_side.rows(sizes, setting))

    def cell(setting: str) -> Part:
        return Part(f"cell, MPS {setting}", 50, lambda seconds: searches.cell(setting, seconds))

    return [
        *map(beside, sizes.settings),
        *map(cell, sizes.settings),
        Part("checks", 15, lambda seconds: check_rows(sizes, seconds)),
        Part("steps", 74, lambda _: step_rows(sizes, device)),
        Part("profiles", 10, lambda _: profiles.rows(sizes, device)),
        Part("losses", 8, lambda _: loss_rows(sizes, device)),
        Part("alternatives", 26, lambda _: alternatives.rows(sizes, device)),
        Part("study", 30, searches.study),
    ]


def check_rows(sizes: Sizes, seconds: float) -> Rows:
    """Run the tests that need the device."""
    if not sizes.trials:
        yield Row("checks on the device", "not run")
        return
    flags = ["-q", "-m", "gpu", "-p", "no:cacheprovider", "tests/training/test_accelerator.py"]
    done = run_module("pytest", *flags, seconds=seconds)
    last = next(iter(done.output.strip().splitlines()[-1:]), "no output")
    if done.code:
        raise RuntimeError(f"{last}\n{done.output}\n{done.errors}")
    yield Row("checks on the device", last if done.code == 0 else "its time was up")


def show(every: Iterable[Part], device: torch.device, *, times: float) -> bool:
    """Print the rows of all parts, each in its time; return whether none has failed.

    Args:
        every: the parts.
        device: the device, of whose memory no part keeps any for the next ones.
        times: factor of the seconds that they have.
    """
    is_whole, spare = True, 0.0
    for part in every:
        most = max(0.1, part.seconds * times + spare)
        began = time.monotonic()
        try:
            with at_most(most), closing(part.rows(most)) as rows:
                for row in rows:
                    print(" | ".join(dataclasses.astuple(row)), flush=True)
        except OutOfTime:
            print(f"{part.name} | its {most:.0f} s are over: no more rows | | ", flush=True)
        except Exception as error:
            # One figure that cannot be had must not cost the others, on a machine lent for minutes,
            # whatever is wrong with a path that no machine has taken before.
            text = str(error) or "no text"
            line = f"FAILED: {type(error).__name__}: {text.splitlines()[0]}"
            print(f"{part.name} | {line} | | ", flush=True)
            print(text, file=sys.stderr, flush=True)
            is_whole = False
        gc.collect()
        release_cached_memory(device)
        spare = most - (time.monotonic() - began)
    return is_whole


def main(argv: list[str] | None = None) -> int:
    flags = argparse.ArgumentParser(prog="python -m tests.bench.gpu_table", description=__doc__)
    flags.add_argument("--dry-run", action="store_true", help="tiny sizes on the CPU")
    flags.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = flags.parse_args(argv)
    has_gpu = torch.cuda.is_available() and not arguments.dry_run
    sizes, device = (FULL, resolve_device(1.0)) if has_gpu else (TINY, torch.device("cpu"))
    if arguments.worker:
        side_by_side.work(sizes, device)
        return 0
    print(torch.cuda.get_device_name() if has_gpu else DRY)
    print(f"torch {torch.__version__}\n")
    print("what | measured | reference | bar", flush=True)
    is_whole = show(parts(sizes, device), device, times=sizes.times)
    if not has_gpu:
        print(f"\n{DRY}")
    return 0 if is_whole else 1


if __name__ == "__main__":
    sys.exit(main())
