"""Pictures."""

from ._plot import plot as plot
