"""Strategies: two methods, one to estimate without a book, one to propose for it."""
