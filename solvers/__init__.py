"""Numerics on compiled models."""

if __name__ != "sciml.solvers":
    raise ImportError("this folder is the package sciml.solvers: import sciml.solvers, not solvers")

from ._choose import (
    choose_adjoint as choose_adjoint,
    choose_controller as choose_controller,
    choose_solver as choose_solver,
    choose_tolerances as choose_tolerances,
    with_tolerances_of as with_tolerances_of,
    with_working_root_finder as with_working_root_finder,
)
from ._draw import axes as axes
from ._gauss_adjoint import GaussAdjoint as GaussAdjoint
from ._knots import KnotSteps as KnotSteps
from ._log_path import log_path as log_path
from ._log_signature import (
    log_signature as log_signature,
    log_signature_size as log_signature_size,
)
from ._paths import Path as Path, path as path, with_controls as with_controls
from ._results import is_traced as is_traced, refuse_missing as refuse_missing
from ._reversible import Reversible as Reversible
from ._reversible_adjoint import ReversibleAdjoint as ReversibleAdjoint
from ._signature import signature as signature
from ._solution import Solution as Solution
from ._solve import (
    Field as Field,
    first_step as first_step,
    integrate as integrate,
    solve as solve,
)
from ._steady import steady as steady
from ._symplectic import ImplicitMidpoint as ImplicitMidpoint, StormerVerlet as StormerVerlet
from .linear import (
    KLU as KLU,
    BlockJacobi as BlockJacobi,
    BlockTridiagonal as BlockTridiagonal,
    Dense as Dense,
    Diagonal as Diagonal,
    Krylov as Krylov,
    SparseLU as SparseLU,
    StructuredSolver as StructuredSolver,
    Unrolled as Unrolled,
    choose_structure as choose_structure,
)
from .regularise._cost import (
    SolverCost as SolverCost,
    read_costs as read_costs,
    solver_cost as solver_cost,
    taylor_cost as taylor_cost,
    weighted_cost as weighted_cost,
)
from .regularise._difficulty import Difficulty as Difficulty, solver_difficulty as solver_difficulty
from .regularise._run import diffeqsolve as diffeqsolve
from .regularise._steer import steer as steer
from .stepping._bdf import BDF as BDF
from .stepping._chebyshev import RKC as RKC
from .stepping._exponential import ETDRK4 as ETDRK4
from .stepping._radau import Radau5 as Radau5
from .stepping._rosenbrock import Rodas5P as Rodas5P, Rosenbrock23 as Rosenbrock23
from .stepping._switching import Switching as Switching
