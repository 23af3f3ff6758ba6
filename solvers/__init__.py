"""Numerics on compiled models."""

if __name__ != "sciml.solvers":
    raise ImportError("this folder is the package sciml.solvers: import sciml.solvers, not solvers")
