"""Solution: values over time, asked for by symbol."""

from __future__ import annotations

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import sympy
from jaxtyping import Array, Float
from sympy.logic.boolalg import Boolean

from sciml.dsl import DeclarationError, Model, table_html, table_text

from ._results import is_traced


class Instants(eqx.Module):
    """The state at one time, or at several: ``sol(2.5)[x]``, ``sol(times)[x + y]``."""

    model: Model
    ts: Float[Array, "*time"]
    ys: Float[Array, "*time state"]
    places: dict[str, Any] = eqx.field(default_factory=dict)

    def __getitem__(self, expression: Any) -> Array:
        """Values of an expression of declared symbols, or of a symbol by name.

        The shape is (time, ...) with the expression's own shape last; parameters have no time. Of a
        field, at the places that were given.
        """
        values = values_of(self.model, expression, self.ts, self.ys)
        return self._at_places(values, expression) if self.places else values

    def _at_places(self, values: Array, expression: Any) -> Array:
        fields: Any = self.model.program.fields
        own = self.model.coordinates_of(expression)
        for axis in reversed(range(len(own))):
            if own[axis].name not in self.places:
                continue
            wanted = self.places[own[axis].name]
            matrix = jnp.asarray(fields.interpolation(own[axis], wanted), values.dtype)
            along = values.ndim - len(own) + axis
            values = jnp.moveaxis(jnp.tensordot(values, matrix, ((along,), (1,))), -1, along)
            if np.ndim(wanted) == 0:
                values = jnp.squeeze(values, along)
                own = own[:axis] + own[axis + 1 :]
        return values


