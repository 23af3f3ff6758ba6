"""The error of `export`."""

from sciml.dsl import SciMLError


class ExportError(SciMLError, ValueError):
    """A model cannot be written to the place, or in the form, that was asked for."""
