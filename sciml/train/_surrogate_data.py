"""Solutions of a system for initial fields and parameters that are drawn at random."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import sympy
from jaxtyping import Array, Bool, Float, PRNGKeyArray
from tqdm import tqdm

from sciml.dsl import (
    DeclarationError,
    Model,
    SolveError,
    System,
    Unknown,
    compile,
    name_of,
    unknown,
)
from sciml.nn import Places
from sciml.solvers import refuse_missing, solve

from ._random_field import RandomField, axes_of
from ._series_train import chunks


class Samples(eqx.Module):
    """Solutions and what they follow from, one for each member.

    Fields: `inputs`, the initial fields that were drawn; `numbers`, all elements of the parameters
    that were; `outputs`, the fields at the saved times; `good`, whether a solve came to its end.
    """

    inputs: Float[Array, "member input *node"]
    numbers: Float[Array, "member number"]
    outputs: Float[Array, "member field time *node"]
    good: Bool[Array, " member"]

    def __len__(self) -> int:
        return self.inputs.shape[0]

    def rows(self, rows: Any) -> Samples:
        """Some of the members, by number."""
        return jax.tree.map(lambda leaf: leaf[rows], self)


@dataclasses.dataclass(frozen=True, eq=False)
class Family:
    """A system with distributions of its initial fields and parameters, and how it is solved.

    Fields: `system`; `initial` and `values`, distributions by name; `t`, (t0, t1); `times` that are
    saved; `compiling` and `solving`, options of `compile` and of `solve`.
    """

    system: System
    initial: Mapping[str, Any]
    values: Mapping[str, Any]
    t: tuple[float, float]
    times: np.ndarray
    compiling: Mapping[str, Any]
    solving: Mapping[str, Any]

    def model(self, grid: Mapping[Any, Any]) -> Model:
        """The compiled system on a grid."""
        return compile(self.system, grid=grid, **self.compiling)

    def places(self, model: Model) -> tuple[Places, ...]:
        """The nodes of a model as shares of the domain."""
        assert model.program.fields is not None
        return tuple(
            Places(s.name, (axis.nodes - axis.nodes[0]) / axis.length, axis.periodic)
            for s, axis in model.program.fields.axes.items()
        )

    def shares(self, model: Model) -> tuple[Float[Array, " _"], ...]:
        """The same as arrays, for a network."""
        return tuple(jnp.asarray(one.shares, model.dtype) for one in self.places(model))

    def given(self, model: Model) -> tuple[Float[Array, "input *node"], Float[Array, " number"]]:
        """What a network is given of a model's leaves: initial fields and numbers that vary."""
        state, dtype = model.state(), model.dtype
        t0 = jnp.asarray(self.t[0], dtype)
        inputs = [model.evaluate(model.fields[name], t0, state) for name in self.initial]
        nodes = tuple(len(x) for x in model.grid.values())
        numbers = [jnp.ravel(model.parameters[name]) for name in self.values]
        return (
            jnp.stack(inputs) if inputs else jnp.zeros((0, *nodes), dtype),
            jnp.concatenate(numbers) if numbers else jnp.zeros((0,), dtype),
        )

    def member(self, model: Model, key: PRNGKeyArray) -> Model:
        """The model with leaves that are drawn."""
        keys = iter(jax.random.split(key, len(self.initial) + len(self.values)))
        initial = {n: _field(d, model, n, next(keys)) for n, d in self.initial.items()}
        values = {n: _value(d, model, n, next(keys)) for n, d in self.values.items()}
        return model.replace(initial=initial, values=values)

    def solve(self, model: Model, keys: Array, *, progress: bool = False) -> Samples:
        """A solution for each key, some of them at a time.

        Raises `SolveError` where solutions do not come to their end.
        """
        todo = tqdm(chunks(len(keys)), desc="solves", disable=not progress, unit="chunk")
        mapped = eqx.filter_jit(eqx.filter_vmap(self._solved, in_axes=(None, 0)))
        parts = [Samples(*mapped(model, keys[rows])) for _, rows in todo]
        samples = jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[: len(keys)], *parts)
        bad = np.flatnonzero(~np.asarray(samples.good)).tolist()
        if bad:
            raise SolveError(self._failure(model, keys, bad))
        return samples

    def _solved(self, model: Model, key: PRNGKeyArray) -> tuple[Array, ...]:
        """What `Samples` hold, of one member."""
        own = self.member(model, key)
        sol = solve(own, self.t, saveat=self.times, throw=False, **self.solving)
        outputs = jnp.stack([sol[u] for u in self.system.fields])
        good = (sol.result == dfx.RESULTS.successful) & jnp.all(jnp.isfinite(outputs))
        return *self.given(own), outputs, good

    def _failure(self, model: Model, keys: Array, bad: list[int]) -> str:
        """Which solves failed, and why the first of them did."""
        shown = ", ".join(map(str, bad[:8])) + (", ..." if len(bad) > 8 else "")
        head = f"{len(bad)} of {len(keys)} solutions of the system are not finite or not whole"
        try:
            own = self.member(model, keys[bad[0]])
            solve(own, self.t, saveat=self.times, **self.solving)
            reason = "alone it is solved, as solve then changes to a solver for stiff systems"
        except SolveError as error:
            reason = str(error)
        return (
            f"{head}, numbers {shown}.\nThe first of them, number {bad[0]}: {reason}\n"
            '  cure: draw tamer fields or values, or give surrogate solver="stiff" or more '
            "max_steps"
        )


