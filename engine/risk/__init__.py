"""Risk measures on weighted scenarios, their contributions, and tests of forecasts."""

from engine.risk._backtest import backtest
from engine.risk._backtest_result import RiskBacktest
from engine.risk._contributions import Contributions, contributions
from engine.risk._coverage import (
    CoverageTest,
    Zone,
    christoffersen,
    christoffersen_independence,
    desk_test,
    kupiec,
    traffic_light,
)
from engine.risk._forecasts import MODELS
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
from engine.risk._scores import ScoreDifference, diebold_mariano, fissler_ziegel
from engine.risk._shortfall import acerbi_szekely, acerbi_szekely_null

__all__ = [
    "MODELS",
    "Contributions",
    "CoverageTest",
    "RiskBacktest",
    "ScoreDifference",
    "Zone",
    "acerbi_szekely",
    "acerbi_szekely_null",
    "backtest",
    "christoffersen",
    "christoffersen_independence",
    "contributions",
    "desk_test",
    "diebold_mariano",
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
