"""What did dated episodes do to each asset, and how is it known?

python -m backtests.studies.shock_history --out moves.csv
python -m backtests.studies.shock_history --episodes deepseek-monday --out m.parquet
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from backtests.studies import _arguments as study
from engine.errors import BallastError
from engine.shocks import library, replay


def main(tokens: Sequence[str] | None = None) -> None:
    """Replay the episodes on the prices; write one row per episode and asset."""
    parser = study.parser(__doc__ or "")
    parser.add_argument("--episodes", help="names with commas; all by default")
    given = parser.parse_args(tokens)

    panel = study.market(given)
    episodes = given.episodes.split(",") if given.episodes else list(library())
    rows = []
    for name in episodes:
        shock = replay(name, panel=panel)
        for ticker in panel.tickers:
            try:
                frame = shock.moves(panel.universe.select([ticker])).to_frame()
            except BallastError as error:  # no own history, no peers: say so
                row = {"asset": ticker, "basis": str(error)}
            else:
                row = frame[["asset", "move", "low", "high", "basis"]].iloc[0].to_dict()
            rows.append({"episode": name, "known_from": shock.known_from} | dict(row))
    study.save(given.out, pd.DataFrame(rows))


if __name__ == "__main__":
    main()