def make_family(
    system: Any,
    t: Any,
    saveat: Any,
    initial: Mapping[Any, Any] | None,
    values: Mapping[Any, Any] | None,
    compiling: Mapping[str, Any],
    solving: Mapping[str, Any],
) -> Family:
    """Checks what was asked for that does not depend on the grid.

    Raises `DeclarationError` for a system without fields, with unknowns that are none, for what has
    no distribution, and for times that are none.
    """
    if not isinstance(system, System):
        raise DeclarationError(
            f"surrogate takes a System, which it puts on grids itself, not {type(system).__name__}"
        )
    _refuse_others(system)
    fields = {name_of(u): u for u in system.fields}
    found = {}
    for key, distribution in (initial or {}).items():
        name = label_of(key)
        inner = name if isinstance(key, str) else name_of(getattr(key, "expr", key))
        if inner not in fields and name not in {f"D({u})" for u in fields}:
            raise DeclarationError(
                f"initial: {name} is no field of this system; it has {', '.join(fields)}"
            )
        if not isinstance(distribution, RandomField) and not callable(distribution):
            raise DeclarationError(
                f"initial: a distribution of {name} is a RandomField, or a function of a key and "
                f"the coordinates, not {distribution!r}; what is the same always, is given in the "
                "system, system.replace(initial={...})"
            )
        found[name] = distribution
    drawn = {name_of(p): _distribution(system, p, d) for p, d in (values or {}).items()}
    if not found and not drawn:
        raise DeclarationError(
            "surrogate: nothing varies; give distributions, initial={u: sm.RandomField(...)} or "
            "values={k: (low, high)}"
        )
    t0, t1 = _interval(t)
    times = np.atleast_1d(np.asarray(t1 if saveat is None else saveat, float))
    if times.ndim != 1 or not times.size or not np.all((times >= t0) & (times <= t1)):
        raise DeclarationError(
            f"saveat: one time or several in t = ({t0:g}, {t1:g}), at which the surrogate gives "
            f"the fields, not {saveat!r}"
        )
    if np.any(np.diff(times) <= 0):
        raise DeclarationError("saveat: the times must increase")
    return Family(system, found, drawn, (t0, t1), times, compiling, solving)


def label_of(key: Any) -> str:
    """The name of a state, a field or its rate, by symbol or name: ``D(u)`` of ``D(u, t)``."""
    if isinstance(key, sympy.Derivative) and isinstance(key.expr, Unknown):
        plain = unknown(name_of(key.expr))
        return name_of(sympy.Derivative(plain, *key.variable_count))
    return name_of(key)


