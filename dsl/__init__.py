"""The language of models and its compiler."""

if __name__ != "sciml.dsl":
    raise ImportError("this folder is the package sciml.dsl: import sciml.dsl, not dsl")

from ._arrays import (
    concatenate as concatenate,
    constant as constant,
    index as index,
    matmul as matmul,
    mean as mean,
    roll as roll,
    stack as stack,
    total as total,
)
from ._calculus import (
    change_variables as change_variables,
    to_ito as to_ito,
    to_stratonovich as to_stratonovich,
)
from ._compile import compile as compile
from ._coordinates import (
    Coordinate as Coordinate,
    at as at,
    coordinate as coordinate,
    coordinates as coordinates,
)
from ._drivers import (
    Brownian as Brownian,
    Control as Control,
    brownian as brownian,
    control as control,
)
from ._equations import Eq as Eq, Equation as Equation
from ._errors import (
    DataError as DataError,
    DeclarationError as DeclarationError,
    Fault as Fault,
    FitError as FitError,
    ModelError as ModelError,
    ModelWarning as ModelWarning,
    SciMLError as SciMLError,
    ShapeError as ShapeError,
    SolveError as SolveError,
)
from ._geometry import (
    Geometry as Geometry,
    curl as curl,
    cylindrical as cylindrical,
    div as div,
    grad as grad,
    laplacian as laplacian,
    mapped as mapped,
    polar as polar,
    spherical as spherical,
)
from ._gradient import gradient as gradient
from ._integral import integral as integral
from ._mechanics import from_mechanics as from_mechanics
from ._neural import Neural as Neural, Table as Table, forcing as forcing, neural as neural
from ._nodes import shape_of as shape_of
from ._show import name_of as name_of, table_html as table_html, table_text as table_text, text
from ._symbols import (
    D as D,
    Parameter as Parameter,
    Unknown as Unknown,
    is_complex as is_complex,
    parameter as parameter,
    parameters as parameters,
    t as t,
    unknown as unknown,
    unknowns as unknowns,
)
from ._system import System as System
from .check import check as check, check_complete as check_complete
from .codegen import Model as Model, refuse_algebraic as refuse_algebraic
from .lower import (
    Chebyshev as Chebyshev,
    Scheme as Scheme,
    Semilinear as Semilinear,
    Staggered as Staggered,
    Volumes as Volumes,
    discretise as discretise,
    stretched as stretched,
)
from .simplify import simplify as simplify

expression_text = text
