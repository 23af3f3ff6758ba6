"""Cost of training, for what is driven: a step of a neural CDE and SDE, against them by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optax

import sciml as sm

from .timing import Row, pairs, ratio

_BATCH, _LENGTH, _HIDDEN = 32, 50, 8
_OPTIMISER = optax.adam(1e-3)


class ControlledByHand(eqx.Module):
    """A neural CDE as a good user of Diffrax and Equinox would write it."""

    net: eqx.nn.MLP
    encoder: eqx.nn.MLP
    readout: eqx.nn.Linear

    def __call__(self, curve: dfx.AbstractPath) -> Any:
        term = dfx.ControlTerm(lambda t, y, net: jnp.reshape(net(y), (_HIDDEN, 3)), curve).to_ode()
        solution = dfx.diffeqsolve(
            term, dfx.Tsit5(), curve.t0, curve.t1, None, self.encoder(curve.evaluate(curve.t0)),
            self.net, stepsize_controller=dfx.PIDController(rtol=1e-3, atol=1e-6),
        )  # fmt: skip
        return self.readout(solution.ys[-1])  # type: ignore[index]


class StochasticByHand(eqx.Module):
    """A neural SDE with diagonal noise, by hand."""

    drift: eqx.nn.MLP
    spread: eqx.nn.MLP

    def __call__(self, times: jax.Array, start: jax.Array, key: jax.Array) -> Any:
        path = dfx.VirtualBrownianTree(
            times[0], times[-1], 0.01, jax.ShapeDtypeStruct((2,), start.dtype), key
        )
        terms = dfx.MultiTerm(
            dfx.ODETerm(lambda t, y, nets: nets[0](jnp.append(y, t))),
            dfx.ControlTerm(
                lambda t, y, nets: lx.DiagonalLinearOperator(nets[1](jnp.append(y, t))), path
            ),
        )
        return dfx.diffeqsolve(
            terms, dfx.Euler(), times[0], times[-1], 0.02, start, (self.drift, self.spread),
            saveat=dfx.SaveAt(ts=times),
        ).ys  # fmt: skip


def step_of(model: Any, loss: Callable) -> Callable:
    """A jitted training step, given its arrays alone."""

    def step(model: Any, state: Any) -> tuple:
        value, slopes = eqx.filter_value_and_grad(loss)(model)
        updates, state = _OPTIMISER.update(slopes, state)
        return value, eqx.apply_updates(model, updates), state

    given = model, _OPTIMISER.init(eqx.filter(model, eqx.is_inexact_array))
    arrays, static = eqx.partition(given, eqx.is_array)
    leaves, tree = jax.tree.flatten(arrays)

    @jax.jit
    def flat(leaves: list) -> list:
        result = step(*eqx.combine(jax.tree.unflatten(tree, leaves), static))
        return jax.tree.leaves(eqx.filter(result, eqx.is_array))

    return lambda: flat(leaves)


def controlled() -> tuple[Callable, Callable]:
    """Both steps of a neural CDE on noisy series of three channels."""
    z, control = sm.unknown("z", shape=_HIDDEN), sm.control("X", channels=3)
    times = jnp.linspace(0.0, 1.0, _LENGTH)
    values = jnp.cumsum(0.1 * jax.random.normal(jax.random.key(0), (_BATCH, _LENGTH, 3)), axis=1)
    paths = jax.vmap(lambda v: sm.path(times, v))(values)
    labels = jnp.arange(_BATCH) % 2 * 1.0
    module = sm.nn.NeuralCDE(z, control, outputs=1, width=64, key=jax.random.key(1))
    by_hand = ControlledByHand(module.model.networks["F"].net, module.encoder, module.readout)

    def loss(of: Callable) -> Callable:
        def value(model: Any) -> jax.Array:
            logits = jax.vmap(lambda path: of(model, path)[0])(paths)
            return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, labels))

        return value

    ours = step_of(module, loss(lambda model, path: model(path)))
    theirs = step_of(by_hand, loss(lambda model, path: model(path.curve)))
    np.testing.assert_allclose(_loss(ours), _loss(theirs), rtol=1e-6)
    return ours, theirs


def stochastic() -> tuple[Callable, Callable]:
    """Both steps of a neural SDE, by Euler's method with the same paths."""
    z = sm.unknown("z", shape=2)
    times, start = jnp.linspace(0.0, 1.0, 11), jnp.ones(2)
    keys = jax.random.split(jax.random.key(0), _BATCH)
    module = sm.nn.NeuralSDE(z, width=64, key=jax.random.key(1))
    networks = module.model.networks
    by_hand = StochasticByHand(networks["f"], networks["g"])
    solver = dfx.Euler()

    def drawn(noise: str) -> Callable:
        def ours(model: Any) -> jax.Array:
            run = lambda key: model(times, start, dt0=0.02, key=key, solver=solver, noise=noise)
            return jnp.mean(jax.vmap(run)(keys) ** 2)

        return ours

    def theirs(model: Any) -> jax.Array:
        return jnp.mean(jax.vmap(lambda key: model(times, start, key))(keys) ** 2)

    same = step_of(module, drawn("refinable"))  # the same paths, which the default has not
    np.testing.assert_allclose(_loss(same), _loss(step_of(by_hand, theirs)), rtol=1e-6)
    return step_of(module, drawn("stepwise")), step_of(by_hand, theirs)


def _loss(step: Callable) -> Any:
    return jax.tree.leaves(step())[0]


def run() -> list[Row]:
    """The rows of this figure."""
    rows = []
    for name, make in (("neural CDE", controlled), ("neural SDE", stochastic)):
        ours, theirs = make()
        times = pairs(ours, theirs, count=41, span=0.1)
        milli = np.median(times, axis=0) * 1e3
        measured = f"{ratio(times)}; {milli[0]:.2f} against {milli[1]:.2f} ms"
        what = f"training step of a {name} over Diffrax by hand, {_BATCH} series"
        rows.append(Row(what, "<= 1.05", measured))
    return rows
