import pytest

from study.search.estimate import planned_share
from study.spec import SearchConfig


@pytest.mark.parametrize(
    ("search", "share"),
    [
        # A quarter for all, half more for a third, the last quarter for a ninth.
        (SearchConfig(trials=20, grace_share=0.25, reduction_factor=3), 0.25 + 0.5 / 3 + 0.25 / 9),
        (SearchConfig(trials=20, grace_share=0.5, reduction_factor=2), 0.5 + 0.5 / 2),
        (SearchConfig(trials=20, grace_share=1.0, reduction_factor=3), 1.0),
        (SearchConfig(trials=5, grace_share=0.25, reduction_factor=3), 1.0),
        (SearchConfig(trials=20, scheduler="fifo"), 1.0),
    ],
)
def test_the_expected_saving_is_what_the_rungs_leave(search: SearchConfig, share: float) -> None:
    assert planned_share(search) == pytest.approx(share)
