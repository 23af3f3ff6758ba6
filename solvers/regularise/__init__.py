"""Models that are easy to solve: costs from the solver's own estimates, and their baselines."""
