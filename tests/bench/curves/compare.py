"""Compares rules of a search on the bench of curves: ``python -m tests.bench.curves.compare``.

Each rule plays every cell in the same random orders of its trials, with the seconds that their
epochs took. From each family the rule is taken that loses least among those that train at most a
given share of all epochs, on one half of the cells, and what it does is read on the other half: for
every way to halve them. Today's rule is not chosen, and stands beside them.

The trials were drawn by a sampler that saw all of them whole; a replay draws none anew. Their
schedules are cosines over all epochs, which a replay stops and never shortens. A loss of .001 is
less than what another seed of the same configuration changes (``SEED_SD`` in
``tests/bench/test_null_studies.py``), so that a rule which loses less than that cannot be told from
the whole search by its winner.
"""

import functools
import itertools
import math
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from study.command import CommandParser, exit_code
from study.results.scheduling.curves import Curve, StopRule
from study.results.scheduling.rules import TODAY, Outcome, Rule, judged
from tests.bench.curves.cells import CURVES, read_cells

Floats = npt.NDArray[np.float64]

ORDERS = 20
"""Random orders in which the trials of a cell are drawn."""
SLOTS = (1, 2)
"""Trials at once; rules are chosen with the last of them."""
SHARES = (0.30, 0.25)
"""Most trial-epochs of a chosen rule, as a share of those of all whole trials."""
NEAR = 0.001
"""Loss in nats up to which a winner counts as that of the whole search."""


@dataclass(frozen=True, slots=True)
class Replays:
    """One rule on one cell, a value for each order."""

    epochs: Floats
    """Share of the trial-epochs of the whole search."""
    seconds: Floats
    """Share of its seconds, in the same order with as many slots."""
    lost: Floats
    """Loss of the winner as it was stopped, less that of the whole search's, in nats."""
    lost_whole: Floats
    """The same with the winner's whole curve."""
    lost_fresh: Floats
    """The same with fresh seeds; NaN where they are not known."""

    @classmethod
    def joined(cls, parts: Sequence["Replays"]) -> "Replays":
        """Return the values of several in one."""
        names = cls.__slots__
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


class Bench:
    """The cells and their orders, and what each rule does to them.

    Args:
        cells: the whole curves of each cell, by its name.
        n_orders: number of random orders.
    """

    def __init__(self, cells: Mapping[str, Sequence[Curve]], *, n_orders: int = ORDERS) -> None:
        self.names = tuple(cells)
        self._cells = cells
        self._orders = {
            name: _orders(name, len(curves), n_orders) for name, curves in cells.items()
        }
        # Many rules are asked for again and again by the halves that choose them.
        self.replays = functools.cache(self._replays)
        self._ended = functools.cache(self._ended_curves)
        self._whole_seconds = functools.cache(self._seconds_of_all)

    def means(self, rule: Rule, name: str) -> tuple[float, float]:
        """Return the means over orders of the epochs and the loss by which rules are chosen."""
        found = self.replays(rule, name, SLOTS[-1])
        return float(found.epochs.mean()), float(found.lost.mean())

    def _replays(self, rule: Rule, name: str, slots: int) -> Replays:
        """Return what a rule does to a cell in each order."""
        whole, ended = self._cells[name], self._ended(rule.stop_rule, name)
        n_epochs = sum(curve.last_epoch for curve in whole)
        found: list[Outcome] = []
        for order in self._orders[name]:
            begun = rule.order([ended[place] for place in order])
            played = rule.play(begun, slots=slots)
            found.append(judged(played, rule.order([whole[place] for place in order])))
        return Replays(
            epochs=np.array([each.n_epochs for each in found]) / n_epochs,
            seconds=np.array([each.seconds for each in found]) / self._whole_seconds(name, slots),
            lost=np.array([each.lost for each in found]),
            lost_whole=np.array([each.lost_whole for each in found]),
            lost_fresh=np.array(
                [math.nan if each.lost_fresh is None else each.lost_fresh for each in found]
            ),
        )

    def _ended_curves(self, stop_rule: StopRule, name: str) -> list[Curve]:
        return [stop_rule.applied(curve) for curve in self._cells[name]]

    def _seconds_of_all(self, name: str, slots: int) -> Floats:
        fifo = Rule(scheduler="fifo", collapse_grace_share=1.0)
        whole = self._cells[name]
        return np.array(
            [
                fifo.play([whole[place] for place in order], slots=slots).seconds
                for order in self._orders[name]
            ]
        )


