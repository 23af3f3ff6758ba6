"""Claims about linear state-space blocks and the memory of Legendre polynomials."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import sciml as sm

x, u, y = sm.unknown("x", shape=16), sm.unknown("u"), sm.unknown("y")
c = sm.unknown("c", shape=32)
SERIES = jax.random.normal(jax.random.key(1), (1000, 1))


def block(dt=0.01):
    return sm.nn.LinearStateSpace(x, u, y, dt=dt, key=jax.random.key(0))


def signal(times):
    return jnp.sin(6 * times) + times * jnp.cos(17 * times)


def test_the_matrices_are_those_of_theorem_2():
    matrix, column = sm.nn.hippo_legs(6)
    for n in range(6):
        assert column[n] == np.sqrt(2 * n + 1)
        for k in range(6):
            below = -np.sqrt((2 * n + 1) * (2 * k + 1)) if n > k else 0.0
            np.testing.assert_allclose(matrix[n, k], -(n + 1) if n == k else below, rtol=1e-15)


def test_going_through_a_series_is_a_convolution_with_the_kernel():
    np.testing.assert_allclose(block()(SERIES), block().convolve(SERIES), atol=1e-10)


def test_going_through_a_series_is_a_convolution_in_single_precision_too():
    def cast(leaf):
        return leaf.astype(jnp.float32) if eqx.is_inexact_array(leaf) else leaf

    single, series = jax.tree.map(cast, block()), SERIES.astype(jnp.float32)
    assert single(series).dtype == jnp.float32
    np.testing.assert_allclose(single(series), single.convolve(series), atol=1e-6)


def test_the_kernel_is_the_answer_to_an_impulse():
    impulse = jnp.zeros((50, 1)).at[0].set(1.0)
    direct = block().model.parameters["ssm_E"]
    answer = block()(impulse)[:, 0].at[0].add(-direct)
    np.testing.assert_allclose(answer, block().kernel(50), atol=1e-13)


def test_the_bilinear_step_converges_to_the_solution_with_second_order():
    system = sm.nn.linear_state_space(x, u, y, key=jax.random.key(0))
    system += sm.System(sm.Eq(u, sympy.sin(3 * sm.t)))
    errors = []
    for count in (50, 100, 200):
        times = jnp.linspace(0.0, 2.0, count + 1)
        middle = jnp.sin(3 * (times[1:] - 1 / count))[:, None]
        reference = sm.solve(system, (0, 2), saveat=times, rtol=1e-9, atol=1e-11)
        net = block(2 / count)
        row, direct = net.model.parameters["ssm_C"], net.model.parameters["ssm_E"]
        found = (net(middle) - direct * middle)[:, 0]
        errors.append(float(jnp.max(jnp.abs(found - reference[x][1:] @ row))))
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 2.0, atol=0.05)


def test_the_slope_by_the_step_is_that_of_finite_differences():
    def loss(log_dt):
        found = eqx.tree_at(lambda b: b.log_dt, block(), log_dt).convolve(SERIES[:100])
        return jnp.mean(found**2)

    at = jnp.log(jnp.asarray(0.05))
    difference = (loss(at + 1e-5) - loss(at - 1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(loss)(at), difference, rtol=1e-6)


def test_several_channels_are_several_blocks_with_their_leaves_stacked():
    keys = jax.random.split(jax.random.key(3), 4)
    blocks = [sm.nn.LinearStateSpace(x, u, y, key=key) for key in keys]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *blocks)
    found = jax.vmap(lambda block, series: block(series), in_axes=(0, None))(stacked, SERIES[:10])
    for one, block_ in zip(found, blocks, strict=True):
        np.testing.assert_allclose(one, block_(SERIES[:10]), rtol=1e-10, atol=1e-12)


def test_a_memory_of_32_numbers_holds_a_smooth_signal_to_one_per_cent():
    times = jnp.arange(1, 1001) / 1000
    memory = sm.nn.LegendreMemory(c, u)
    coefficients = memory(signal(times)[:, None])
    parts = jnp.linspace(0.0, 1.0, 201)
    found, true = memory.reconstruct(coefficients[-1], parts), signal(parts)
    assert jnp.linalg.norm(found - true) <= 0.01 * jnp.linalg.norm(true)  # 2e-4 measured
    assert jnp.max(jnp.abs(found - true)) <= 0.01


def test_a_memory_holds_a_polynomial_of_its_degree_exactly():
    """The best polynomial is the input itself; the integral over the past is exact in the limit."""
    small, memory = sm.unknown("c", shape=4), None
    errors = []
    for count in (200, 400, 800):
        times = jnp.arange(1, count + 1) / count
        memory = sm.nn.LegendreMemory(small, u)
        coefficients = memory((times**3 - times)[:, None])[-1]
        parts = jnp.linspace(0.0, 1.0, 11)
        found = memory.reconstruct(coefficients, parts)
        errors.append(float(jnp.max(jnp.abs(found - (parts**3 - parts)))))
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 2.0, atol=0.3)


def test_the_memory_solved_as_a_differential_equation_holds_the_same():
    times = jnp.linspace(1e-3, 1.0, 201)
    memory = sm.nn.LegendreMemory(sm.unknown("c", shape=8), u)
    series = jnp.sin(3 * times)[:, None]
    sol = memory.solve(times, series, solver="stiff", max_steps=20000)
    steps = memory(jnp.sin(3 * jnp.arange(1, 1001) / 1000)[:, None])
    np.testing.assert_allclose(sol["c"][-1], steps[-1], atol=2e-3)


def test_what_makes_no_sense_is_refused():
    key = jax.random.key(0)
    with pytest.raises(sm.DeclarationError, match=r"state: u has shape \(\); declare a vector"):
        sm.nn.linear_state_space(u, u, y, key=key)
    with pytest.raises(sm.DeclarationError, match="given: x is no scalar; declare one"):
        sm.nn.linear_state_space(x, x, y, key=key)
    with pytest.raises(sm.DeclarationError, match="dt = 0: the step is positive"):
        sm.nn.LinearStateSpace(x, u, y, dt=0, key=key)
    with pytest.raises(sm.DeclarationError, match=r"state: u has shape \(\); declare a vector"):
        sm.nn.legendre_memory(u, u)
    with pytest.raises(sm.DataError, match=r"begins after t = 0; the first time is 0\.0"):
        sm.nn.LegendreMemory(c, u).solve(jnp.linspace(0.0, 1.0, 3), jnp.ones((3, 1)))
