"""The Gauss adjoint where systems are stiff, or have algebraic equations: with their structure."""

import functools

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml as sm
from sciml import D
from sciml.solvers.linear import SparseLU, Transposed

x, y, z = sm.unknowns("x y z")
a, b, c, k = sm.parameters("a b c k")

ROBERTSON = sm.System(
    sm.Eq(D(x), -a * x + b * y * z),
    sm.Eq(D(y), a * x - b * y * z - c * y**2),
    sm.Eq(D(z), c * y**2),
    initial={x: 1, y: 0, z: 0},
    values={a: 0.04, b: 1e4, c: 3e7},
)
VAN_DER_POL = sm.System(
    sm.Eq(D(x), y),
    sm.Eq(D(y), a * ((1 - x**2) * y - x)),
    initial={x: 2, y: -0.66},
    values={a: 1e3},
)
CONSTRAINED = sm.System(
    sm.Eq(D(x), -a * z * x),
    sm.Eq(D(y), -y + x * z),
    sm.Eq(z**3 + b * z, x + c * y),
    initial={x: 2, y: 0.5, z: 1},
    values={a: 1.0, b: 2.0, c: 0.5},
)
STIFF = {
    "robertson": (ROBERTSON, [1.0, 1e2, 1e4], 1e-12),
    "van der pol": (VAN_DER_POL, [0.3, 0.6], 1e-10),  # before the jump of x
    "constrained": (CONSTRAINED, [0.0, 0.3, 2.0], 1e-10),
}


def by_logarithms(name, solver, adjoint, rtol):
    """Derivatives by the parameters' logarithms, and by the initial values that are no guesses."""
    system, times, atol = STIFF[name]
    values, symbols = system.values, [x, y]

    def value(logs, start):
        sol = sm.solve(
            system, t=(0, times[-1]), saveat=times, solver=solver, adjoint=adjoint, rtol=rtol,
            values={p: v * jnp.exp(log) for (p, v), log in zip(values.items(), logs, strict=True)},
            initial=dict(zip(symbols, start, strict=True)), atol=atol,
        )  # fmt: skip
        return jnp.sum(jnp.cos(jnp.arange(float(sol.ys.size))) * sol.ys.ravel() ** 2)

    start = jnp.array([float(system.initial[s]) for s in symbols])
    slopes = jax.jit(jax.grad(value, argnums=(0, 1)))
    return np.concatenate(slopes(jnp.zeros(len(values)), start))


@functools.cache
def true_slopes(name):
    return by_logarithms(name, sm.Rodas5P(), "checkpointed", 1e-10)


@pytest.mark.parametrize(
    ("name", "solver", "within"),
    [
        ("robertson", sm.Rodas5P(), 1e-6),
        ("robertson", sm.BDF(), 1e-5),
        ("van der pol", sm.Rodas5P(), 1e-5),
        ("van der pol", sm.BDF(), 1e-4),
        ("constrained", sm.Rodas5P(), 1e-6),
        ("constrained", sm.BDF(), 1e-5),
    ],
)
def test_where_it_is_stiff_or_constrained_its_gradient_is_that_of_checkpoints(name, solver, within):
    found = by_logarithms(name, solver, "gauss", 1e-8)
    np.testing.assert_allclose(found, true_slopes(name), rtol=within)


def test_the_transposes_of_a_structure_are_solved_with_by_its_own_factors():
    u = sm.unknown("u", shape=6)
    near = u - sm.concatenate([u[1:], sm.constant(np.zeros(1))]) ** 2
    model = sm.compile(sm.System(sm.Eq(D(u), -3 * near), initial={u: np.linspace(1, 2, 6)}))
    structure = Transposed(SparseLU(model.jacobian_pattern.with_diagonal()))
    state, ones = model.state(), jnp.arange(1.0, 7.0)
    adjoint = lambda v: jax.vjp(lambda y: model.vector_field(0.0, y), state)[1](v)[0]
    full = jax.jacfwd(adjoint)(ones)
    matrix = structure.jacobian(adjoint, ones)
    factors = structure.factor(matrix)
    np.testing.assert_allclose(structure.apply(matrix, ones), full @ ones)
    np.testing.assert_allclose(structure.solve(factors, ones), np.linalg.solve(full, ones))
    transposed = structure.solve_transposed(factors, ones)
    np.testing.assert_allclose(transposed, np.linalg.solve(full.T, ones))
    assert not np.allclose(full, full.T)
    assert structure.describe().endswith("filled in, transposed")


def test_diffrax_solvers_take_the_transposed_structure_backwards():
    u = sm.unknown("u", shape=6)
    near = u - sm.concatenate([u[1:], sm.constant(np.zeros(1))]) ** 2
    system = sm.System(sm.Eq(D(u), -k * near), initial={u: np.linspace(1, 2, 6)}, values={k: 3})

    def end(k_, solver, adjoint):
        options = {"solver": solver, "adjoint": adjoint, "rtol": 1e-8, "atol": 1e-10}
        return jnp.sum(sm.solve(system, t=(0, 1), saveat=[1.0], values={k: k_}, **options).ys ** 2)

    slope = jax.jit(jax.grad(end), static_argnums=(1, 2))
    one, other = slope(3.0, dfx.Kvaerno3(), "gauss"), slope(3.0, dfx.Tsit5(), "checkpointed")
    assert float(one) == pytest.approx(float(other), rel=1e-6)