def _orders(name: str, n_trials: int, n_orders: int) -> list[list[int]]:
    """Return random orders of a cell's trials, the same whatever other cells there are."""
    draw = np.random.default_rng(zlib.crc32(name.encode()))
    return [draw.permutation(n_trials).tolist() for _ in range(n_orders)]


def families() -> dict[str, list[Rule]]:
    """Return the rules to choose from, by family."""
    graces, etas, patiences = (0.07, 0.14, 0.2, 0.27, 0.34), (2.0, 3.0, 4.0), (2, 3, 4, 10)
    rungs = [
        {"grace_share": grace, "reduction_factor": eta, "patience": patience}
        for grace, eta, patience in itertools.product(graces, etas, patiences)
    ]

    def of(scheduler: str, settings: Iterable[Mapping[str, float]]) -> list[Rule]:
        return [Rule(scheduler=scheduler, **each) for each in settings]  # type: ignore[arg-type]

    gains = itertools.product((2, 3, 4), (0.0, 0.0005, 0.001, 0.002))
    return {
        "plateau": of("fifo", ({"patience": n, "min_delta": gain} for n, gain in gains)),
        "asha": of("asha", rungs),
        "asha, cheap first": of("asha", ({**each, "n_cheap_first": 10} for each in rungs)),
        "promote": of("promote", rungs),
        "pasha": of(
            "pasha",
            (
                {**each, "tolerance": tolerance}
                for each in rungs
                for tolerance in (0.0005, 0.001, 0.002)
                if each["grace_share"] <= 0.14
            ),
        ),
    }


def chosen(bench: Bench, rules: Sequence[Rule], share: float) -> Callable[[Sequence[str]], Rule]:
    """Return a function of some cells that chooses the rule that loses least on them.

    It is one of those that train at most a share of all epochs there or, where none trains so
    little, the one that trains least.
    """
    means = np.array([[bench.means(rule, name) for name in bench.names] for rule in rules])

    def of(cells: Sequence[str]) -> Rule:
        places = [bench.names.index(name) for name in cells]
        epochs, lost = means[:, places].mean(axis=1).T
        return rules[int(np.lexsort((epochs, lost, np.maximum(0.0, epochs - share)))[0])]

    return of


