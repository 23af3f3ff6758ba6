"""Numerics on compiled models."""

if __name__ != "sciml.solvers":
    raise ImportError("this folder is the package sciml.solvers: import sciml.solvers, not solvers")

from ._choose import (
    choose_adjoint as choose_adjoint,
    choose_controller as choose_controller,
    choose_solver as choose_solver,
    choose_tolerances as choose_tolerances,
    with_working_root_finder as with_working_root_finder,
)
from ._draw import axes as axes
from ._paths import Path as Path, path as path
from ._results import is_traced as is_traced, refuse_missing as refuse_missing
from ._solution import Solution as Solution
from ._solve import (
    Field as Field,
    first_step as first_step,
    integrate as integrate,
    solve as solve,
)
from ._symplectic import ImplicitMidpoint as ImplicitMidpoint, StormerVerlet as StormerVerlet
