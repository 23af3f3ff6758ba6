"""The verb `surrogate`: operator networks, trained on solutions of a declared system."""

from __future__ import annotations

import dataclasses
import html
import warnings
from collections.abc import Mapping
from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PRNGKeyArray

from sciml.dsl import (
    DeclarationError,
    Model,
    ModelWarning,
    Scheme,
    name_of,
    table_html,
    table_text,
)
from sciml.nn import FNO, DeepONet
from sciml.solvers import Solution, axes, is_traced, refuse_missing

from ._optimise import default_optimiser
from ._surrogate_data import Family, Samples, label_of, make_family, refuse_incomplete
from ._surrogate_train import Operator, applied, errors_of, make_operator, train_operator


@dataclasses.dataclass(frozen=True, repr=False)
class SurrogateErrors:
    r"""How far a surrogate is off, against the solver, for initial fields it has not seen.

    .. math:: \frac{\|u_\text{surrogate} - u_\text{solver}\|_2}{\|u_\text{solver}\|_2}

    at each saved time, with sums over the nodes; where the denominator is a thousandth of its usual
    size or less, that takes its place. ``errors[u]`` is the mean over members and times; printed, a
    table.

    Fields: `each`, by name of the field, shape (member, time); `ts`, the times; `grid`, the number
    of nodes of each coordinate.
    """

    each: Mapping[str, np.ndarray]
    ts: np.ndarray
    grid: Mapping[str, int]

    def __getitem__(self, symbol: Any) -> float:
        """The mean relative error of a field. Raises `DeclarationError` for what is none."""
        name = name_of(symbol)
        if name not in self.each:
            known = ", ".join(self.each)
            raise DeclarationError(f"{name} is no field of this surrogate; it has {known}")
        return float(np.mean(self.each[name]))

    def _rows(self) -> list[list[str]]:
        return [
            [name, f"{time:g}", *(f"{100 * f(one):.2f} %" for f in (np.mean, np.median, np.max))]
            for name, errors in self.each.items()
            for time, one in zip(self.ts, errors.T, strict=True)
        ]

    def _head(self) -> str:
        count = len(next(iter(self.each.values())))
        nodes = ", ".join(f"{n} nodes of {s}" for s, n in self.grid.items())
        return f"Relative errors of {count} unseen members, on {nodes}"

    def __str__(self) -> str:
        return f"{self._head()}\n\n{table_text(_HEADER, self._rows())}"

    __repr__ = __str__

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        table = table_html(_HEADER, self._rows())
        return {"text/plain": str(self), "text/markdown": f"{self._head()}\n\n{table}"}


