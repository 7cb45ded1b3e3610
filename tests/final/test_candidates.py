"""The trials that are trained again, the winner among them, and its values at an edge."""

from dataclasses import asdict

import pytest

from study.errors import StudyError
from study.final.candidates import Candidate, best_trials, candidates, source_of, winner
from study.final.run_plan import refit
from study.model.model_config import ModelConfig
from study.search.edges import searched_edges
from study.spec.dimension import Choice, Dimension, Fixed, Range
from study.training.train_config import TrainConfig
from tests.results.conftest import record


def test_the_best_rankable_trials_are_taken_best_first() -> None:
    trials = [
        record(0, value=0.5), record(1, value=0.3, reason="collapsed"), record(2, value=0.4),
        record(3, value=None, reason="diverged"), record(4, value=0.45, reason="asha"),
    ]  # fmt: skip
    assert [t.number for t in best_trials(trials, 2, "cell")] == [2, 4]
    assert [t.number for t in best_trials(trials, 9, "cell")] == [2, 4, 0]
    with pytest.raises(StudyError, match="must have a trial with a usable result"):
        best_trials(trials[1:2], 5, "cell")


def test_the_winner_has_the_lowest_mean_of_fresh_seeds_and_never_failed() -> None:
    lucky, steady, fragile = (record(n, value=v) for n, v in ((0, 0.40), (1, 0.42), (2, 0.43)))
    again = [
        record(0, source=f"forced:{source_of(lucky)}", value=0.50),
        record(1, source=f"forced:{source_of(lucky)}", value=0.44),
        record(2, source=f"forced:{source_of(steady)}", value=0.45),
        record(3, source=f"forced:{source_of(steady)}", value=0.46),
        record(4, source=f"forced:{source_of(fragile)}", value=0.30),
        record(5, source=f"forced:{source_of(fragile)}", value=0.30, reason="collapsed"),
    ]
    found = candidates([lucky, steady, fragile], again, 2)
    assert [c.mean_value for c in found] == [pytest.approx(0.47), pytest.approx(0.455), None]
    assert winner(found, "cell").trial is steady
    with pytest.raises(StudyError, match="trains with every fresh seed"):
        winner(found[2:], "cell")


def test_a_refit_has_the_epochs_of_the_winner_and_nothing_that_stops_it() -> None:
    model = ModelConfig(n_features=25, d_model=64, n_layers=2, n_heads=4)
    params = {"budget": "2M", **asdict(model), **asdict(TrainConfig(epochs=20, learning_rate=1e-3))}
    trial = record(7, params=params)
    again = tuple(record(n, best_epoch=epoch) for n, epoch in enumerate((4, 9, 5)))
    config = refit(Candidate(trial=trial, again=again, n_asked=3))
    assert config is not None
    assert (config.train.epochs, config.train.patience) == (5, None)
    assert asdict(config.model) == {name: params[name] for name in asdict(config.model)}


def test_values_at_the_end_of_what_was_searched_are_named() -> None:
    ranges: dict[str, Dimension] = {
        "n_layers": Choice((1, 2, 3, 4)), "d_model": Choice((32, 64, 128, 256)),
        "n_heads": Choice((2, 4, 8)), "dropout": Range(0.0, 0.3, log=False),
        "learning_rate": Range(1e-4, 1e-2, log=True), "weight_decay": Fixed(0.05),
    }  # fmt: skip
    inside = {
        "n_layers": 2, "d_model": 64, "n_heads": 2, "dropout": 0.1, "learning_rate": 1e-3,
        "weight_decay": 0.05,
    }  # fmt: skip
    assert searched_edges(inside, ranges, {}, ()) == []
    # One layer and no dropout are natural bounds, and three choices are too few to have an edge.
    assert (
        searched_edges({**inside, "n_layers": 1, "dropout": 0.0, "n_heads": 8}, ranges, {}, ())
        == []
    )
    assert searched_edges({**inside, "n_layers": 4}, ranges, {}, ()) == [
        "n_layers = 4 is the largest of 4 choices"
    ]
    assert searched_edges({**inside, "learning_rate": 9.9e-3}, ranges, {}, ()) == [
        "learning_rate = 0.0099 is at the end 0.01 of its range"
    ]
    assert searched_edges({**inside, "learning_rate": 9e-3}, ranges, {}, ()) == []
