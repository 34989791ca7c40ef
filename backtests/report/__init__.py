"""One-file HTML report: stress, proposal and walk-forward, with pictures."""

from backtests.report._inputs import Realised, ReportInputs
from backtests.report._render import write_report

__all__ = ["Realised", "ReportInputs", "write_report"]