def refuse_incomplete(family: Family, model: Model) -> None:
    """Raises `DeclarationError` or `ModelError` for a model that its draws do not complete."""
    declared = {name_of(u) for u in family.system.unknowns}
    for state in model.states:
        if state.name in model.fields:
            continue
        if state.name in declared:
            raise DeclarationError(_no_field(state.name, family.system))
        raise DeclarationError(
            f"surrogate: {state.name} is solved for beside the fields, at an end with a nonlinear "
            "condition; surrogates are of fields alone"
        )
    for name in family.initial:
        if name not in model.fields:
            known = ", ".join(model.fields)
            raise DeclarationError(f"initial: {name} is no state of this system; it has {known}")
    zeros = dict.fromkeys(family.initial, 0.0)
    ones = dict.fromkeys(family.values, 1.0)
    refuse_missing(model.replace(initial=zeros, values=ones))


def _refuse_others(system: System) -> None:
    if not system.fields:
        raise DeclarationError(
            "surrogate: this system has no fields; a field is a function of coordinates, "
            'u = sm.unknown("u", t, x)'
        )
    if system.survey.noises or system.survey.controls:
        raise DeclarationError("surrogate: of systems without noise and controls")
    others = [name_of(u) for u in system.fields if len(u.args) != len(system.coordinates) + 1]
    if others:
        raise DeclarationError(_no_field(others[0], system))


def _no_field(name: str, system: System) -> str:
    whole = ", ".join(map(str, system.coordinates))
    return f"surrogate: {name} is no field over all coordinates, {whole}, and only such are learned"


def _distribution(system: System, parameter: Any, given: Any) -> Any:
    """A checked distribution of a parameter."""
    name = name_of(parameter)
    if name not in {p.name for p in system.parameters}:
        known = ", ".join(p.name for p in system.parameters) or "none"
        raise DeclarationError(f"values: {name} is no parameter of this system; it has {known}")
    if callable(given):
        return given
    try:
        low, high = (float(end) for end in given)
    except (TypeError, ValueError):
        raise DeclarationError(
            f"values: {name} varies in a range, (low, high), or as a function of a key says, not "
            f"{given!r}"
        ) from None
    if not -np.inf < low < high < np.inf:
        raise DeclarationError(f"values: the range of {name}, ({low:g}, {high:g}), is none")
    return low, high


def _interval(t: Any) -> tuple[float, float]:
    try:
        t0, t1 = (float(end) for end in t)
    except (TypeError, ValueError):
        raise DeclarationError(f"t is (t0, t1), the interval to solve over, not {t!r}") from None
    if not -np.inf < t0 < t1 < np.inf:
        raise DeclarationError(f"t = ({t0:g}, {t1:g}): the end is after the start, and finite")
    return t0, t1


def _field(distribution: Any, model: Model, name: str, key: PRNGKeyArray) -> Array:
    """An initial field at all nodes."""
    if isinstance(distribution, RandomField):
        return distribution.draw(model, name, key=key)
    axes = axes_of(model, name)
    mesh = np.meshgrid(*(axis.nodes for axis in axes), indexing="ij")
    values = jnp.asarray(distribution(key, *(jnp.asarray(x, model.dtype) for x in mesh)))
    if values.shape not in ((), mesh[0].shape):
        raise DeclarationError(
            f"initial: the function for {name} gives values of shape {values.shape}, and the nodes "
            f"have {mesh[0].shape}"
        )
    return jnp.broadcast_to(values.astype(model.dtype), mesh[0].shape)


def _value(distribution: Any, model: Model, name: str, key: PRNGKeyArray) -> Array:
    """A value of a parameter."""
    shape, dtype = model.parameters[name].shape, model.dtype
    if isinstance(distribution, tuple):
        low, high = distribution
        return jax.random.uniform(key, shape, dtype, low, high)
    value = jnp.asarray(distribution(key))
    if value.shape not in ((), shape):
        raise DeclarationError(
            f"values: the function for {name} gives shape {value.shape}, and {name} has {shape}"
        )
    return jnp.broadcast_to(value.astype(dtype), shape)
