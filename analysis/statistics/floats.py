"""The array type of sizes, losses, probabilities and whatever is resampled of them."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
