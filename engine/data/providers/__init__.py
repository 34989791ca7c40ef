"""Providers that fetch prices from outside; each loads only when it is asked for."""
