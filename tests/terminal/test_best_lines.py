"""The lines on the best trial of a search: what leads, and what is said to be missing."""

from study.terminal.overview import best_lines
from tests.results.conftest import record


def test_the_best_is_led_by_its_skill_on_its_own_days_and_fresh_seeds_are_asked_for() -> None:
    best = record(4, skill=0.139, skill_own_base_rate=0.111)
    text = " ".join(best_lines([best], best, metric="log_loss", baseline_name="logistic"))
    assert "skill +0.111 against the base rate of these days" in text
    # The constant at the training base rate is beaten by networks that have learnt nothing.
    assert "0.139" not in text
    assert "study.train adds the value with fresh seeds, which is the one to report" in text
