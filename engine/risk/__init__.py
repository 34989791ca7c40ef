"""Risk measures on weighted scenarios, their contributions, and tests of forecasts."""

from engine.risk._backtest import (
    backtest,
)
from engine.risk._backtest_result import (
    RiskBacktest,
)
from engine.risk._bootstrap import (
    BootstrapInterval,
    bootstrap_interval,
)
from engine.risk._contributions import (
    Contributions,
    contributions,
    incremental,
    marginal,
)
from engine.risk._coverage import (
    CoverageTest,
    Zone,
    christoffersen,
    christoffersen_independence,
    desk_test,
    kupiec,
    traffic_light,
)
from engine.risk._deviation import (
    lower_partial_moment,
    semi_deviation,
    tracking_error,
    volatility,
)
from engine.risk._differences import (
    Difference,
    difference,
)
from engine.risk._drawdown import (
    conditional_drawdown_at_risk,
    drawdowns,
    maximum_drawdown,
    scenario_drawdown_at_risk,
)
from engine.risk._entropic import (
    entropic_value_at_risk,
    normal_entropic_value_at_risk,
)
from engine.risk._forecasts import (
    MODELS,
)
from engine.risk._intervals import (
    expected_shortfall_error,
    scenarios_needed,
    value_at_risk_error,
    value_at_risk_interval,
)
from engine.risk._liquidity import (
    LiquidityAdjusted,
    liquidity_adjusted_value_at_risk,
    normal_liquidity_adjusted_value_at_risk,
)
from engine.risk._measures import (
    expected_shortfall,
    normal_expected_shortfall,
    student_t_expected_shortfall,
    tail,
    tail_weights,
    value_at_risk,
)
from engine.risk._scores import (
    ScoreDifference,
    diebold_mariano,
    fissler_ziegel,
)
from engine.risk._shortfall import (
    acerbi_szekely,
    acerbi_szekely_null,
)

__all__ = [
    "MODELS",
    "BootstrapInterval",
    "Contributions",
    "CoverageTest",
    "Difference",
    "LiquidityAdjusted",
    "RiskBacktest",
    "ScoreDifference",
    "Zone",
    "acerbi_szekely",
    "acerbi_szekely_null",
    "backtest",
    "bootstrap_interval",
    "christoffersen",
    "christoffersen_independence",
    "conditional_drawdown_at_risk",
    "contributions",
    "desk_test",
    "diebold_mariano",
    "difference",
    "drawdowns",
    "entropic_value_at_risk",
    "expected_shortfall",
    "expected_shortfall_error",
    "fissler_ziegel",
    "incremental",
    "kupiec",
    "liquidity_adjusted_value_at_risk",
    "lower_partial_moment",
    "marginal",
    "maximum_drawdown",
    "normal_entropic_value_at_risk",
    "normal_expected_shortfall",
    "normal_liquidity_adjusted_value_at_risk",
    "scenario_drawdown_at_risk",
    "scenarios_needed",
    "semi_deviation",
    "student_t_expected_shortfall",
    "tail",
    "tail_weights",
    "tracking_error",
    "traffic_light",
    "value_at_risk",
    "value_at_risk_error",
    "value_at_risk_interval",
    "volatility",
]
