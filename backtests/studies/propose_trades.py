"""Which trades bring the loss within a limit, and what do they cost?

python -m backtests.studies.propose_trades --book book.csv --limit 0.08 --out t.csv
python -m backtests.studies.propose_trades --also "Taiwan + Korea <= 0.15" --out t.csv
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from backtests.job import Settings, on_prices, prepare, propose_within, shock_limits
from backtests.studies import _arguments as study


def main(tokens: Sequence[str] | None = None) -> None:
    """Propose, print the reasons, and write the trades."""
    parser = study.parser(__doc__ or "")
    parser.add_argument("--book", type=Path, help="the demonstration's by default")
    parser.add_argument("--limit", type=float, help="severe loss; half of today's")
    parser.add_argument("--also", action="append", default=[], help="limit as text")
    parser.add_argument("--half-spread-bps", type=float, default=5.0)
    given = parser.parse_args(tokens)

    panel, book = study.market(given), study.book(given)
    settings = Settings(
        limit=given.limit,
        limits=tuple(given.also),
        window=given.window,
        n_scenarios=given.scenarios,
        seed=given.seed,
    )
    costs = replace(settings.costs, half_spread_bps=given.half_spread_bps)
    settings = replace(settings, costs=costs)
    view, priced, scenarios = prepare(book, panel, settings)
    settings = on_prices(settings, panel)
    caps = shock_limits(priced, scenarios, settings)
    proposal = propose_within(priced, scenarios, settings, caps, view)
    print(proposal.outcome.value, *proposal.sentences(), sep="\n")
    study.save(given.out, proposal.to_frame())


if __name__ == "__main__":
    main()
