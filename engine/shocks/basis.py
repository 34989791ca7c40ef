"""How each asset's move was obtained, in words."""

from __future__ import annotations

import numpy as np


def basis_words(
    universe, zero, unknown, by_lens, beta, band, driver, words, funds
) -> tuple[str, ...]:
    """One phrase per asset of a universe.

    Parameters
    ----------
    universe : Universe
    zero, unknown, by_lens : (N,) bool
        No earnings to lose; exposure unknown; the lens replaced the table.
    beta, band : (N,) or None, (N,)
        AI-basket beta and sector band.
    driver : float
        Log move of the basket.
    words : mapping of column to str
        Of the funds that are looked through.
    funds : FundTable
    """
    given = ~np.isnan(universe.ai_share).any(axis=1)
    out = []
    for i, role in enumerate(universe.role):
        if zero[i]:
            out.append("no earnings to lose: documented zero")
        elif by_lens[i] and beta is not None:
            text = f"propagated by AI-basket beta {beta[i]:.2f}"
            out.append(
                f"{text}, in place of {words[i]}" if i in words else f"{role}: {text}"
            )
        elif i in words:
            out.append(words[i])
        elif not unknown[i]:
            if role == "none":
                out.append("role none: no AI exposure stated")
            elif given[i]:
                source = universe.share_source[i] or "as given by the user"
                share = universe.ai_share[i, 1]
                out.append(f"{role}: AI share {share:.0%}, {source}")
            else:
                out.append(f"{role}: role midpoint, unsourced")
        else:
            worse = "sector band"
            if beta is not None and beta[i] * np.expm1(driver) < band[i] * np.expm1(
                driver
            ):
                worse = "AI-basket beta"
            detail = (
                "" if beta is None else f" (beta {beta[i]:.2f}, band {band[i]:.2f})"
            )
            why = funds.reason(universe.tickers[i])
            why = f"; not looked through: {why}" if why else ""
            out.append(f"exposure unknown: {worse}{detail}{why}")
    return tuple(out)
