"""One company per role, for tests of the structural shock."""

import numpy as np

from engine import Universe
from engine.data.roles import ROLES

NAMED = tuple(r for r in ROLES if r not in ("none", "unknown"))


def companies(roles=NAMED, shares=None):
    """Universe of equities; ``shares`` certain AI shares, else the role's band."""
    share = None if shares is None else np.repeat(np.array(shares)[:, None], 3, axis=1)
    extra = {} if share is None else {"ai_share": share}
    tickers = tuple(f"{r}{i}" for i, r in enumerate(roles))
    return Universe(
        tickers, role=tuple(roles), asset_class=("equity",) * len(roles), **extra
    )


def move_of(shock, role, share=None):
    """Central log move of one company."""
    universe = companies((role,), None if share is None else (share,))
    return float(np.log1p(shock.moves(universe).central[0]))
