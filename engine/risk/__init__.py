"""Risk measures on weighted scenarios, their contributions, and tests of forecasts."""

from engine.risk._checks import (
    Zone,
    acerbi_szekely,
    acerbi_szekely_null,
    christoffersen,
    christoffersen_independence,
    desk_test,
    fissler_ziegel,
    kupiec,
    traffic_light,
)
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
    "Zone",
    "acerbi_szekely",
    "acerbi_szekely_null",
    "christoffersen",
    "christoffersen_independence",
    "contributions",
    "desk_test",
    "expected_shortfall",
    "expected_shortfall_error",
    "fissler_ziegel",
    "kupiec",
    "normal_expected_shortfall",
    "student_t_expected_shortfall",
    "tail",
    "tail_weights",
    "traffic_light",
    "value_at_risk",
    "value_at_risk_interval",
]
