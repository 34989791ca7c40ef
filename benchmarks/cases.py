"""The table of cases: the same work by us, by peers, and by the limit.

A case builds its inputs for a size, lists candidates by name, and says how close their
answers must be. ``ours`` is always there; ``limit`` is the least work that any
implementation must do (one BLAS call, one pass over memory), without an answer.
"""

from __future__ import annotations

from benchmarks import (
    accounting_cases,
    covariance_cases,
    data_cases,
    quadratic_cases,
    risk_cases,
    rolling_cases,
    sampling_cases,
    scoring_cases,
    shortfall_cases,
    simulation_cases,
    stress_cases,
    views_cases,
)
from benchmarks.montecarlo_cases import CASES as MONTE_CARLO
from benchmarks.portfolio_cases import CASES as PORTFOLIO
from benchmarks.proposal_cases import CASES as PROPOSALS

CASES = (
    *covariance_cases.CASES,
    *rolling_cases.CASES,
    *data_cases.CASES,
    *scoring_cases.CASES,
    *sampling_cases.CASES,
    *simulation_cases.CASES,
    *risk_cases.CASES,
    *views_cases.CASES,
    *stress_cases.CASES,
    *shortfall_cases.CASES,
    *quadratic_cases.CASES,
    *accounting_cases.CASES,
    *MONTE_CARLO,
    *PORTFOLIO,
    *PROPOSALS,
)
