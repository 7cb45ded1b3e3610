import hypothesis.strategies as st
import numpy as np
import pandas as pd
from hypothesis import given, settings

from study.data.data_config import LabelKind
from study.data.labels import log_range, make_fall_labels, make_labels

# Coarse prices make ties with the threshold likely.
PRICES = st.lists(
    st.tuples(st.integers(1, 8), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30
)


def bars_of(rows: list[tuple[int, int, int]]) -> pd.DataFrame:
    close = np.array([row[0] for row in rows], dtype=float) * 10
    return pd.DataFrame(
        {
            "High": close + np.array([row[1] for row in rows]),
            "Low": close - np.array([row[2] for row in rows]),
            "Close": close,
        }
    )


@settings(deadline=None)
@given(
    rows=PRICES,
    horizon=st.integers(1, 6),
    threshold=st.sampled_from([0.0, 0.01, 0.1, 0.25]),
    kind=st.sampled_from(["high", "close", "direction"]),
)
def test_labels_equal_a_loop_over_days(
    rows: list[tuple[int, int, int]], horizon: int, threshold: float, kind: LabelKind
) -> None:
    bars = bars_of(rows)
    labels = make_labels(bars, kind=kind, horizon=horizon, threshold=threshold)
    high, close = bars["High"].tolist(), bars["Close"].tolist()
    assert labels.dtype == np.float32
    assert len(labels) == len(rows)
    for t, label in enumerate(labels):
        if t + horizon >= len(rows):
            assert np.isnan(label)
            continue
        if kind == "direction":
            expected = close[t + horizon] > close[t]
        else:
            prices = high if kind == "high" else close
            expected = False
            for later in range(t + 1, t + horizon + 1):
                expected = expected or prices[later] >= close[t] * (1 + threshold)
        assert label == float(expected)


@settings(deadline=None)
@given(
    rows=PRICES,
    horizon=st.integers(1, 6),
    threshold=st.sampled_from([0.01, 0.1, 0.25]),
    kind=st.sampled_from(["high", "close"]),
)
def test_labels_of_falls_equal_a_loop_over_days(
    rows: list[tuple[int, int, int]], horizon: int, threshold: float, kind: LabelKind
) -> None:
    bars = bars_of(rows)
    labels = make_fall_labels(bars, kind=kind, horizon=horizon, threshold=threshold)
    assert labels is not None
    assert labels.dtype == np.float32
    close = bars["Close"].tolist()
    prices = bars["Low"].tolist() if kind == "high" else close
    for t, label in enumerate(labels):
        later = prices[t + 1 : t + horizon + 1]
        if t + horizon >= len(rows):
            assert np.isnan(label)
        else:
            assert label == float(min(later) <= close[t] * (1 - threshold))


def test_the_direction_has_no_label_of_falls() -> None:
    bars = bars_of([(1, 0, 0), (2, 0, 0)])
    assert make_fall_labels(bars, kind="direction", horizon=1, threshold=0.0) is None


@settings(deadline=None)
@given(rows=PRICES, horizon=st.integers(1, 6))
def test_the_log_range_equals_a_loop_over_days(
    rows: list[tuple[int, int, int]], horizon: int
) -> None:
    bars = bars_of(rows)
    high, low = bars["High"].to_numpy(), bars["Low"].to_numpy()
    ranges = log_range(high, low, horizon=horizon)
    for t in range(len(rows)):
        later = slice(t + 1, t + 1 + horizon)
        if t + horizon >= len(rows):
            assert np.isnan(ranges[t])
        else:
            spread = np.log(high[later].max() / low[later].min())
            assert ranges[t] == np.log(max(spread, 1e-4))


def test_a_table_by_hand() -> None:
    bars = pd.DataFrame(
        {
            "High": [100.0, 101.0, 100.5, 103.0],
            "Low": [99.0, 99.0, 99.0, 99.0],
            "Close": [100.0, 100.0, 100.0, 99.5],
        }
    )

    def labels(kind: LabelKind, horizon: int) -> list[float]:
        made = make_labels(bars, kind=kind, horizon=horizon, threshold=0.01)
        return [float(label) for label in made[: len(bars) - horizon]]

    assert labels("high", 1) == [1, 0, 1]
    assert labels("high", 2) == [1, 1]
    assert labels("close", 1) == [0, 0, 0]
    assert labels("direction", 1) == [0, 0, 0]
