"""A small trial on real data, for a worker that runs without Ray."""

import dataclasses

from study.data.dataset import Dataset, build_dataset
from study.search.assignment import Assignment
from study.search.space import build_space
from study.spec.spec_file import load_study
from tests.tuner.command import SPACES

_TRAIN_DAYS = 1024


def small_trial(epochs: int) -> tuple[Dataset, Assignment]:
    """Return a data set with few training days, and a trial of the fewest layers on it."""
    spec = load_study(SPACES / "smoke.yaml").cell("50k", 1)
    data = build_dataset(spec.data)
    space = build_space(spec, n_features=len(data.feature_names))
    config = min(space.configs(), key=lambda config: config.model.n_layers)
    train = dataclasses.replace(
        config.train,
        epochs=epochs,
        effective_batch=512,
        patience=None,
        collapse_grace_share=1.0,
    )
    trial = Assignment(
        number=0,
        source="sampled",
        group=None,
        seed=3,
        config=dataclasses.replace(config, train=train),
        micro_batch_limit=None,
    )
    return dataclasses.replace(data, train_days=data.train_days[-_TRAIN_DAYS:]), trial
