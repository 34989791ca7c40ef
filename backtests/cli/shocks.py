"""`ballast shocks`: presets, dated episodes, their replay, and the validation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from backtests.cli.examples import epilogue
from backtests.cli.options import Prices, Shock
from engine.errors import UsageError

shocks_app = App(
    name="shocks",
    help="Presets, dated episodes, their replay, and the validation on real prices.",
    help_format="plaintext",
    help_epilogue=epilogue("shocks"),
)
Json = Annotated[bool, Parameter(negative=())]


@shocks_app.default
def presets(
    *,
    shock: Shock | None = None,
    source: Prices | None = None,
    moves: Annotated[bool, Parameter(negative=())] = False,
    window: int = 504,
    json: Json = False,
) -> None:
    """List the presets, or the move of every asset under one of them.

    Parameters
    ----------
    shock
        Which shock.
    source
        Where prices come from.
    moves
        Show the move, band and basis of every asset of the prices.
    window
        Sessions used for the AI-basket betas.
    json
        Print JSON.
    """
    from backtests.cli import inspect

    inspect.shocks(
        shock or Shock(), source or Prices(), moves=moves, window=window, json=json
    )


@shocks_app.command(help_epilogue=epilogue("shocks library"))
def library(*, json: Json = False) -> None:
    """List the dated episodes that can be replayed.

    Parameters
    ----------
    json
        Print JSON.
    """
    from backtests.cli import show
    from engine.shocks import library as episodes

    found = episodes()
    if json:
        show.emit_json(
            {"episodes": found.to_frame().to_dict("records")}, "shocks-library"
        )
        return
    print(found)


@shocks_app.command(help_epilogue=epilogue("shocks check"))
def check(path: Path, /, *, json: Json = False) -> None:
    """Read a scenario file without prices: what it holds, or what is wrong with it.

    Names of assets, and whether views can hold together, are checked where it is used.

    Parameters
    ----------
    path
        A scenario file in TOML.
    json
        Print JSON.
    """
    import numpy as np

    from backtests.cli import show
    from engine.shocks.files import kind_of, read_scenarios

    found = read_scenarios(path)
    parts = {id(s) for s in found.parts}
    rows = [
        {
            "name": s.name,
            "kind": kind_of(s),
            "limit": found.limits.get(s.name),
            "known_from": None if np.isnat(s.known_from) else str(s.known_from),
            "alone": id(s) not in parts,
            "citation": s.citation,
            "note": getattr(s, "note", ""),
        }
        for s in (*found.shocks, *found.parts)
    ]
    if json:
        show.emit_json({"file": str(path), "shocks": rows}, "shocks-check")
        return
    cells = [
        (
            r["name"],
            r["kind"],
            show.percent(r["limit"]),
            r["known_from"]
            or ("the model's date" if hasattr(s, "search") else "no date"),
            "yes" if r["alone"] else "in a mixture",
            r["citation"],
        )
        for r, s in zip(rows, (*found.shocks, *found.parts), strict=True)
    ]
    columns = ["shock", "kind", "limit", "known from", "alone", "source"]
    print(show.table(columns, cells))


@shocks_app.command(help_epilogue=epilogue("shocks replay"))
def replay(name: str, /, *, source: Prices | None = None, json: Json = False) -> None:
    """Show what an episode did to every asset of the prices, and how it is known.

    Parameters
    ----------
    name
        An episode of "ballast shocks library", or START..END.
    source
        Where prices come from.
    json
        Print JSON.
    """
    from backtests.cli import show
    from engine.errors import ModelError
    from engine.shocks import replay as make

    panel = (source or Prices()).load()
    first, dots, last = name.partition("..")
    shock = make((first, last) if dots else name, panel=panel)
    tickers, refused = [], []
    for ticker in panel.tickers:
        try:
            shock.moves(panel.universe.select([ticker]))
            tickers.append(ticker)
        except ModelError:
            refused.append(ticker)
    if not tickers:
        raise UsageError("nothing of these prices can be replayed", received=name)
    frame = shock.moves(panel.universe.select(tickers)).to_frame()
    rows = frame[["asset", "move", "low", "high", "basis"]].sort_values("move")
    if json:
        show.emit_json(
            {
                "name": shock.name,
                "known_from": str(shock.known_from),
                "citation": shock.citation,
                "synthetic": panel.synthetic,
                "no_way_to_replay": refused,
                "moves": rows.to_dict("records"),
            },
            "shocks-replay",
            panel=panel,
        )
        return
    if panel.synthetic:
        show.stamps(["SYNTHETIC prices: own histories never happened."])
    print(f"{shock.name}: {shock.citation}; known from {shock.known_from}\n")
    cells = [
        (r["asset"], *(show.percent(r[k]) for k in ("move", "low", "high")), r["basis"])
        for r in rows.to_dict("records")
    ]
    print(show.table(["asset", "move", "5%", "95%", "basis"], cells))
    if refused:
        print(f"\nno way to replay: {', '.join(refused)}")


@shocks_app.command(help_epilogue=epilogue("shocks validate"))
def validate(
    *,
    source: Prices | None = None,
    out: Path | None = None,
    json: Json = False,
) -> None:
    """Compare the model and every baseline with 27 January 2025 on real prices.

    Parameters
    ----------
    source
        Total-return prices (wide files, several with commas) and --universe.
    out
        Write the page to this .html file or folder.
    json
        Print JSON.
    """
    from backtests.cli import show
    from backtests.validation import load_prices, write_page
    from backtests.validation import validate as run

    source = source or Prices()
    if source.prices == "reference":
        raise UsageError(
            "validation needs real prices: the reference market has the day planted",
            fix="Give --prices FILES --universe FILE.",
        )
    if source.universe is None:
        raise UsageError("validation needs --universe: venues, currencies, roles")
    result = run(
        load_prices(source.source(), universe=source.universe, currency=source.currency)
    )
    written = None
    if out is not None:
        target = out if out.suffix == ".html" else out / "validation.html"
        written = write_page(target, result)
    if json:
        show.emit_json(
            result.to_dict() | {"report": written and str(written)}, "shocks-validate"
        )
        return
    for title, frame in (("all names", result.table), ("common", result.common)):
        print(f"\n{title}")
        print(
            show.table(
                ["predictor", "n", "R2", "rho", "MAE", "bias", "hits", "has seen"],
                [
                    (
                        name,
                        row["n"],
                        f"{row['r2']:.2f}",
                        f"{row['spearman']:.2f}",
                        show.percent(row["mae"]),
                        show.percent(row["bias"]),
                        show.percent(row["balanced_hits"]),
                        row["seen"],
                    )
                    for name, row in frame.iterrows()
                ],
            )
        )
    print("\n" + "\n".join(result.words()))
    print("\nrisers\n" + result.risers().round(3).to_string(index=False))
    for name, why in result.dropped.items():
        print(f"left out: {name}, {why}")
    if written is not None:
        print(f"\nreport: {written}")
