"""Names for the array types that the package passes around."""

import numpy as np
import numpy.typing as npt

SampleArray = npt.NDArray[np.float32]
"""Model inputs, labels and targets."""
PriceArray = npt.NDArray[np.float64]
"""Prices, indicators and statistics before they become model inputs."""
IndexArray = npt.NDArray[np.int64]
"""Row positions of days."""
DayArray = npt.NDArray[np.datetime64]
"""Calendar days, datetime64[D]."""
