"""Augmented neural ODE: ``d(x, a)/dt = f(x, a)`` from a = 0. Dupont et al. (2019), eq. 2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from sciml.dsl import D, DataError, DeclarationError, Eq, Model, System, compile, neural, unknown
from sciml.solvers import Solution

from ._states import as_states, joined, parts, size_of
from ._stepping import ADAPTIVE, Stepping

AUGMENTED = "augmented"


def augmented_neural_ode(
    states: Any,
    *,
    augmented: int = 1,
    width: int = 64,
    depth: int = 2,
    activation: Callable = jax.nn.tanh,
    key: PRNGKeyArray,
) -> System:
    """The neural ODE of the states and of `augmented` further ones, which start at zero.

    ``d/dt [x, a] = f([x, a]; theta), a(0) = 0``

    Paths of x may then cross, which those of a neural ODE cannot. The further states are one
    unknown of the name ``augmented``.

    Arguments: `states`, one unknown or several; `augmented`, how many are added; `width`, `depth`,
    `activation` of the hidden layers; `key` for the initial weights.

    Raises `DeclarationError` where nothing is to be added or the name is taken, and what
    `neural_ode` raises.

    >>> import jax, sciml as sm
    >>> x = sm.unknown("x", shape=2)
    >>> system = sm.nn.augmented_neural_ode(x, augmented=3, key=jax.random.key(0))
    >>> system.unknowns
    (x, augmented)

    Source: Dupont, Doucet, Teh, Augmented neural ODEs (2019), equation 2.
    """
    symbols = as_states(states)
    if augmented < 1:
        raise DeclarationError(
            f"augmented = {augmented}: one more state at least is added; to add none, "
            "take sm.nn.neural_ode"
        )
    extra = unknown(AUGMENTED, shape=augmented)
    whole = as_states([*symbols, extra])
    size = size_of(whole)
    f = neural("f", eqx.nn.MLP(size, size, width, depth, activation, key=key))
    rates = parts(f(joined(whole)), whole)
    equations = [Eq(D(x), rate) for x, rate in zip(whole, rates, strict=True)]
    return System(*equations, initial={extra: 0.0}, name="augmented neural ODE")


class AugmentedNeuralODE(eqx.Module):
    """An augmented neural ODE as a module; the further states stay inside.

    ``d/dt [x, a] = f([x, a]; theta), a(0) = 0``

    Fields: `model`, the compiled system; `size`, the number of elements of the user's own states.
    The arguments are those of `augmented_neural_ode`.

    >>> import jax, jax.numpy as jnp, sciml as sm
    >>> x = sm.unknown("x", shape=2)
    >>> module = sm.nn.AugmentedNeuralODE(x, augmented=1, width=8, key=jax.random.key(0))
    >>> module(jnp.linspace(0, 1, 5), jnp.ones(2)).shape
    (5, 2)

    Source: Dupont et al. (2019), equation 2.
    """

    model: Model
    size: int = eqx.field(static=True)

    def __init__(
        self,
        states: Any,
        *,
        augmented: int = 1,
        width: int = 64,
        depth: int = 2,
        activation: Callable = jax.nn.tanh,
        key: PRNGKeyArray,
    ) -> None:
        system = augmented_neural_ode(
            states, augmented=augmented, width=width, depth=depth, activation=activation, key=key
        )
        self.model = compile(system)
        self.size = size_of(as_states(states))

    def __call__(
        self,
        times: Float[Array, " time"],
        initial: Float[Array, " state"],
        *,
        stepping: Stepping = ADAPTIVE,
    ) -> Float[Array, "time state"]:
        """The user's states at `times`, from their values at the first of them."""
        initial = jnp.asarray(initial, self.model.dtype)
        if initial.shape != (self.size,):
            raise DataError(
                f"the initial state has shape {initial.shape}; it is that of the states without "
                f"the augmented ones, ({self.size},)"
            )
        zeros = jnp.zeros(self.model.initial.size - self.size, initial.dtype)
        whole = jnp.concatenate([initial, zeros])
        return stepping.through(self.model, times, whole).ys[:, : self.size]

    def solve(
        self, t: Any, *, initial: Any = None, saveat: Any = None, stepping: Stepping = ADAPTIVE
    ) -> Solution:
        """A `Solution` over ``t = (t0, t1)`` from initial values by symbol, the others zero."""
        return stepping.solve(self.model, t, initial=initial, saveat=saveat)

    @property
    def system(self) -> System:
        """The declared system."""
        return self.model.system
