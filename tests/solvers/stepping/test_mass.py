"""Constant mass matrices of terms written by hand: full ones, singular and regular."""

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml as sm
from sciml.dsl.codegen.pattern import Pattern
from sciml.solvers.linear import (
    BlockTridiagonal,
    Dense,
    Krylov,
    SparseLU,
    Unrolled,
)
from sciml.solvers.linear._mass import embedded, rates, weighed

# For ``p = y0 - y1`` and ``q = y1 + y2``: p' = cos t - p and q' = p - q, each in a row, and mixed
# into a third, with ``y0 + 2 y1 - y2 = sin t``: of rank 2, and nowhere zero.
_ROWS = np.array([[1.0, -1.0, 0.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
_MIX = np.array([[1.0, 0.5, 1.0], [2.0, 1.0, -1.0], [1.0, -1.0, 3.0]])
SINGULAR = _MIX @ _ROWS
FULL = np.array([[2.0, 1.0, -1.0], [1.0, 3.0, 0.5], [0.5, -1.0, 2.0]])  # regular


def linear(t, y, args):
    p, q = y[0] - y[1], y[1] + y[2]
    return jnp.asarray(_MIX) @ jnp.stack(
        [jnp.cos(t) - p, p - q, y[0] + 2 * y[1] - y[2] - jnp.sin(t)]
    )


def exact(t):
    p = (jnp.cos(t) + jnp.sin(t) + jnp.exp(-t)) / 2
    q = (jnp.sin(t) + (t + 1) * jnp.exp(-t)) / 2
    # y0 = p + y1 and y2 = q - y1, and so y0 + 2 y1 - y2 = p - q + 4 y1
    y1 = (jnp.sin(t) - p + q) / 4
    return jnp.stack([p + y1, y1, q - y1])


def tumbling(t, y, args):
    """Euler's equations, times a full matrix."""
    rate = jnp.stack([y[1] * y[2], -2 * y[0] * y[2], y[0] * y[1]])
    return jnp.asarray(FULL) @ rate


@eqx.filter_jit
def at_constant_steps(solver, dt, mass=SINGULAR):
    own = eqx.tree_at(lambda s: s.mass, solver, jnp.asarray(mass), is_leaf=lambda x: x is None)
    sol = dfx.diffeqsolve(
        dfx.ODETerm(linear), own, 0.0, 1.0, dt, exact(jnp.zeros(())),
        saveat=dfx.SaveAt(t1=True, ts=jnp.linspace(0, 1, 37)), max_steps=4096,
    )  # fmt: skip
    error = jnp.abs(sol.ys - jax.vmap(exact)(sol.ts))
    return error[-1].max(), error.max()


@pytest.mark.parametrize(
    ("solver", "steps", "order", "between"),
    [
        (sm.Rodas5P(), 4, 5, 4),
        (sm.Rosenbrock23(), 40, 2, 2),
        (sm.Radau5(rtol=1e-13, atol=1e-13), 4, 5, 4),
    ],
)
def test_the_order_of_convergence_with_a_singular_full_matrix(solver, steps, order, between):
    coarse = at_constant_steps(solver, jnp.asarray(1 / steps))
    fine = at_constant_steps(solver, jnp.asarray(1 / (2 * steps)))
    at_end, within = (float(jnp.log2(a / b)) for a, b in zip(coarse, fine, strict=True))
    assert at_end > order - 0.3
    assert within > between - 0.3


def solved(solver, field, y0, tolerance, **options):
    control = dfx.PIDController(rtol=tolerance, atol=tolerance)
    return dfx.diffeqsolve(
        dfx.ODETerm(field), solver, 0.0, 2.0, None, y0, stepsize_controller=control,
        max_steps=4096, **options,
    )  # fmt: skip


@pytest.mark.parametrize("solver", [sm.Rodas5P, sm.Rosenbrock23, sm.BDF, sm.Radau5])
def test_adaptive_steps_keep_to_the_tolerance_with_a_singular_matrix(solver):
    tolerance = 1e-5 if solver is sm.Rosenbrock23 else 1e-7
    own = {"rtol": tolerance, "atol": tolerance} if solver in (sm.BDF, sm.Radau5) else {}
    made = solver(mass=jnp.asarray(SINGULAR), **own)
    sol = solved(made, linear, exact(jnp.zeros(())), tolerance)
    np.testing.assert_allclose(sol.ys[0], exact(2.0), atol=100 * tolerance)


@pytest.mark.parametrize("solver", [sm.Rodas5P, sm.BDF, sm.Radau5])
def test_a_full_regular_matrix_is_the_system_solved_by_hand(solver):
    own = {} if solver is sm.Rodas5P else {"rtol": 1e-9, "atol": 1e-9}
    y0 = jnp.asarray([1.0, 0.5, 0.9])
    with_mass = solved(solver(mass=jnp.asarray(FULL), **own), tumbling, y0, 1e-9)
    by_hand = dfx.diffeqsolve(
        dfx.ODETerm(lambda t, y, args: jnp.linalg.solve(jnp.asarray(FULL), tumbling(t, y, args))),
        dfx.Dopri8(), 0.0, 2.0, None, y0,
        stepsize_controller=dfx.PIDController(rtol=1e-12, atol=1e-12),
    )  # fmt: skip
    np.testing.assert_allclose(with_mass.ys[0], by_hand.ys[0], rtol=1e-6)


@pytest.mark.parametrize("solver", [sm.Rodas5P(), sm.Radau5(rtol=1e-12, atol=1e-12)])
def test_derivatives_by_the_entries_of_a_matrix_are_those_of_differences(solver):
    def end(scale):
        own = eqx.tree_at(lambda s: s.mass, solver, scale * SINGULAR, is_leaf=lambda x: x is None)
        sol = dfx.diffeqsolve(
            dfx.ODETerm(linear), own, 0.0, 1.0, 0.1, exact(jnp.zeros(())), max_steps=16
        )
        return sol.ys[0, 0]

    one, step = jnp.asarray(1.0), 1e-5
    slope = (jax.jit(end)(one + step) - jax.jit(end)(one - step)) / (2 * step)
    assert float(jax.grad(end)(one)) == pytest.approx(float(slope), rel=1e-8)


# -- linear algebra --------------------------------------------------------------------------------

_BAND = np.diag(np.arange(1.0, 7)) + np.diag(np.full(5, 0.5), 1) - np.diag(np.full(5, 0.25), -1)
_PLACES = Pattern.of(_BAND)


@pytest.mark.parametrize(
    "structure",
    [
        Dense(6),
        SparseLU(_PLACES),
        Krylov(_PLACES),
        BlockTridiagonal(_PLACES),
        Unrolled(6, tuple(zip(_PLACES.rows.tolist(), _PLACES.cols.tolist(), strict=True))),
    ],
)
@pytest.mark.parametrize("kind", [np.float64, np.complex128])
def test_every_structure_holds_a_matrix_in_its_form(structure, kind):
    x = np.linspace(-1, 1, 6).astype(kind) * (1 + 2j if kind is np.complex128 else 1)
    made = embedded(structure, jnp.asarray(_BAND), kind)
    np.testing.assert_allclose(structure.apply(made, jnp.asarray(x)), _BAND @ x, rtol=1e-14)


def test_rates_are_what_the_matrix_makes_the_right_side_of():
    f = jnp.asarray(SINGULAR @ np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(weighed(jnp.asarray(SINGULAR), rates(jnp.asarray(SINGULAR), f)), f)
    np.testing.assert_allclose(rates(jnp.asarray([2.0, 0.0, 1.0]), f), [f[0] / 2, 0, f[2]])
    np.testing.assert_allclose(rates(None, f), f)
