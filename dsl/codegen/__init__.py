"""Code generation: a simplified system to an Equinox module with readable JAX source."""

from .model import Model as Model
from .model import lower as lower
from .program import Function as Function
from .program import Program as Program
