"""One-file HTML report: stress, proposal and walk-forward, with pictures."""

from backtests.report._inputs import Realised, ReportInputs
from backtests.report._render import write_report
from backtests.report._validation import ValidationSummary, read_validation

__all__ = [
    "Realised",
    "ReportInputs",
    "ValidationSummary",
    "read_validation",
    "write_report",
]
