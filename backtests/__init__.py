"""Backtests: from decisions at a close to fills, a ledger, and what it was worth."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
