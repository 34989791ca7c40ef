"""Shape aliases used in annotations: the letters are those of the house table."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = NDArray[np.float64]
"""One axis: (N,) assets, (S,) scenarios or (T,) dates."""
Matrix: TypeAlias = NDArray[np.float64]
"""Two axes, time or scenario first, asset second: (T, N), (S, N) or (N, N)."""
Dates: TypeAlias = NDArray[np.datetime64]
"""(T,) datetime64[D], strictly increasing session dates without zone."""
