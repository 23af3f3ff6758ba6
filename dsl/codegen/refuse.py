"""What takes ordinary differential equations alone refuses algebraic ones, by name."""

from __future__ import annotations

from .._errors import DeclarationError
from .model import Model

_MOST = 6  # so many unknowns are named


def refuse_algebraic(model: Model, what: str, cure: str) -> None:
    """Raises `DeclarationError` if there are algebraic equations: `what` takes none, so `cure`.

    >>> import sciml as sm
    >>> x, z = sm.unknowns("x z")
    >>> model = sm.compile(sm.System(sm.Eq(sm.D(x), -z), sm.Eq(z**3 + z, x)))
    >>> sm.dsl.refuse_algebraic(model, "export", "define z")
    Traceback (most recent call last):
    sciml.dsl._errors.DeclarationError: export takes no algebraic equations, ... for z: define z
    """
    names = list(model.program.residuals)
    if names:
        more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
        raise DeclarationError(
            f"{what} takes no algebraic equations, and the system has some, for "
            f"{', '.join(names[:_MOST])}{more}: {cure}"
        )
