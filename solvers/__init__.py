"""Numerics on compiled models."""

if __name__ != "sciml.solvers":
    raise ImportError("this folder is the package sciml.solvers: import sciml.solvers, not solvers")

from ._choose import choose_controller as choose_controller
from ._choose import choose_solver as choose_solver
from ._choose import choose_tolerances as choose_tolerances
from ._choose import with_working_root_finder as with_working_root_finder
from ._draw import axes as axes
from ._results import is_traced as is_traced
from ._results import refuse_missing as refuse_missing
from ._solution import Solution as Solution
from ._solve import integrate as integrate
from ._solve import solve as solve
