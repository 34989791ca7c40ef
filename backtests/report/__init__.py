"""One-file HTML report: stress, proposal and walk-forward, with pictures."""

from backtests._judgement_data import judgement_section
from backtests.report._inputs import Realised, ReportInputs
from backtests.report._render import write_report
from backtests.report._validation import ValidationSummary, read_validation

__all__ = [
    "Realised",
    "ReportInputs",
    "ValidationSummary",
    "judgement_section",
    "read_validation",
    "write_report",
]
