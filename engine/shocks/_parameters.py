"""Parameters of the cheap-model shock: default, range, law, correlation, source."""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple

from engine.shocks.arguments import LETTERS
from engine.shocks.chain import DEFAULTS, LIMITS
from engine.shocks.severity import DIAL_RANGES, RANGES

_JUDGEMENT = "judgement"
_CERTAIN = "certain: not drawn"
_TWO_PIECE = "two-piece normal, value as median"
_LOG_TWO_PIECE = "two-piece normal in logs, value as median"
_BETA = "beta, value as mean"
_DIAL = "certain at its default; else beta of shapes summing to 12, value as mean"
_RERATING = "certain at 0; else normal, 30% of the value either side as 5-95%"


class Parameter(NamedTuple):
    """One parameter of `engine.CheapModelShock`.

    Attributes
    ----------
    name, meaning, unit, law, correlation, source : str
    default : float
    domain : (float, float)
        Outside it a value is refused.
    """

    name: str
    letter: str
    """Of the methods; empty where it has none."""
    meaning: str
    unit: str
    default: float
    range: tuple[float, float] | None
    """5% and 95% points, or what a reader should consider for a dial; None where the
    parameter is a convention."""
    domain: tuple[float, float]
    law: str
    correlation: str
    source: str


_NOTES = MappingProxyType(
    {
        "cost_ratio": (
            "cost of the old model over the new",
            "ratio",
            _LOG_TWO_PIECE,
            "-0.5 with credibility (judgement)",
            "claimed USD 5.6m of training compute against USD 100-500m for US frontier "
            "models; press claims of 20-50x cheaper use",
        ),
        "credibility": (
            "share of the claimed cost cut that is believed",
            "share",
            _BETA,
            "-0.5 with cost_ratio (judgement)",
            "the compute figure excludes research, failed runs and hardware; analysts "
            "disputed it",
        ),
        "priced_in_trend": (
            "fall of costs a year already in prices",
            "ratio a year",
            _LOG_TWO_PIECE,
            "",
            "a16z LLMflation (2024): 10x a year; Stanford AI Index 2025: 280x in 23 "
            "months; Epoch AI (2024): compute need halves every 8 months",
        ),
        "trend_years": (
            "years of that trend that had passed",
            "years",
            _TWO_PIECE,
            "",
            _JUDGEMENT,
        ),
        "training_share": (
            "training's share of compute demand",
            "share",
            "beta with the range's points; its median is 0.45",
            "",
            "inference from a third (2023) to two thirds (2026) of compute (Deloitte)",
        ),
        "elasticity_training": (
            "price elasticity of demand for training",
            "elasticity",
            _TWO_PIECE,
            "0.6 with elasticity_inference (judgement)",
            "judgement: budgets and export limits bind; no estimate found",
        ),
        "elasticity_inference": (
            "price elasticity of demand for use",
            "elasticity",
            _TWO_PIECE,
            "0.6 with elasticity_training (judgement)",
            "short-run token elasticity about 1.1 (Demirer, Fradkin, Tadelis, Peng "
            "2025)",
        ),
        "gap_years": (
            "years over which the revenue gap opens",
            "years",
            _TWO_PIECE,
            "",
            "planning horizon of capital spending",
        ),
        "growth_years": (
            "years of growth above the long run",
            "years",
            _CERTAIN,
            "",
            "convention: gives L(3) = 0.969",
        ),
        "growth_short": (
            "earnings growth in the first year",
            "a year",
            _CERTAIN,
            "",
            "convention: gives L(3) = 0.969",
        ),
        "growth_long": (
            "earnings growth in the long run",
            "a year",
            _CERTAIN,
            "",
            "convention: gives L(3) = 0.969",
        ),
        "discount_rate": (
            "discount rate of earnings and savings",
            "a year",
            _CERTAIN,
            "",
            "convention: gives L(3) = 0.969",
        ),
        "severity": (
            "multiple of the structural log move, winners and fee erosion included",
            "multiple",
            _CERTAIN,
            "",
            "1 is the preset as written",
        ),
        "erosion_scale": (
            "multiple of the table's fee erosion d",
            "multiple",
            _CERTAIN,
            "",
            "judgement: open models are 90% cheaper yet hold under 30% of tokens "
            "(Demirer et al. 2025), so erosion is partial; consider 0-3",
        ),
        "adoption_scale": (
            "multiple of the table's adoption benefit v",
            "multiple",
            _CERTAIN,
            "",
            "judgement; consider 0-3",
        ),
        "market_move": (
            "move of the market proxy, passed on by beta",
            "simple return",
            _CERTAIN,
            "",
            "near zero on 27 January 2025: the equal-weighted S&P 500 rose 0.07%",
        ),
        "previous_generation_share": (
            "share of compute demand that moves to older processors",
            "share",
            _DIAL,
            "",
            "judgement; off by default",
        ),
        "previous_generation_price_ratio": (
            "price of a unit of compute on older processors over the newest",
            "ratio",
            "certain at its default; else beta of shapes summing to 12",
            "",
            "judgement; 0 means that processors already installed are used again",
        ),
        "open_source_share": (
            "share of model demand on open weights: scales fee erosion by o / 0.30",
            "share",
            _DIAL,
            "",
            "open models held under 30% of tokens (Demirer et al. 2025): where the "
            "table's d was set",
        ),
        "capex_cut": (
            "share of announced capital plans cut, in place of the elasticities",
            "share",
            _DIAL,
            "",
            "judgement; off by default: afterwards plans rose (Alphabet from USD 75bn "
            "to 91-93bn for 2025)",
        ),
        "relief_kept": (
            "share of saved AI capital spending that payers keep",
            "share",
            _DIAL,
            "",
            "judgement; 0: all of it is spent again",
        ),
        "overseas_rerating": (
            "re-rating of overseas leaders in efficient models",
            "log",
            _RERATING,
            "",
            "judgement; off by default. Hong Kong on 27 January 2025: Alibaba +2.95%, "
            "Tencent +1.28%",
        ),
        "platform_rerating": (
            "re-rating of hyperscalers, software, devices at the persistent horizon",
            "log",
            _RERATING,
            "",
            "judgement; -1.44 in substitution_persistent: between the 64% and the 84% "
            "that platform software lost in 2000-02",
        ),
        "persistence": (
            "multiple of a fall's log move at the persistent horizon",
            "multiple",
            "two-piece normal in logs, 0.5 and 1.5 times the value as 5-95% points",
            "",
            "judgement: with substitution, network companies lose what carrier-"
            "equipment makers lost in 2000-02 (89-99%)",
        ),
    }
)


def parameters() -> tuple[Parameter, ...]:
    """Return the documentation of every parameter, in the order of the defaults.

    Returns
    -------
    tuple of Parameter

    Examples
    --------
    >>> first = parameters()[0]
    >>> first.name, first.letter, first.default, first.range
    ('cost_ratio', 'k', 20.0, (5.0, 50.0))
    """
    letters = {word: letter for letter, word in LETTERS.items()}
    ranges = dict(RANGES) | dict(DIAL_RANGES)
    letters |= {"severity": "lambda", "discount_rate": "rho", "growth_years": "n"}
    letters |= {"growth_short": "g_S", "growth_long": "g_L"}
    out = []
    for name, default in DEFAULTS.items():
        meaning, unit, law, correlation, source = _NOTES[name]
        out.append(
            Parameter(
                name,
                letters.get(name, ""),
                meaning,
                unit,
                float(default),
                ranges.get(name),
                LIMITS.get(name, (0.0, float("inf"))),
                law,
                correlation,
                source,
            )
        )
    return tuple(out)
