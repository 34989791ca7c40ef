"""Risk of the scenario assets as a cvxpy expression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from engine.optimize.problem import Setup


def risk_vector(setup: Setup, x: Any) -> Any:
    """Cvxpy vector whose squares sum to the annual variance of weights ``x``.

    In factor form the specific variances stay a diagonal: N by N is never formed.
    """
    import cvxpy as cp

    common = setup.risk_root.T @ x
    if setup.specific is None:
        return common
    return cp.hstack([common, cp.multiply(np.sqrt(setup.specific), x)])
