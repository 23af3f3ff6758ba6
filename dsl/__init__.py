"""The language of models and its compiler."""

if __name__ != "sciml.dsl":
    raise ImportError("this folder is the package sciml.dsl: import sciml.dsl, not dsl")

from ._arrays import concatenate as concatenate
from ._arrays import constant as constant
from ._arrays import index as index
from ._arrays import matmul as matmul
from ._arrays import mean as mean
from ._arrays import roll as roll
from ._arrays import shape_of as shape_of
from ._arrays import stack as stack
from ._arrays import total as total
from ._compile import compile as compile
from ._equations import Eq as Eq
from ._equations import Equation as Equation
from ._errors import DataError as DataError
from ._errors import DeclarationError as DeclarationError
from ._errors import Fault as Fault
from ._errors import FitError as FitError
from ._errors import ModelError as ModelError
from ._errors import SciMLError as SciMLError
from ._errors import ShapeError as ShapeError
from ._errors import SolveError as SolveError
from ._mechanics import from_mechanics as from_mechanics
from ._neural import Neural as Neural
from ._neural import Table as Table
from ._neural import forcing as forcing
from ._neural import neural as neural
from ._show import table_html as table_html
from ._show import table_text as table_text
from ._show import text as expression_text
from ._symbols import D as D
from ._symbols import Parameter as Parameter
from ._symbols import Unknown as Unknown
from ._symbols import parameter as parameter
from ._symbols import parameters as parameters
from ._symbols import t as t
from ._symbols import unknown as unknown
from ._symbols import unknowns as unknowns
from ._system import System as System
from .check import check as check
from .codegen import Model as Model
from .simplify import simplify as simplify