@dataclasses.dataclass(frozen=True, repr=False)
class Surrogate:
    """A network that gives the fields of a system at some times, without a solve.

    Fields: `operator`, the trained network with the scales of its channels, an Equinox module;
    `family`, the system and what varies in it; `grid` that was trained on; `errors` against the
    solver for `unseen` members; `losses` of each step; `network`, its make; `size`, the number of
    weights; `notes`, what else to know.
    """

    operator: Operator
    family: Family
    grid: Mapping[Any, Any]
    errors: SurrogateErrors
    losses: np.ndarray
    unseen: Samples
    unseen_keys: Array
    network: FNO | DeepONet
    size: int
    notes: tuple[str, ...]

    def __call__(
        self,
        *,
        initial: Mapping[Any, Any] | None = None,
        values: Mapping[Any, Any] | None = None,
        grid: Mapping[Any, Any] | None = None,
    ) -> Solution:
        """The fields at the saved times, as a `Solution`: ``learned(initial={u: sin(x)})[u]``.

        Arguments: `initial`, fields as expressions of coordinates, numbers, or arrays of all nodes;
        `values` of parameters; of those that were varied in training. What the system gives need
        not be given. `grid`, other nodes than those that were trained on. `jit`, `vmap` and `grad`
        go through it.
        Raises `DeclarationError` for what was not varied, and for a grid on which the network
        cannot work; warns of values outside of the range that was learned.
        """
        initial = {label_of(key): value for key, value in (initial or {}).items()}
        values = {name_of(key): value for key, value in (values or {}).items()}
        self._refuse("initial", initial, self.family.initial)
        self._refuse("values", values, self.family.values)
        model = self.family.model(self.grid if grid is None else grid)
        model = model.replace(initial=initial, values=values)
        refuse_missing(model)
        self.operator.network.refuse(self.family.places(model))
        found = applied(self.operator, *self.family.given(model), self.family.shares(model))
        return self._solution(model, found)

    def test(
        self,
        *,
        grid: Mapping[Any, Any] | None = None,
        count: int | None = None,
        key: PRNGKeyArray | None = None,
    ) -> SurrogateErrors:
        """Errors against the solver on another grid, or for other members.

        Arguments: `grid`, on which both work, by default as in training; `count` and `key` of new
        members, by default the same unseen ones as in `errors`.
        Raises `DeclarationError` for a grid on which the network cannot work, and `SolveError`
        where solutions do not come to their end.
        """
        if (count is None) != (key is None):
            raise DeclarationError("test: new members need both, count=... and key=...")
        keys = self.unseen_keys if key is None or count is None else jax.random.split(key, count)
        model = self.family.model(self.grid if grid is None else grid)
        self.operator.network.refuse(self.family.places(model))
        return _errors(self.operator, self.family, model, self.family.solve(model, keys))

    def plot(self, symbol: Any = None, *, member: int = 0, ax: Any = None) -> Any:
        """Draws a field of an unseen member by the solver and by the surrogate; returns the axes.

        Over one coordinate, curves at the saved times and at the start; over two, maps of both and
        of their difference at the last time. `symbol` is the field, by default the first.
        """
        from ._surrogate_draw import draw_surrogate

        return draw_surrogate(self, symbol, member, ax)

    def plot_losses(self, ax: Any = None) -> Any:
        """Draws the mean relative error of each batch over the steps; returns the axes."""
        ax = axes(ax)
        ax.plot(np.arange(1, len(self.losses) + 1), self.losses, lw=0.7)
        ax.set_yscale("log")
        ax.set_xlabel("step")
        ax.set_ylabel("relative error")
        ax.spines[["top", "right"]].set_visible(False)
        return ax

    def _refuse(self, option: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
        for name, value in given.items():
            if name not in known:
                varied = ", ".join(known) or "none"
                raise DeclarationError(
                    f"{option}: {name} was not varied when this surrogate was trained; those that "
                    f"were: {varied}"
                )
            if isinstance(known[name], tuple) and not is_traced(value):
                low, high = known[name]
                if np.any(np.asarray(value) < low) or np.any(np.asarray(value) > high):
                    warnings.warn(
                        f"{name} = {value} is outside of ({low:g}, {high:g}), which the surrogate "
                        "was trained on: there it may be far off",
                        ModelWarning,
                        stacklevel=3,
                    )

    def _solution(self, model: Model, found: Array) -> Solution:
        """Fields at all nodes and saved times as a solution of the model."""
        names = [name_of(u) for u in self.family.system.fields]
        times = jnp.asarray(self.family.times, model.dtype)
        rows = []
        for row in range(len(times)):
            state = jnp.zeros_like(model.initial)
            for piece in model.states:
                if piece.name in names:
                    values = model.on_state(piece.name, found[names.index(piece.name), row])
                    state = state.at[piece.slice].set(jnp.ravel(values))
            rows.append(state)
        method = f"{type(self.network).__name__} of {self.size} weights"
        result = dfx.RESULTS.successful
        return Solution(model, times, jnp.stack(rows), None, {}, result, method)

    def _head(self) -> list[str]:
        name = self.family.system.name
        varied = ", ".join([*self.family.initial, *self.family.values])
        head = f"Surrogate{' of ' if name else ''}{name}: {type(self.network).__name__} of "
        head += f"{self.size} weights, for {varied}; {len(self.losses)} steps"
        return [head, *self.notes]

    def __str__(self) -> str:
        return "\n".join([*self._head(), str(self.errors)])

    __repr__ = __str__

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        parts = [*map(html.escape, self._head()), self.family.system._repr_latex_()]
        shown = self.errors._repr_mimebundle_()["text/markdown"]
        return {"text/plain": str(self), "text/markdown": "\n\n".join([*parts, shown])}


_HEADER = ("field", "t", "mean", "median", "largest")


def surrogate(
    system: Any,
    t: Any,
    *,
    grid: Mapping[Any, Any],
    key: PRNGKeyArray,
    initial: Mapping[Any, Any] | None = None,
    values: Mapping[Any, Any] | None = None,
    saveat: Any = None,
    network: Any = None,
    count: int = 200,
    unseen: int = 50,
    steps: int = 2000,
    batch: int = 20,
    learning_rate: float = 0.003,
    optimiser: optax.GradientTransformation | None = None,
    order: int = 4,
    scheme: Scheme = None,
    solver: Any = None,
    rtol: float | None = None,
    atol: float | None = None,
    stepsize_controller: Any = None,
    dt0: Any = None,
    max_steps: int | None = 4096,
    progress: bool = True,
) -> Surrogate:
    r"""Trains a network to give the fields of a system at some times, for what varies at the start.

    .. math::

       \min_\theta \; \frac1n \sum_i
       \frac{\|G_\theta(u_i(t_0), k_i) - u_i(t)\|_2}{\|u_i(t)\|_2}

    over solutions u_i for initial fields and parameters k_i that are drawn at random. They are
    solved for here, many at a time, and others, which the network has not seen, tell how far it is
    off.

    Arguments
      system: all of whose unknowns are fields, over the same coordinates.
      t: (t0, t1).
      grid: of the solutions, as for `solve`; the network of an `nn.FNO` works on finer ones too.
      key: of the draws, the first weights, and the batches.
      initial: distributions of initial fields: a `RandomField`, or a function of a key and the
        coordinates (arrays, at all nodes) that returns the values there.
      values: distributions of parameters: ranges (low, high), or functions of a key.
      saveat: one time or several, at which the surrogate gives the fields; t1 if not given.
      network: its make, an `nn.FNO` (if not given) or an `nn.DeepONet`.
      count, unseen: how many solutions are trained on, and how many beside them are compared with.
      steps, batch, learning_rate, optimiser: of optax; by default steps of Adam over random batches
        with clipped gradients, the learning rate falling to a hundredth along a cosine.
      order, scheme: how derivatives by coordinates are computed, as for `compile`.
      solver, rtol, atol, stepsize_controller, dt0, max_steps: as for `solve`.
      progress: whether progress bars are shown.

    Returns a `Surrogate`: ``learned(initial={u: ...}, values={k: ...}, grid=...)[u]``, and
    ``learned.errors``.

    Raises `DeclarationError` for a system without fields or with other unknowns, for distributions
    of what is no field or parameter, and a grid that the network cannot work on; `SolveError` where
    solutions do not come to their end, saying which; `FitError` without any finite loss.
    Source: Li et al., Fourier neural operator for parametric partial differential equations (2021);
    Lu et al., Learning nonlinear operators via DeepONet (2021).

    >>> import jax, sciml as sm
    >>> s, k = sm.coordinate("s"), sm.parameter("k")
    >>> u = sm.unknown("u", sm.t, s)
    >>> heat = sm.System(sm.Eq(sm.D(u, sm.t), k * sm.D(u, s, s)), domain={s: (0, 1)},
    ...                  boundary=[sm.Eq(u.at(s=0), u.at(s=1))], initial={u: 0.0})
    >>> learned = sm.surrogate(heat, (0, 1), grid={s: 16}, values={k: (0, 0.1)}, count=2, unseen=2,
    ...     steps=1, network=sm.nn.FNO(modes=4, width=4), key=jax.random.key(0), progress=False)
    >>> learned(values={k: 0.05})[u].shape
    (1, 16)
    """
    make = FNO() if network is None else network
    _refuse_options(make, count=count, unseen=unseen, steps=steps, batch=batch)
    if not learning_rate > 0:
        raise DeclarationError(f"learning_rate is positive, not {learning_rate}")
    family = make_family(
        system,
        t,
        saveat,
        initial,
        values,
        {"order": order, "scheme": scheme},
        {
            "solver": solver,
            "rtol": rtol,
            "atol": atol,
            "stepsize_controller": stepsize_controller,
            "dt0": dt0,
            "max_steps": max_steps,
        },
    )
    model = family.model(grid)
    refuse_incomplete(family, model)
    drawn, other, inside, order_key = jax.random.split(key, 4)
    module = make.build(
        len(family.initial),
        len(system.fields) * len(family.times),
        family.places(model),
        numbers=sum(model.parameters[name].size for name in family.values),
        key=inside,
    )
    keys, unseen_keys = jax.random.split(drawn, count), jax.random.split(other, unseen)
    samples = family.solve(model, jnp.concatenate([keys, unseen_keys]), progress=progress)
    seen, rest = samples.rows(slice(count)), samples.rows(slice(count, None))
    trained = train_operator(
        make_operator(module, seen),
        seen,
        family.shares(model),
        optimiser=default_optimiser(learning_rate, steps) if optimiser is None else optimiser,
        steps=steps,
        batch=batch,
        progress=progress,
        key=order_key,
    )
    return Surrogate(
        operator=trained.operator,
        family=family,
        grid=grid,
        errors=_errors(trained.operator, family, model, rest),
        losses=trained.losses,
        unseen=rest,
        unseen_keys=unseen_keys,
        network=make,
        size=trained.size,
        notes=trained.notes,
    )


def _errors(operator: Operator, family: Family, model: Model, samples: Samples) -> SurrogateErrors:
    found = errors_of(operator, samples, family.shares(model))
    each = {name_of(u): found[:, row] for row, u in enumerate(family.system.fields)}
    sizes = {name: len(nodes) for name, nodes in model.grid.items()}
    return SurrogateErrors(each, family.times, sizes)


def _refuse_options(make: Any, **counts: Any) -> None:
    if not isinstance(make, FNO | DeepONet):
        raise DeclarationError(
            f"network is sm.nn.FNO(...) or sm.nn.DeepONet(...), not {type(make).__name__}"
        )
    for name, value in counts.items():
        if not isinstance(value, int) or value < (0 if name == "steps" else 1):
            raise DeclarationError(f"{name} is a whole number from 1, not {value!r}")
