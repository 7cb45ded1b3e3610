"""An edge of what was searched binds where the loss falls towards it, beyond the noise of seeds."""

import dataclasses
from typing import Any

import pytest

from analysis.edge_judgement import JudgedEdge, judge_edges
from study.results.finals.final_records import FinalRecord, RunRecord, SelectionRecord
from study.results.records import TrialRecord
from tests.analysis.records import final_record
from tests.results.conftest import PARAMS, record

LAYERS = "n_layers = 16 is the largest of 4 choices"
RATE = "learning_rate = 0.0099 is at the end 0.01 of its range"
SPEC: dict[str, Any] = {
    "model": {"n_layers": {"choice": [2, 4, 8, 16]}, "n_heads": {"choice": [2, 4, 8, 16]}},
    "train": {"learning_rate": {"log_uniform": [1e-4, 1e-2]}},
}


def tried(number: int, value: float, **params: float) -> TrialRecord:
    return record(number, value=value, params={**PARAMS, **params})


def chosen(edge: str, *, noise: float = 0.002, **params: float) -> FinalRecord:
    """Return a winner at an edge, with a loss of .5 and fresh seeds that differ by the noise."""
    final = final_record("cell", 1000, 1, edges=[edge], params={**PARAMS, **params})
    values = [0.51, 0.51 + noise, 0.51 - noise]
    runs = [dataclasses.replace(run, value=v) for run, v in zip(final.runs, values, strict=False)]
    selection = [dataclasses.replace(final.selection[0], values=values[:2])]
    return dataclasses.replace(final, runs=runs, selection=selection)


def only(final: FinalRecord, *trials: TrialRecord) -> JudgedEdge:
    (found,) = judge_edges(final, trials, {"spec": SPEC})
    return found


def test_a_loss_that_falls_towards_the_edge_binds() -> None:
    trials = tried(1, 0.50, n_layers=16), tried(2, 0.53, n_layers=8), tried(3, 0.501, n_layers=4)
    found = only(chosen(LAYERS, n_layers=16), *trials)
    # The best of four layers is not beside the edge.
    assert found.binds
    assert found.remark.startswith(
        f"{LAYERS}; the loss falls towards it: n_layers = 8 has +0.0300, noise explains 0.00"
    )


def test_an_inner_side_within_the_noise_does_not_bind_and_is_told() -> None:
    trials = tried(1, 0.50, n_layers=16), tried(2, 0.504, n_layers=8), tried(3, 0.53, n_layers=8)
    found = only(chosen(LAYERS, n_layers=16), *trials)
    assert not found.binds
    assert found.is_told
    assert (
        "n_layers = 8, further in, is as good (+0.0040) within the noise of seeds, 0.00"
        in found.remark
    )


def test_an_inner_side_that_is_better_than_noise_explains_is_said_to_be() -> None:
    trials = tried(1, 0.50, n_layers=16), tried(2, 0.47, n_layers=8)
    found = only(chosen(LAYERS, n_layers=16), *trials)
    assert not found.binds
    assert "it does not bind: n_layers = 8 is better by 0.0300, noise explains" in found.remark


@pytest.mark.parametrize(("loss", "binds"), [(0.501, False), (0.56, True)])
def test_heads_are_an_edge_only_if_they_matter(loss: float, binds: bool) -> None:
    edge = "n_heads = 2 is the least of 4 choices"
    found = only(chosen(edge, n_heads=2), tried(1, 0.5, n_heads=2), tried(2, loss, n_heads=4))
    assert (found.binds, found.is_told) == (binds, binds)


def test_the_inner_side_of_a_range_is_the_quarter_before_its_end() -> None:
    trials = (
        tried(1, 0.50, learning_rate=9.9e-3), tried(2, 0.501, learning_rate=9.5e-3),
        tried(3, 0.54, learning_rate=5e-3), tried(4, 0.50, learning_rate=1e-3),
    )  # fmt: skip
    found = only(chosen(RATE, learning_rate=9.9e-3), *trials)
    assert found.binds
    assert "learning_rate = 0.005 has +0.0400" in found.remark


