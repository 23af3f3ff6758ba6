"""Solution: values over time, asked for by symbol."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import sympy
from jaxtyping import Array, Float

from sciml.dsl import DeclarationError, Model

from ._results import is_traced


class Instants(eqx.Module):
    """The state at one time, or at several: ``sol(2.5)[x]``, ``sol(times)[x + y]``."""

    model: Model
    ts: Float[Array, "*time"]
    ys: Float[Array, "*time state"]

    def __getitem__(self, expression: Any) -> Array:
        """Values of an expression of declared symbols, or of a symbol by name.

        The shape is (time, ...) with the expression's own shape last; parameters have no time.
        """
        return values_of(self.model, expression, self.ts, self.ys)


class Solution(eqx.Module):
    """What a solve returns; also a pytree, so that `jit`, `vmap` and `grad` go through it.

    Fields: `ts`, saved times; `ys`, states there, in the order of ``model.states``; `model`;
    `stats`, counts of steps; `result`, Diffrax's; `interpolation`, dense output or None.
    """

    model: Model
    ts: Float[Array, "*batch time"]
    ys: Float[Array, "*batch time state"]
    interpolation: Any
    stats: dict[str, Any]
    result: Any

    def __getitem__(self, expression: Any) -> Array:
        """Values of an expression at the saved times: ``sol[x]``, ``sol[x + y]``, ``sol["x"]``.

        The shape is (time, ...) with the expression's own shape last; parameters have no time.
        Raises `DeclarationError` for a symbol that is not in the system.
        """
        return values_of(self.model, expression, self.ts, self.ys)

    def __call__(self, t: Any) -> Instants:
        """The solution at any time (or array of times) of the solved interval.

        Raises `DeclarationError` without dense output, and beyond the interval.
        """
        if self.interpolation is None:
            raise DeclarationError(
                "this solution has no dense output: solve with saveat=diffrax.SaveAt(dense=True), "
                "or with the times wanted, saveat=[...]"
            )
        ts = jnp.asarray(t, self.ys.dtype)
        if not is_traced(ts, self.interpolation):
            ends = sorted((float(self.interpolation.t0), float(self.interpolation.t1)))
            slack = 1e-6 * (ends[1] - ends[0])
            if np.any(ts < ends[0] - slack) or np.any(ts > ends[1] + slack):
                raise DeclarationError(f"t = {t} is outside the solved interval {tuple(ends)}")
        flat = jax.vmap(self.interpolation.evaluate)(jnp.ravel(ts))
        return Instants(self.model, ts, jnp.reshape(flat, (*ts.shape, flat.shape[-1])))

    def to_pandas(self) -> Any:
        """A DataFrame: one row for each time, one column for each scalar unknown or observed."""
        import pandas as pd

        columns = {}
        for name, values in self._series().items():
            for key in np.ndindex(*values.shape[1:]):
                label = f"{name}[{', '.join(map(str, key))}]" if key else name
                columns[label] = values[(slice(None), *key)]
        return pd.DataFrame(columns, index=pd.Index(np.asarray(self.ts), name="t"))

    def to_xarray(self) -> Any:
        """A Dataset over `t`, with the units and descriptions of the symbols as attributes."""
        import xarray as xr

        variables = {}
        symbols = self.model.symbols
        for name, values in self._series().items():
            dims = ["t", *(f"{name}_{axis}" for axis in range(values.ndim - 1))]
            symbol = symbols[name]
            about = {k: getattr(symbol, k, None) for k in ("unit", "description")}
            attributes = {("units" if k == "unit" else k): v for k, v in about.items() if v}
            variables[name] = (dims, values, attributes)
        return xr.Dataset(variables, coords={"t": np.asarray(self.ts)})

    def _series(self) -> dict[str, np.ndarray]:
        names = [s.name for s in self.model.states]
        names += [str(symbol) for symbol in self.model.program.system.observed]
        return {name: np.asarray(self[name]) for name in names}

    def plot(self, *expressions: Any, ax: Any = None) -> Any:
        """Draws expressions over time (every unknown, if none is named); returns the axes."""
        from ._draw import draw_solution

        return draw_solution(self, expressions, ax)

    def __str__(self) -> str:
        if is_traced(self.ts):
            return f"Solution of {self.model.system.name or 'model'}, traced"
        counts = ", ".join(f"{k} {v}" for k, v in self.stats.items() if v is not None)
        names = ", ".join(s.name for s in self.model.states)
        ts = np.asarray(self.ts)
        span = f"{ts.shape[-1]} times" + (f", t = {ts.min():g} to {ts.max():g}" if ts.size else "")
        return f"Solution of {names}: {span}\n{counts}"

    __repr__ = __str__

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": str(self)}


def values_of(model: Model, wanted: Any, ts: Array, ys: Array) -> Array:
    """Values of an expression at states `ys` and times `ts` of any shape."""
    expression = model.expression(wanted)
    if expression == sympy.Symbol("t"):
        return ts
    for piece in model.states:
        if piece.symbol == expression:
            return jnp.reshape(ys[..., piece.slice], (*ys.shape[:-1], *piece.shape))
    if isinstance(expression, sympy.Symbol) and expression.name in model.parameters:
        return model.parameters[expression.name]
    return _evaluate(model, model.program.observe([expression]), ts, ys)


@eqx.filter_jit
def _evaluate(model: Model, function: Any, ts: Array, ys: Array) -> Array:
    constants = function.constants(model.parameters, ys.dtype)

    def one(t: Array, y: Array) -> Array:
        (value,) = function(t, y, constants, model.networks)
        return jnp.asarray(value, y.dtype)

    for _ in range(ts.ndim):
        one = jax.vmap(one)
    return one(ts, ys)
