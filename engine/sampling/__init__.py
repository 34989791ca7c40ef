"""Variance reduction and rare events: estimates of a book's losses with fewer paths."""

from engine.sampling._book import DeltaGamma
from engine.sampling._design import METHODS
from engine.sampling._estimate import Estimate, estimate
from engine.sampling._functional import (
    Functional,
    expectation,
    expected_shortfall,
    mean_loss,
    tail_probability,
    value_at_risk,
)
from engine.sampling._scenarios import scenarios

__all__ = [
    "METHODS",
    "DeltaGamma",
    "Estimate",
    "Functional",
    "estimate",
    "expectation",
    "expected_shortfall",
    "mean_loss",
    "scenarios",
    "tail_probability",
    "value_at_risk",
]
