"""Expected-shortfall optimisation: one problem, three ways to solve it."""
