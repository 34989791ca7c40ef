"""Optimisation behind `propose`: problem, solvers, infeasibility."""
