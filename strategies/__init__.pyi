from .base import Strategy as Strategy
from .equal import EqualWeight as EqualWeight
from .hold import Hold as Hold
from .min_variance import MinimumVariance as MinimumVariance
from .schedules import is_decision as is_decision
from .shock_aware import HoldWithCash as HoldWithCash
from .shock_aware import ShockAware as ShockAware
from .shock_aware_multi import ShockAwareMultiPeriod as ShockAwareMultiPeriod
