"""Code generation: a simplified system to an Equinox module with readable JAX source."""

from .model import Model as Model, lower as lower
from .program import Function as Function, Program as Program, State as State
from .refuse import refuse_algebraic as refuse_algebraic
