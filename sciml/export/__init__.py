"""Export of compiled models to files that need jax alone."""

from ._errors import ExportError as ExportError
from ._export import export as export