def test_the_inner_side_of_a_range_that_became_wider_is_that_of_its_new_end() -> None:
    """All that is within the file's range is further from the new end than a quarter."""
    edge = "learning_rate = 0.099 is at the end 0.1 of its range"
    trials = (
        tried(1, 0.50, learning_rate=0.099), tried(2, 0.54, learning_rate=0.04),
        tried(3, 0.51, learning_rate=0.009),
    )  # fmt: skip
    found = only(chosen(edge, learning_rate=0.099), *trials)
    assert "learning_rate = 0.04 has +0.0400" in found.remark


@pytest.mark.parametrize(
    ("edge", "own", "beside", "beyond"),
    [
        (LAYERS, {"n_layers": 16}, {"n_layers": 8}, {"n_layers": 24}),
        ("n_layers = 2 is the least of 4 choices", {"n_layers": 2}, {"n_layers": 4},
         {"n_layers": 1}),
        (RATE, {"learning_rate": 9.9e-3}, {"learning_rate": 5e-3}, {"learning_rate": 0.02}),
    ],
)  # fmt: skip
def test_a_trial_beyond_the_edge_is_not_on_its_inner_side(
    edge: str, own: dict[str, float], beside: dict[str, float], beyond: dict[str, float]
) -> None:
    within = tried(1, 0.50, **own), tried(2, 0.54, **beside)
    others = tried(3, 0.55, n_layers=4), tried(4, 0.55, n_layers=8)
    final = chosen(f"{edge}; tried beyond it, 1 of 3 usable", **own)
    found = only(final, *within, *others, tried(5, 0.501, **beyond))
    assert found.binds
    name, value = next(iter(beside.items()))
    assert f"{name} = {value:g} has +0.0400" in found.remark


def test_final_runs_are_compared_with_the_fresh_seeds_of_the_inner_side() -> None:
    final = chosen(LAYERS, n_layers=16)
    other = SelectionRecord(
        trial=2, search_value=0.53, values=[0.511, 0.512], n_asked=2, mean_value=0.5115,
        architecture="d64 L8",
    )  # fmt: skip
    final = dataclasses.replace(final, selection=[*final.selection, other])
    found = only(final, tried(1, 0.50, n_layers=16), tried(2, 0.53, n_layers=8))
    # In the search they differed by .03, which was luck.
    assert not found.binds
    assert "n_layers = 8, further in, is as good (+0.0015)" in found.remark


def test_final_runs_that_learned_from_the_validation_days_say_nothing_of_them() -> None:
    final = dataclasses.replace(chosen(LAYERS, n_layers=16), with_validation=True)
    other = dataclasses.replace(final.selection[0], trial=2)
    final = dataclasses.replace(final, selection=[*final.selection, other])
    found = only(final, tried(1, 0.50, n_layers=16), tried(2, 0.503, n_layers=8))
    assert "n_layers = 8, further in, is as good (+0.0030)" in found.remark


def test_what_is_not_known_binds() -> None:
    alone = only(chosen(LAYERS, n_layers=16), tried(1, 0.5, n_layers=16))
    assert alone.binds
    assert alone.remark == f"{LAYERS}; nothing was tried beside it"
    final = chosen(LAYERS, n_layers=16)
    one: list[RunRecord] = list(final.runs[:1])
    single = dataclasses.replace(final.selection[0], values=[0.51])
    final = dataclasses.replace(final, runs=one, selection=[single])
    found = only(final, tried(1, 0.5, n_layers=16), tried(2, 0.5, n_layers=8))
    assert found.binds
    assert found.remark == f"{LAYERS}; no noise of seeds is known"


def test_runs_that_were_judged_on_other_days_than_the_search_are_no_evidence() -> None:
    # The inner side was trained again, and loses as much as the winner in the search.
    final = chosen(LAYERS, n_layers=16)
    again = dataclasses.replace(final.selection[0], trial=2, values=[0.502], mean_value=0.502)
    final = dataclasses.replace(final, selection=[*final.selection, again])
    trials = tried(1, 0.50, n_layers=16), tried(2, 0.502, n_layers=8)
    other_days = [dataclasses.replace(run, value=0.40) for run in final.runs]

    folded = dataclasses.replace(final, runs=other_days)
    spec = {**SPEC, "data": {"search_splits": "purged_k_fold"}}
    (found,) = judge_edges(folded, trials, {"spec": spec})
    assert "n_layers = 8, further in, is as good (+0.0020)" in found.remark

    later = [dataclasses.replace(run, fold=1) for run in other_days]
    walked = dataclasses.replace(final, runs=[*final.runs, *later])
    assert only(walked, *trials) == only(final, *trials)
