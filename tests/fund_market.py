"""A market whose fund is a known mix of baskets of companies."""

import numpy as np

from engine import PricePanel, Universe

TRUE = {
    "accelerator": 0.4,
    "power_gen": 0.25,
    "none:Japan": 0.2,
    "none:United States": 0.15,
}
SIZE = {
    "accelerator": 4,
    "power_gen": 3,
    "none:Japan": 4,
    "none:United States": 5,
    "software": 3,
}


def make(seed, *, weights=TRUE, days=300, noise=0.002, leverage=1.0):
    """Panel of companies in baskets, a bond, an equity fund FOF, and the fund F."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    market = 0.008 * rng.standard_normal((days, 1))
    columns, rows, means = {}, [], {}
    for label, size in SIZE.items():
        common = market + 0.01 * rng.standard_normal((days, 1))
        moves = common + 0.012 * rng.standard_normal((days, size))
        means[label] = moves.mean(axis=1)
        role, _, country = label.partition(":")
        for j in range(size):
            name = f"{label[:3]}{country[:1]}{j}"
            columns[name] = moves[:, j]
            rows.append((name, "equity", role, country or "United States"))
    own = noise * rng.standard_normal(days)
    own += leverage * sum(w * means[x] for x, w in weights.items())
    columns["BOND"] = 0.004 * rng.standard_normal(days)
    columns["F"], columns["FOF"] = own, own
    rows += [("BOND", "etf_bond", "none", "United States")]
    rows += [(x, "etf_equity", "unknown", "United States") for x in ("F", "FOF")]
    name, kind, role, country = zip(*rows, strict=True)
    exposed = [r not in ("none", "unknown") for r in role]
    start = np.datetime64("2023-06-01")
    universe = Universe(
        name,
        asset_class=kind,
        role=role,
        country=country,
        venue=("NYSE",) * len(name),
        quote_currency=("USD",) * len(name),
        role_known_from=np.where(exposed, start, np.datetime64("NaT")),
    )
    prices = 50 * np.cumprod(1 + np.column_stack([columns[x] for x in name]), axis=0)
    dates = np.busday_offset("2023-06-01", np.arange(days))
    return PricePanel(dates, prices, universe, "total_return", "USD")