def halves(names: Sequence[str]) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Yield every half of the cells with the other half."""
    for half in itertools.combinations(names, len(names) // 2):
        yield half, tuple(name for name in names if name not in half)


def held_out(
    bench: Bench, rules: Sequence[Rule], share: float
) -> tuple[dict[str, dict[int, Replays]], list[Rule]]:
    """Return what chosen rules do where they were not chosen, and which these were.

    Returns: the replays of each cell by the number of slots, all rules that were chosen without it
        together; and the rule of each half, in order.
    """
    found: dict[str, dict[int, list[Replays]]] = {
        name: {slots: [] for slots in SLOTS} for name in bench.names
    }
    choose, rules_of_halves = chosen(bench, rules, share), []
    for half, others in halves(bench.names):
        rule = choose(half)
        rules_of_halves.append(rule)
        for name, slots in itertools.product(others, SLOTS):
            found[name][slots].append(bench.replays(rule, name, slots))
    joined = {
        name: {slots: Replays.joined(parts) for slots, parts in of_slots.items()}
        for name, of_slots in found.items()
    }
    return joined, rules_of_halves


def main(argv: Sequence[str] | None = None) -> int:
    return exit_code(lambda: _compare(argv))


def _compare(argv: Sequence[str] | None) -> int:
    flags = CommandParser(prog="python -m tests.bench.curves.compare", description=__doc__)
    flags.add_argument(
        "curves", type=Path, nargs="?", default=CURVES, help="(default: %(default)s)"
    )
    flags.add_argument("--orders", type=int, default=ORDERS, help="of each cell")
    flags.add_argument("--rules", nargs="+", default=(), metavar="RULE",
                       help="only these, on all cells: none is chosen")  # fmt: skip
    arguments = flags.parse_args(argv)
    asked = [Rule.parse(text) for text in arguments.rules]
    bench = Bench(read_cells(arguments.curves), n_orders=arguments.orders)
    console = Console(width=150)
    console.print(f"{len(bench.names)} cells: {', '.join(bench.names)}")
    if asked:
        _show(console, "on all cells", [(str(r), _everywhere(bench, r)) for r in asked])
        return 0
    today = (f"today: {TODAY}", _everywhere(bench, Rule.parse(TODAY)))
    every = families()
    every["any of these"] = [rule for rules in every.values() for rule in rules]
    for share in SHARES:
        rows, notes = [today], []
        for family, rules in every.items():
            found, of_halves = held_out(bench, rules, share)
            rows.append((family, found))
            rule, n = _most_common(of_halves)
            notes.append(f"{family}: {rule} in {n} of {len(of_halves)} halves")
        _show(console, f"chosen to train at most {share:.0%} of all epochs; held out", rows)
        console.print("\n".join(notes))
    return 0


def _everywhere(bench: Bench, rule: Rule) -> dict[str, dict[int, Replays]]:
    return {
        name: {slots: bench.replays(rule, name, slots) for slots in SLOTS} for name in bench.names
    }


def _most_common(rules: Sequence[Rule]) -> tuple[Rule, int]:
    counts = {rule: rules.count(rule) for rule in rules}
    return max(counts.items(), key=lambda pair: pair[1])


def _show(
    console: Console, title: str, rows: Sequence[tuple[str, Mapping[str, Mapping[int, Replays]]]]
) -> None:
    """Print a line for each rule and number of slots: means over cells of means over orders."""
    table = Table(title=title, box=None, padding=(0, 1))
    table.add_column("rule", no_wrap=True)
    for name in (
        "slots", "epochs", "seconds", "lost", "within .001", "as whole", "within", "fresh",
        "cells at <= 30 % within .001",
    ):  # fmt: skip
        table.add_column(name, justify="right")
    for name, by_cell in rows:
        for slots in SLOTS:
            table.add_row(name, *_cells([by_cell[cell][slots] for cell in by_cell], slots))
    console.print(table)


def _cells(of_cells: Sequence[Replays], slots: int) -> list[str]:
    def mean(values: Iterable[npt.NDArray[Any]]) -> float:
        return float(np.mean([each.mean() for each in values]))

    n_good = sum(each.epochs.mean() <= SHARES[0] and each.lost.mean() <= NEAR for each in of_cells)
    fresh = np.concatenate([each.lost_fresh for each in of_cells])
    known = fresh[~np.isnan(fresh)]
    return [
        str(slots),
        f"{mean(each.epochs for each in of_cells):.1%}",
        f"{mean(each.seconds for each in of_cells):.1%}",
        f"{mean(each.lost for each in of_cells):.5f}",
        f"{mean(each.lost <= NEAR for each in of_cells):.0%}",
        f"{mean(each.lost_whole for each in of_cells):.5f}",
        f"{mean(each.lost_whole <= NEAR for each in of_cells):.0%}",
        f"{known.mean():+.5f} of {len(known) / len(fresh):.0%}" if len(known) else "-",
        f"{n_good} of {len(of_cells)}",
    ]


if __name__ == "__main__":
    sys.exit(main())
