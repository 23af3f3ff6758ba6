"""Costs of a solve: what is added to a loss so that a trained model is easy to solve."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from sciml.dsl import DeclarationError

_KINDS = ("error", "error_squared", "stiffness")
_PLACES = ("global", "local")
_SAMPLINGS = ("uniform", "steps")
_REDUCTIONS = ("sum", "mean", "max")


@dataclasses.dataclass(frozen=True)
class SolverCost:
    """What `solver_cost` or `taylor_cost` returns: one term of a loss, for ``regularise=``.

    Fields: the arguments that made it; `order`, of `taylor_cost`.
    """

    kind: str
    where: str = "global"
    sampling: str = "uniform"
    reduce: str = "sum"
    scaled: bool = True
    weight: float | Callable = 1.0
    rtol: float | None = None
    atol: float | None = None
    order: int = 0

    def weight_at(self, step: Any) -> Any:
        """The weight at a step of training, counted from 0."""
        return self.weight(step) if callable(self.weight) else self.weight

    @property
    def named(self) -> str:
        """As the user wrote it, for messages."""
        if self.kind == "taylor":
            return f"taylor_cost(order={self.order})"
        return f'solver_cost("{self.kind}", where="{self.where}")'


def solver_cost(
    kind: str = "error",
    *,
    where: str = "global",
    sampling: str = "uniform",
    reduce: str = "sum",
    scaled: bool = True,
    weight: float | Callable = 1.0,
    rtol: float | None = None,
    atol: float | None = None,
) -> SolverCost:
    """How hard a solve was, by the solver's own estimates: a term to add to a loss.

    With steps ``h_j`` from ``u_j`` to ``u_{j+1}``, of which only accepted ones count, the error
    estimate ``e_j``, and two stages ``g_x, g_y`` at one time with the rates ``k_x, k_y``::

        E_j = RMS(e_j / (atol + max(|u_j|, |u_{j+1}|) rtol))
        S_j = RMS(k_x - k_y) / RMS(g_x - g_y) / stability

    ===================  ======================  =======================  ======================
    kind                 reduce="sum"            "mean"                   "max"
    ===================  ======================  =======================  ======================
    ``error``            sum of ``E_j |h_j|``    mean of ``E_j |h_j|``    max of ``E_j |h_j|``
    ``error_squared``    sum of ``E_j^2``        mean of ``E_j^2``        max of ``E_j^2``
    ``stiffness``        sum of ``S_j |h_j|``    mean of ``S_j``          max of ``S_j``
    ===================  ======================  =======================  ======================

    Steps whose S_j is 0 or undefined do not count. Step sizes are constants for the gradient. The
    value depends on solver and tolerances, and a good weight with it.

    Arguments
      kind: "error", "error_squared" or "stiffness".
      where: "global", over all steps; the gradient goes through the solve, by a discrete adjoint:
        "checkpointed", "direct" or "forward". Or "local": one more step from a random time, of the
        size that an automatic first step has there (with noise, of the size that the solver took).
        The state there and the size are constants for the gradient, so that every adjoint serves;
        for Tsit5 and Dopri5, as published, the first stage too: that slows the rates down, which is
        most of the effect. It needs ``key=``.
      sampling: of that time: "uniform" over the interval, or one of the "steps" that were taken.
      reduce: over the steps: "sum", "mean" or "max".
      scaled: whether errors are in units of the tolerance and stiffness in units of the length of
        the solver's interval of stability, 3.5068 for Tsit5; otherwise ``RMS(e_j)``, and S_j
        in 1/time.
      weight: for `fit`: a number, or a function of the number of steps of training, such as
        ``optax.exponential_decay(100.0, 300, 0.1)``, from 100 to 10 in 300 steps.
      rtol, atol: to scale by; by default the tolerances of the step control, and its norm.

    Returns a `SolverCost`, for ``regularise=`` of `solve`, `fit` and `diffeqsolve`.

    Raises `DeclarationError` for other names.

    >>> import sciml as sm
    >>> x = sm.unknown("x")
    >>> decay = sm.System(sm.Eq(sm.D(x), -7 * x), initial={x: 1})
    >>> sol = sm.solve(decay, t=(0, 1), regularise=sm.solver_cost("stiffness", reduce="max"))
    >>> round(float(sol.stats["cost"]), 1)  # 7 / 3.5068
    2.0

    Source: Pal, Ma, Shah, Rackauckas, Opening the blackbox (2021), arXiv:2105.03918; Pal, Edelman,
    Rackauckas, Locally regularized neural differential equations (2023), arXiv:2303.02262.
    """
    cost = SolverCost(kind, where, sampling, reduce, scaled, weight, rtol, atol)
    _expect("kind", kind, _KINDS)
    _expect("where", where, _PLACES)
    _expect("sampling", sampling, _SAMPLINGS)
    _expect("reduce", reduce, _REDUCTIONS)
    _refuse_weight(weight)
    if (rtol is None) != (atol is None):
        raise DeclarationError("rtol and atol scale together: give both, or neither")
    if rtol is not None and atol is not None and not (rtol >= 0 and atol >= 0 and rtol + atol > 0):
        raise DeclarationError(f"rtol={rtol}, atol={atol}: tolerances are positive numbers")
    return cost


def taylor_cost(order: int = 3, *, weight: float | Callable = 1.0) -> SolverCost:
    """How far a solution is from a polynomial: the square of a high derivative along it.

    ``R_K = int |d^K u / dt^K|^2 dt``

    The derivative is taken by Taylor mode through the equations, at the stages of each accepted
    step, and the integral by the solver's own weights, as if it were one more unknown, but steps do
    not follow it. The norm is the sum of squares. A baseline for `solver_cost`: each stage costs
    about `order` squared evaluations more.

    Arguments: `order`, K, at least 1; `weight`, as for `solver_cost`.

    Returns a `SolverCost`. Raises `DeclarationError` for an order that is no positive whole number.

    >>> import sciml as sm
    >>> x = sm.unknown("x")
    >>> decay = sm.System(sm.Eq(sm.D(x), -x), initial={x: 1})
    >>> sol = sm.solve(decay, t=(0, 1), regularise=sm.taylor_cost(2))
    >>> round(float(sol.stats["cost"]), 4)  # the integral of exp(-2 t)
    0.4323

    Source: Kelly, Bettencourt, Johnson, Duvenaud, Learning differential equations that are easy to
    solve (2020), arXiv:2007.04504.
    """
    if not (isinstance(order, int) and order >= 1):
        raise DeclarationError(f"order is a positive whole number, not {order!r}")
    _refuse_weight(weight)
    return SolverCost("taylor", weight=weight, order=order)


def read_costs(regularise: Any) -> tuple[SolverCost, ...]:
    """The costs that the option `regularise` names, none, one or several.

    Raises `DeclarationError` for what is no cost.
    """
    if regularise is None:
        return ()
    costs = (regularise,) if isinstance(regularise, SolverCost) else regularise
    if isinstance(costs, tuple | list) and all(isinstance(c, SolverCost) for c in costs):
        return tuple(costs)
    raise DeclarationError(
        "regularise is a cost, such as sm.solver_cost(), or a tuple of several, "
        f"not {type(regularise).__name__}"
    )


def weighted_cost(costs: tuple[SolverCost, ...], values: Any, step: Any, dtype: Any) -> Any:
    """The sum of the values of several costs, each times its weight at a step of training."""
    total = jnp.zeros((), dtype)
    for cost, value in zip(costs, values, strict=True):
        total = total + jnp.asarray(cost.weight_at(step), dtype) * value
    return total


def unweighted(regularise: Any) -> Any:
    """The same without weights, which are no part of a solve: it is then compiled once."""
    costs = tuple(dataclasses.replace(cost, weight=1.0) for cost in read_costs(regularise))
    return costs[0] if isinstance(regularise, SolverCost) else costs


def _expect(option: str, given: Any, names: tuple[str, ...]) -> None:
    if given not in names:
        known = ", ".join(f'"{name}"' for name in names)
        raise DeclarationError(f"{option} is one of {known}, not {given!r}")


def _refuse_weight(weight: Any) -> None:
    if not callable(weight) and not (isinstance(weight, int | float) and np.isfinite(weight)):
        raise DeclarationError(
            "weight is a number, or a function of the number of steps of training, such as "
            f"optax.exponential_decay(100.0, 300, 0.1), not {weight!r}"
        )
