"""Exponential time differencing: phi functions, order on stiff problems, steps and derivatives."""

from __future__ import annotations

import itertools

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg
import numpy as np
import pytest

from sciml.solvers.stepping._exponential import ETDRK4
from sciml.solvers.stepping._phi import phi_of_matrix, phi_of_numbers

# Diffrax warns of complex states in general; ours are compared with known answers here.
pytestmark = pytest.mark.filterwarnings("ignore:Complex dtype support")


def taylor(z, k):
    """phi_k by its series, |z| <= 2, to rounding."""
    term, total = 1.0 / np.prod(np.arange(1.0, k + 1)), 0.0
    for j in range(1, 40):
        total, term = total + term, term * z / (j + k)
    return total


@pytest.mark.parametrize("kind", [np.float64, np.complex128])
def test_phi_functions_do_not_cancel(kind):
    z = np.array([0, 1e-12, -1e-5, 0.1, -0.999, -1.0, 1.001, 1.9], kind)
    z = np.append(z, z * np.exp(0.7j)) if kind is np.complex128 else z
    for k, value in enumerate(phi_of_numbers(jnp.asarray(z))):
        np.testing.assert_allclose(value, [taylor(x, k) for x in z], rtol=3e-15)


def test_phi_functions_of_a_matrix_are_those_of_its_eigenvalues():
    basis = np.array([[1.0, 2.0], [-1.0, 1.0]])
    values = np.array([-1e5, -0.3])
    matrix = basis @ np.diag(values) @ np.linalg.inv(basis)
    for whole, each in zip(
        phi_of_matrix(jnp.asarray(matrix)), phi_of_numbers(jnp.asarray(values)), strict=True
    ):
        expected = basis @ np.diag(each) @ np.linalg.inv(basis)
        np.testing.assert_allclose(whole, expected, rtol=1e-10, atol=1e-15)


# Allen-Cahn, u_t = u_xx / 10 + u - u^3 of period 2 pi, by Fourier series: L goes down to -410.
POINTS = 128
STIFF = -0.1 * jnp.fft.rfftfreq(POINTS, 1 / POINTS) ** 2
SPACE = 2 * jnp.pi * jnp.arange(0.0, POINTS) / POINTS
BEGIN = jnp.fft.rfft(0.8 * jnp.sin(SPACE) + 0.3 * jnp.cos(2 * SPACE))
WHEN = jnp.linspace(1.0, 2.0, 201)


def allen_cahn(t, y, args):
    u = jnp.fft.irfft(y, POINTS)
    return STIFF.astype(y.dtype) * y + jnp.fft.rfft(u - u**3)


@eqx.filter_jit
def evolved(solver, dt, control):
    """Values on the grid, and the number of steps and of those that were rejected."""
    sol = dfx.diffeqsolve(
        dfx.ODETerm(allen_cahn),
        solver,
        0.0,
        2.0,
        dt,
        BEGIN,
        saveat=dfx.SaveAt(ts=WHEN),
        stepsize_controller=control,
        max_steps=4096,
    )
    ys = jax.vmap(lambda y: jnp.fft.irfft(y, POINTS))(sol.ys)
    return ys, sol.stats["num_steps"], sol.stats["num_rejected_steps"]


def test_the_order_is_four_on_a_stiff_spectral_problem_and_that_of_dense_output_too():
    constant, solver = dfx.ConstantStepSize(), ETDRK4(STIFF)
    runs = [evolved(solver, jnp.asarray(dt), constant)[0] for dt in (1 / 16, 1 / 32, 1 / 64)]
    first, second = (jnp.abs(a - b) for a, b in itertools.pairwise(runs))
    assert float(jnp.log2(first[-1].max() / second[-1].max())) == pytest.approx(4, abs=0.2)
    assert float(jnp.log2(first.max() / second.max())) == pytest.approx(4, abs=0.2)


def test_steps_are_adapted_to_the_nonlinear_part_alone():
    control = dfx.PIDController(rtol=1e-7, atol=1e-7)
    ys, steps, rejected = evolved(ETDRK4(STIFF), None, control)
    expected, others, _ = evolved(dfx.Tsit5(), None, control)  # a method of another family
    assert int(steps) < int(others) / 4
    assert int(rejected) <= 3
    np.testing.assert_allclose(ys, expected, rtol=0, atol=1e-6)


# Rates of 1 and of 10.
BASIS = jnp.array([[2.0, 1.0], [1.0, 1.0]])
MATRIX = BASIS @ jnp.diag(jnp.array([-10.0, -1.0])) @ jnp.linalg.inv(BASIS)


@eqx.filter_jit
def ended(linear, y0, scale, dt):
    """The end after a unit of time, with an L that may vary."""

    def field(t, y, args):
        decay = linear @ y if linear.ndim == 2 else linear * y
        return args * decay + jnp.stack([y[1] ** 2, jnp.cos(t) - y[0] * y[1]])

    return dfx.diffeqsolve(
        dfx.ODETerm(field), ETDRK4(scale * linear), 0.0, 1.0, dt, y0, scale, max_steps=128
    ).ys[-1]


Y0, ONE = jnp.array([0.4, 0.5]), jnp.ones(())


def test_a_matrix_gives_order_four_too():
    runs = [ended(MATRIX, Y0, ONE, jnp.asarray(1 / n)) for n in (32, 64, 128)]
    first, second = (jnp.abs(a - b).max() for a, b in itertools.pairwise(runs))
    assert float(jnp.log2(first / second)) == pytest.approx(4, abs=0.2)


def test_derivatives_are_those_of_the_steps_taken_those_by_the_linear_part_included():
    linear, dt, step = jnp.array([-30.0, -1e-3]), jnp.asarray(1 / 16), 1e-3

    def end(scale):
        return jnp.array([1.0, 2.0]) @ ended(linear, Y0, scale, dt)

    before, near, after, far = (end(ONE + k * step) for k in (-1, -2, 1, 2))
    expected = (8 * (after - before) - (far - near)) / (12 * step)
    np.testing.assert_allclose(jax.jit(jax.grad(end))(ONE), expected, rtol=1e-8)


def test_a_linear_part_that_does_not_fit_is_refused():
    term, y0 = dfx.ODETerm(lambda t, y, args: -y), jnp.ones(2)
    for linear, message in ((jnp.ones(3), "has shape"), (jnp.ones(2, jnp.complex128), "complex")):
        with pytest.raises(ValueError, match=message):
            ETDRK4(linear).init(term, 0.0, 1.0, y0, None)


def test_what_blows_up_ends_without_success():
    sol = dfx.diffeqsolve(
        dfx.ODETerm(lambda t, y, args: -y + y**2),
        ETDRK4(-jnp.ones(1)),
        0.0,
        2.0,
        None,
        2 * jnp.ones(1),
        stepsize_controller=dfx.PIDController(rtol=1e-6, atol=1e-8),
        max_steps=500,
        throw=False,
    )
    assert sol.result == dfx.RESULTS.max_steps_reached
