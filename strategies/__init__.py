"""Strategies: two methods, one to estimate without a book, one to propose for it."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
