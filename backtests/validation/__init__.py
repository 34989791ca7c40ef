"""The shock against the day that made it: every name, every baseline, misses listed."""

from backtests.validation._page import write_page
from backtests.validation._validate import Validation, load_prices, validate

__all__ = ["Validation", "load_prices", "validate", "write_page"]
