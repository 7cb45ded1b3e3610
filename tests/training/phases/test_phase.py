import json
from dataclasses import replace
from typing import Any

import pytest

from study.errors import SpecError
from study.training.phases.phase import Phase, parse_phases, phase_in, phases_text
from study.training.train_config import TrainConfig

PHASES = (
    Phase(name="baseline", epochs=2, base_loss="huber", trains=("heads", "encoder")),
    Phase(name="fine-tuning", epochs=3, learning_rate_factor=0.1, rank_weight=0.0, clip_norm=0.5),
)
CONFIG = TrainConfig(learning_rate=1e-3, epochs=5, rank_weight=0.3, phases=phases_text(PHASES))


def test_the_text_of_phases_is_plain_and_gives_the_phases_back() -> None:
    assert json.loads(CONFIG.phases) == [
        {"name": "baseline", "epochs": 2, "trains": ["encoder", "heads"], "base_loss": "huber"},
        {
            "name": "fine-tuning", "epochs": 3, "learning_rate_factor": 0.1, "clip_norm": 0.5,
            "rank_weight": 0.0,
        },
    ]  # fmt: skip
    assert CONFIG.phase_list == PHASES
    assert hash(CONFIG) == hash(replace(CONFIG))


def test_the_phase_of_an_epoch_follows_from_its_number_alone() -> None:
    names = [phase and phase.name for phase in (phase_in(PHASES, e) for e in range(1, 7))]
    assert names == ["baseline"] * 2 + ["fine-tuning"] * 3 + [None]


def test_a_phase_has_its_own_values_and_a_factor_of_the_rate() -> None:
    first, second = (CONFIG.in_phase(phase) for phase in PHASES)
    assert (first.base_loss, first.rank_weight, first.clip_norm) == ("huber", 0.3, 1.0)
    assert (second.base_loss, second.rank_weight, second.clip_norm) == ("squared", 0.0, 0.5)
    assert [first.learning_rate, second.learning_rate] == pytest.approx([1e-3, 1e-4])
    assert CONFIG.in_phase(None) is CONFIG


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ("fast", "must be a list of phases"),
        ("[]", "must be a list of phases"),
        ([{"name": "a"}], "the field epochs"),
        ([{"name": "a", "epochs": 5, "rate": 1.0}], "a phase has name, epochs"),
        ([{"name": "a", "epochs": 5, "learning_rate_factor": "1e-1"}], "write 1.0e-4"),
        ([{"name": "a", "epochs": 5, "learning_rate_factor": 0.0}], "learning_rate_factor must"),
        ([{"name": "", "epochs": 5}], "name must be a printable text"),
        ([{"name": "a", "epochs": 5, "trains": []}], "trains must list some of"),
        ([{"name": "a", "epochs": 5, "trains": ["decoder"]}], "must be one of encoder"),
        ([{"name": "a", "epochs": 5, "rank_weight": -1.0}], "rank_weight must lie in"),
        ([{"name": "a", "epochs": 5, "base_loss": "cubic"}], "base_loss must be one of"),
        ([{"name": "a", "epochs": 2}, {"name": "a", "epochs": 3}], "must have different names"),
        ([{"name": "a", "epochs": 4}], "must hold all epochs of the schedule, 5, but got 4"),
    ],
)
def test_broken_phases_are_refused_in_one_line(phases: Any, message: str) -> None:
    text = phases if isinstance(phases, str) else json.dumps(phases)
    with pytest.raises(SpecError) as caught:
        replace(CONFIG, phases=text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_schedule_may_end_before_its_last_phase() -> None:
    assert parse_phases(replace(CONFIG, epochs=1).phases) == PHASES
