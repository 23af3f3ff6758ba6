"""Hamiltonian systems: ``dq/dt = dH/dp, dp/dt = -dH/dq``. Greydanus et al. (2019), equation 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from sciml.dsl import D, DeclarationError, Eq, Model, System, compile, gradient, name_of, neural
from sciml.solvers import ImplicitMidpoint, Solution, StormerVerlet

from ._states import as_states, size_of
from ._stepping import ADAPTIVE, Stepping


def hamiltonian(
    positions: Any,
    momenta: Any,
    *,
    energy: Any = None,
    values: Mapping[Any, Any] | None = None,
    width: int = 64,
    depth: int = 2,
    activation: Callable = jax.nn.tanh,
    key: PRNGKeyArray | None = None,
) -> System:
    """Hamilton's equations of an energy, declared, neural, or in part.

    ``dq/dt = dH/dp, dp/dt = -dH/dq``

    The derivatives are taken of the expression; those of networks in it, by automatic
    differentiation. The energy itself is observed under the name ``energy``.

    Arguments
      positions, momenta: unknowns, as many and of the same shapes.
      energy: an expression of them; a network of all of them if not given.
      values: of parameters in the energy.
      width, depth, activation, key: of that network; without `energy` the key is required.

    Raises `DeclarationError` where positions and momenta do not pair, or a key is missing.

    >>> import sciml as sm, sympy
    >>> q, p = sm.unknowns("q p")
    >>> sm.nn.hamiltonian(q, p, energy=p**2 / 2 - sympy.cos(q)).equations
    (Eq(D(q), p), Eq(D(p), -sin(q)))

    Source: Greydanus, Dzamba, Yosinski, Hamiltonian neural networks (2019), equation 1.
    """
    pairs = _pairs(positions, momenta)
    everything = [*(q for q, _ in pairs), *(p for _, p in pairs)]
    if energy is None:
        if key is None:
            raise DeclarationError("a neural energy needs a key for its weights: give key=...")
        net = eqx.nn.MLP(size_of(everything), "scalar", width, depth, activation, key=key)
        energy = neural("H", net)(*everything)
    rates = [Eq(D(q), gradient(energy, p)) for q, p in pairs]
    forces = [Eq(D(p), -gradient(energy, q)) for q, p in pairs]
    return System(*rates, *forces, values=values, observed={"energy": energy}, name="Hamiltonian")


class Hamiltonian(eqx.Module):
    """A Hamiltonian system as a module: positions and momenta in and out, one after the other.

    ``dq/dt = dH/dp, dp/dt = -dH/dq``

    Fields: `model`, the compiled system; `separable`, whether the energy is a sum of one of the
    positions and one of the momenta; `size`, the number of positions. The arguments are those of
    `hamiltonian`. `symplectic` gives steps that keep the energy over long times.

    >>> import jax, jax.numpy as jnp, sciml as sm
    >>> q, p = sm.unknowns("q p")
    >>> module = sm.nn.Hamiltonian(q, p, width=8, key=jax.random.key(0))
    >>> module(jnp.linspace(0, 1, 5), jnp.ones(2), stepping=module.symplectic(0.1)).shape
    (5, 2)

    Source: Greydanus et al. (2019), equation 1.
    """

    model: Model
    separable: bool = eqx.field(static=True)
    size: int = eqx.field(static=True)

    def __init__(
        self,
        positions: Any,
        momenta: Any,
        *,
        energy: Any = None,
        values: Mapping[Any, Any] | None = None,
        width: int = 64,
        depth: int = 2,
        activation: Callable = jax.nn.tanh,
        key: PRNGKeyArray | None = None,
    ) -> None:
        system = hamiltonian(
            positions,
            momenta,
            energy=energy,
            values=values,
            width=width,
            depth=depth,
            activation=activation,
            key=key,
        )
        self.model = compile(system)
        self.size = self.model.initial.size // 2
        self.separable = _is_separable(system)

    def symplectic(self, step: float, *, max_steps: int = 1_000_000) -> Stepping:
        """Symplectic steps of constant length, for long times: the energy does not drift.

        `StormerVerlet` where the energy is separable, `ImplicitMidpoint` otherwise.
        """
        solver = StormerVerlet(self.size) if self.separable else ImplicitMidpoint()
        return Stepping(solver=solver, dt0=step, max_steps=max_steps)

    def __call__(
        self,
        times: Float[Array, " time"],
        initial: Float[Array, " state"],
        *,
        stepping: Stepping = ADAPTIVE,
    ) -> Float[Array, "time state"]:
        """Positions and momenta at `times`, from those at the first of them."""
        return stepping.through(self.model, times, initial).ys

    def energy(self, state: Float[Array, " state"], *, time: float = 0.0) -> Float[Array, ""]:
        """The energy of a state."""
        return self.model.observed(time, state)["energy"]

    def solve(
        self, t: Any, *, initial: Any = None, saveat: Any = None, stepping: Stepping = ADAPTIVE
    ) -> Solution:
        """A `Solution` over ``t = (t0, t1)`` from initial values by symbol."""
        return stepping.solve(self.model, t, initial=initial, saveat=saveat)

    @property
    def system(self) -> System:
        """The declared system."""
        return self.model.system


def _is_separable(system: System) -> bool:
    """Whether rates of positions hold no positions, and those of momenta no momenta."""
    unknowns, right = system.unknowns, [side for _, side in system.survey.sides]
    half = len(unknowns) // 2
    q, p = set(unknowns[:half]), set(unknowns[half:])
    return all(map(q.isdisjoint, right[:half])) and all(map(p.isdisjoint, right[half:]))


def _pairs(positions: Any, momenta: Any) -> list[tuple[Any, Any]]:
    qs, ps = as_states(positions), as_states(momenta)
    as_states([*qs, *ps])
    if len(qs) != len(ps):
        raise DeclarationError(
            f"{len(qs)} positions and {len(ps)} momenta do not pair: give one momentum for each"
        )
    for q, p in zip(qs, ps, strict=True):
        if q.shape != p.shape:
            raise DeclarationError(
                f"{name_of(q)} has shape {q.shape} and its momentum {name_of(p)} {p.shape}: "
                "declare both with the same"
            )
    return list(zip(qs, ps, strict=True))
