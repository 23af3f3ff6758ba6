"""Scientific machine learning for people who think in equations."""

from sciml import data as data, nn as nn
from sciml.dsl import (
    D as D,
    DataError as DataError,
    DeclarationError as DeclarationError,
    Eq as Eq,
    FitError as FitError,
    Model as Model,
    ModelError as ModelError,
    SciMLError as SciMLError,
    ShapeError as ShapeError,
    SolveError as SolveError,
    System as System,
    check as check,
    compile as compile,
    concatenate as concatenate,
    constant as constant,
    forcing as forcing,
    from_mechanics as from_mechanics,
    index as index,
    matmul as matmul,
    mean as mean,
    neural as neural,
    parameter as parameter,
    parameters as parameters,
    roll as roll,
    simplify as simplify,
    stack as stack,
    t as t,
    total as total,
    unknown as unknown,
    unknowns as unknowns,
)
from sciml.export import export as export
from sciml.plot import plot as plot
from sciml.solvers import Solution as Solution, solve as solve
from sciml.train import (
    Collocation as Collocation,
    Estimate as Estimate,
    Fit as Fit,
    GrowingHorizon as GrowingHorizon,
    MultipleShooting as MultipleShooting,
    SignatureFit as SignatureFit,
    fit as fit,
    fit_signature as fit_signature,
    signature as signature,
)
