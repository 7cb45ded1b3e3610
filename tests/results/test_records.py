from typing import Any

import pytest

from study.results.records import end_reason


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        ({"stop_reason": "early_stopping"}, "early_stopping"),
        ({"epoch": 4}, "asha"),
        ({"epoch": 4, "best_is_collapsed": True}, "collapsed"),
        ({"stop_reason": "completed", "best_is_collapsed": True}, "collapsed"),
        ({"stop_reason": "diverged", "best_is_collapsed": True}, "diverged"),
    ],
)
def test_a_collapsed_best_is_collapsed_whoever_stopped_the_trial(
    report: dict[str, Any], reason: str
) -> None:
    assert end_reason(report) == reason
