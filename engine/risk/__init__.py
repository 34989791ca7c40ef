"""Risk measures on weighted scenarios: VaR, expected shortfall, contributions."""

from engine.risk._contributions import Contributions, contributions
from engine.risk._measures import (
    expected_shortfall,
    expected_shortfall_error,
    normal_expected_shortfall,
    student_t_expected_shortfall,
    tail,
    tail_weights,
    value_at_risk,
    value_at_risk_interval,
)

__all__ = [
    "Contributions",
    "contributions",
    "expected_shortfall",
    "expected_shortfall_error",
    "normal_expected_shortfall",
    "student_t_expected_shortfall",
    "tail",
    "tail_weights",
    "value_at_risk",
    "value_at_risk_interval",
]