class Solution(eqx.Module):
    """What a solve returns; also a pytree, so that `jit`, `vmap` and `grad` go through it.

    Fields: `ts`, saved times (one that means nothing, of a steady state, which has no axis of
    time); `ys`, states there, in the order of ``model.states``; `model`;
    `stats`, counts of steps; `result`, Diffrax's; `interpolation`, dense output or None; `method`,
    which solver was taken, and why.
    """

    model: Model
    ts: Float[Array, "*time"]
    ys: Float[Array, "*time state"]
    interpolation: Any
    stats: dict[str, Any]
    result: Any
    method: str = eqx.field(static=True, default="")

    def __getitem__(self, expression: Any) -> Array:
        """Values of an expression at the saved times: ``sol[x]``, ``sol[x + y]``, ``sol["x"]``.

        The shape is (time, ...) with the expression's own shape last; parameters have no time; the
        axes of a batch, as `vmap` makes it, come first.
        Raises `DeclarationError` for a symbol that is not in the system.
        """
        return values_of(self.model, expression, self.ts, self.ys)

    @property
    def is_steady(self) -> bool:
        """Whether this is a steady state, which has no times."""
        return self.ts.ndim == _batch_axes(self.model)

    def __call__(self, t: Any = None, **places: Any) -> Instants:
        """The solution at any time (or array of times) of the solved interval.

        Of fields also at places, ``sol(t=0.3, s=0.5)[u]``: a number or several for each coordinate.
        A steady state has places alone, ``sol(s=0.5)[u]``.
        Raises `DeclarationError` without dense output, and beyond the interval or the domain.
        """
        for name in places:
            if name not in self.model.grid:
                known = ", ".join(self.model.grid) or "none"
                raise DeclarationError(f"{name} is no coordinate of this solution; it has {known}")
        if self.is_steady != (t is None):
            cure = "it has no times, sol[u]" if self.is_steady else "give one, sol(t=0.5)[u]"
            raise DeclarationError(f"{'a steady state' if self.is_steady else 'a time'}: {cure}")
        if self.is_steady:
            return Instants(self.model, self.ts, self.ys, places)
        if self.interpolation is None:
            raise DeclarationError(
                "this solution has no dense output: solve with saveat=diffrax.SaveAt(dense=True), "
                "or with the times wanted, saveat=[...]"
            )
        ts = jnp.asarray(t, self.ys.dtype)
        if not is_traced(ts, self.interpolation):
            first, last = (np.asarray(end) for end in self.interval())
            slack = 1e-6 * np.max(last - first)
            if not (np.all(ts >= np.max(first) - slack) and np.all(ts <= np.min(last) + slack)):
                span = (float(np.max(first)), float(np.min(last)))
                raise DeclarationError(f"t = {t} is outside the solved interval {span}")
        found = _instants(self, ts)
        return Instants(found.model, found.ts, found.ys, places)

    def interval(self) -> tuple[Array, Array]:
        """First and last time of the dense output."""
        ends = lambda interpolation: (interpolation.t0, interpolation.t1)  # noqa: E731
        for _ in range(_batch_axes(self.model)):
            ends = eqx.filter_vmap(ends)
        return ends(self.interpolation)

    def to_pandas(self) -> Any:
        """A DataFrame: one row for each time, one column for each scalar unknown or observed."""
        import pandas as pd

        if _batch_axes(self.model):
            raise DeclarationError(
                "a batch of solutions is no table: use sol.to_xarray(), or its to_dataframe()"
            )
        columns = {}
        for name, series in self._series().items():
            values = series[None] if self.is_steady else series
            for key in np.ndindex(*values.shape[1:]):
                label = f"{name}[{', '.join(map(str, key))}]" if key else name
                columns[label] = values[(slice(None), *key)]
        if self.is_steady:
            return pd.DataFrame(columns)
        return pd.DataFrame(columns, index=pd.Index(np.asarray(self.ts), name="t"))

    def to_xarray(self) -> Any:
        """A Dataset over `t`, with the units and descriptions of the symbols as attributes.

        A batch, as `vmap` makes it, has the axes `batch_0`, ... before `t`; fields have those of
        their coordinates behind it.
        """
        import xarray as xr

        axes = _batch_axes(self.model)
        batch = [f"batch_{axis}" for axis in range(axes)]
        ts = np.asarray(self.ts)
        timed = [] if self.is_steady else ["t"]
        first = ts[(0,) * axes]
        common = bool(np.all(ts == first))
        if not common:  # members that were saved at times of their own
            timed = ["step"]
        variables = {}
        symbols = self.model.symbols
        for name, values in self._series().items():
            own = [s.name for s in self.model.coordinates_of(name)]
            own = own or [f"{name}_{axis}" for axis in range(values.ndim - ts.ndim)]
            symbol = symbols[name]
            about = {k: getattr(symbol, k, None) for k in ("unit", "description")}
            attributes = {("units" if k == "unit" else k): v for k, v in about.items() if v}
            variables[name] = ([*batch, *timed, *own], values, attributes)
        if self.is_steady:
            return xr.Dataset(variables, coords=self.model.grid)
        coords = {"t": first if common else ([*batch, *timed], ts), **self.model.grid}
        return xr.Dataset(variables, coords=coords)

    def _series(self) -> dict[str, np.ndarray]:
        return {name: np.asarray(self[name]) for name in self.model.names}

    def plot(self, *expressions: Any, ax: Any = None) -> Any:
        """Draws expressions over time (every unknown, if none is named); returns the axes.

        A field over one coordinate is drawn as a map of space and time, one over two as frames; for
        more than one field, the axes come as an array. Of what is complex, both parts are drawn;
        of a steady state a curve or a map of space.
        """
        from ._draw import draw_solution
        from ._draw_fields import draw_fields, draw_steady

        expressions = self._real_ones(expressions)
        wanted = expressions or self._real_ones(tuple(self.model.fields.values()))
        if self.is_steady:
            return draw_steady(self, wanted, ax)
        if any(self.model.coordinates_of(e) for e in wanted):
            return draw_fields(self, wanted, ax)
        return draw_solution(self, expressions, ax)

    def _real_ones(self, expressions: tuple) -> tuple:
        """The same, with both parts of what is complex."""
        found: list[Any] = []
        for e in expressions:
            symbol = self.model.symbols.get(e, e) if isinstance(e, str) else e
            symbol = self.model.fields.get(e, symbol) if isinstance(e, str) else symbol
            whole = isinstance(symbol, str) or self.model.parts(e)[1] == 0
            found += [e] if whole else [sympy.re(symbol), sympy.im(symbol)]
        return tuple(found)

    def slices(self, expression: Any, times: Any = None, *, ax: Any = None) -> Any:
        """Draws a field over its one coordinate, a curve for each of several times."""
        from ._draw_fields import draw_slices

        return draw_slices(self, expression, times, ax)

    def animate(self, expression: Any, path: Any, *, seconds: float = 5.0) -> Any:
        """Writes a film of a field over one or two coordinates, a GIF or MP4 by the path's end.

        One frame for each saved time. Returns the path.
        """
        from ._draw_fields import animate

        return animate(self, expression, path, seconds)

    def __str__(self) -> str:
        if is_traced(self.ts, self.ys):
            return f"Solution of {self.model.system.name or 'model'}, traced"
        return f"{self._head()}\n\n{table_text(_HEADER, self._rows())}"

    __repr__ = __str__

    def _head(self) -> str:
        name, ts = self.model.system.name, np.asarray(self.ts)
        if self.is_steady:
            return self._steady_head()
        subject = f"Solution of {name}" if name else "Solution"
        batch = "" if ts.ndim == 1 else f"{' x '.join(map(str, ts.shape[:-1]))} solves, "
        span = f", t = {ts.min():g} to {ts.max():g}" if ts.size else ""
        steps = int(np.sum(self.stats.get("num_steps", 0)))
        rejected = int(np.sum(self.stats.get("num_rejected_steps", 0)))
        head = f"{subject}: {batch}{ts.shape[-1]} times{span}; {steps} steps"
        head += f", {rejected} of them rejected" if rejected else ""
        if implicit := int(np.sum(self.stats.get("num_implicit_steps", 0))):
            head += f", {implicit} implicit"
        head += f"; {self.method}" if self.method else ""
        good = np.asarray(self.result == dfx.RESULTS.successful)
        return head if good.all() else f"{head}; {np.sum(~good)} failed"

    def _steady_head(self) -> str:
        name, count = self.model.system.name, int(np.max(self.stats["num_steps"]))
        head = f"Steady state of {name}" if name else "Steady state"
        head += f": {count} iteration{'' if count == 1 else 's'}; {self.method}"
        failed = int(np.sum(np.asarray(self.result != dfx.RESULTS.successful)))
        return f"{head}; {failed} failed" if failed else head

    def _rows(self) -> list[list[str]]:
        rows = []
        for piece in self.model.states:
            values = np.asarray(self.ys[..., piece.slice])
            unit = getattr(piece.symbol, "unit", None) or ""
            shape = str(piece.shape) if piece.shape else ""
            numbers = []
            if values.size:
                timed = values[..., 0].ndim == 1 and not self.is_steady
                ends = (values[0], values[-1]) if timed else ()
                numbers = [f"{v.item():.5g}" if v.size == 1 else "" for v in ends] or ["", ""]
                numbers += [f"{values.min():.5g}", f"{values.max():.5g}"]
            rows.append([piece.name, shape, *(numbers or [""] * 4), unit])
        return rows

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        if is_traced(self.ts, self.ys):
            return {"text/plain": str(self)}
        table = table_html(_HEADER, self._rows())
        return {"text/plain": str(self), "text/markdown": f"{self._head()}\n\n{table}"}


