"""Data in: universes, price panels, views as of a time, providers, portfolios."""
