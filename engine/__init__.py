"""Ballast: stress, propose and backtest a cheap-efficient-model shock.

Public names load on first use: ``import engine`` brings in neither pandas, numba,
scipy nor cvxpy.
"""

import lazy_loader as _lazy

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