_HEADER = ("symbol", "shape", "first", "last", "smallest", "largest", "unit")


def _batch_axes(model: Model) -> int:
    """How often a solve was mapped over: the leading axes of every leaf."""
    return model.initial.ndim - 1


def _instants(solution: Solution, ts: Array) -> Instants:
    if _batch_axes(solution.model):
        return eqx.filter_vmap(lambda member: _instants(member, ts))(solution)
    interpolation = solution.interpolation
    inside = jnp.clip(ts, interpolation.t0, interpolation.t1)
    flat = jax.vmap(interpolation.evaluate)(jnp.ravel(inside))
    return Instants(solution.model, ts, jnp.reshape(flat, (*ts.shape, flat.shape[-1])))


def values_of(model: Model, wanted: Any, ts: Array, ys: Array) -> Array:
    """Values of an expression at states `ys` and times `ts` of any shape."""
    if not isinstance(wanted, (str, sympy.Expr, Boolean)):
        raise DeclarationError(
            f"sol[{wanted!r}]: a solution is indexed by one expression or name, sol[x]; times come "
            "after it, sol[x][-1], and several columns are sol.to_pandas()"
        )
    if _batch_axes(model):
        member = lambda m, t, y: values_of(m, wanted, t, y)  # noqa: E731
        return eqx.filter_vmap(member)(model, ts, ys)
    real, imaginary = model.parts(wanted)
    values = _real_values(model, real, ts, ys)
    if imaginary == 0:
        return values
    both = jnp.broadcast_arrays(values, _real_values(model, imaginary, ts, ys))
    return jax.lax.complex(*both)


def _real_values(model: Model, expression: Any, ts: Array, ys: Array) -> Array:
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
