"""Trials beyond an edge that fail: the edge stays, and the search goes on."""

import dataclasses

import pytest

from study.search.beyond import widened_part
from study.search.edges import searched_edges
from study.search.ledger import Ledger
from tests.search.simulated_search import CELL
from tests.search.test_beyond import (
    NOT_NARROWER,
    deep_enough_at_four,
    opened,
    searched,
    tried_beyond,
)


@pytest.fixture(scope="module")
def failed_beyond(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """Return a search whose trials beyond the edge, all it has run since its start, have failed."""
    folder = tmp_path_factory.mktemp("failed") / "cell"
    searched(folder, deep_enough_at_four, beyond=None)
    ledger = opened(folder, NOT_NARROWER)
    while not ledger.is_complete:
        assignment = ledger.next()
        assert assignment is not None
        ledger.fault(assignment.number, "error", "no", micro_batch=8)
    return ledger


def test_an_edge_stays_where_nothing_that_was_tried_beyond_it_came_to_an_end(
    failed_beyond: Ledger,
) -> None:
    ledger = failed_beyond
    assert [r.reason for r in tried_beyond(ledger)] == ["error"] * 3
    assert ledger.best is not None
    layers = {"n_layers": CELL.model["n_layers"]}
    described = widened_part(ledger.widenings, ledger.trials)

    def lines(usable: int, of: int, n_layers: int = 4) -> list[str]:
        """Return the edges if so many of the trials beyond had been usable."""
        beyond = [
            dataclasses.replace(record, reason="completed", objective=0.9) if n < usable else record
            for n, record in enumerate(tried_beyond(ledger)[:of])
        ]
        assert ledger.best is not None
        best = {**ledger.best.params, "n_layers": n_layers}
        return searched_edges(best, layers, described, [*ledger.records[:12], *beyond])

    at_file = "n_layers = 4 is the largest of 4 choices"
    assert lines(0, of=3) == [f"{at_file}; tried beyond it, none of 3 usable"]
    assert lines(1, of=3) == [f"{at_file}; tried beyond it, 1 of 3 usable"]
    assert lines(2, of=3) == lines(1, of=1) == []
    # It was interrupted before the first of them.
    assert lines(0, of=0) == [at_file]
    assert lines(1, of=3, n_layers=6) == ["n_layers = 6 is the largest of 5 choices"]


@pytest.mark.parametrize(
    ("value", "usable", "expected"),
    [
        (2.99e-3, (), "0.00299 is at the end 0.003 of its range; "
         "tried beyond it, none of 2 usable"),
        (2.99e-3, (4e-3, 5e-3), None),
        # The second step, beyond the first one's new end, failed.
        (5.3e-3, (4e-3, 5e-3), "0.0053 is at the end 0.00533 of its range; "
         "tried beyond it, none of 2 usable"),
        (5.3e-3, (4e-3, 5e-3, 6e-3, 8e-3), None),
    ],
)  # fmt: skip
def test_the_edge_of_a_range_that_became_wider_twice_is_where_trials_were_usable(
    failed_beyond: Ledger, value: float, usable: tuple[float, ...], expected: str | None
) -> None:
    (failed, *_) = tried_beyond(failed_beyond)
    rates = {"learning_rate": CELL.train["learning_rate"]}
    once = rates["learning_rate"].wider("largest", lambda _: True)
    assert once is not None
    twice = once.wider("largest", lambda _: True)
    assert twice is not None
    records = [
        dataclasses.replace(
            failed,
            params={**failed.params, "learning_rate": rate},
            reason="completed" if rate in usable else "error",
            objective=0.9 if rate in usable else None,
        )
        for rate in (4e-3, 5e-3, 6e-3, 8e-3)
    ]
    described = {"widened": {"learning_rate": twice.plain}}
    found = searched_edges({"learning_rate": value}, rates, described, records)
    assert found == ([] if expected is None else [f"learning_rate = {expected}"])


def test_failures_beyond_an_edge_do_not_end_a_search(failed_beyond: Ledger) -> None:
    ledger = failed_beyond
    # With those beyond the edge it is the fourth failure of four trials.
    ledger.extend(13)
    assignment = ledger.next()
    assert assignment is not None
    ledger.fault(assignment.number, "error", "no", micro_batch=8)
    assert ledger.records[-1].reason == "error"
    assert ledger.too_many_failures() is None
