"""Claims about readouts: what of a series reaches a system, and what is read out of it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml as sm
from sciml import D
from sciml.nn._readout import driving_path

KEY = jax.random.key(0)
z, X = sm.unknown("z", shape=3), sm.control("X", channels=3)
CDE = sm.nn.neural_cde(z, X, width=8, key=KEY)
TIMES = jnp.array([0.0, 0.3, 0.5, 0.9, 1.4])
VALUES = jax.random.normal(KEY, (5, 2))


@pytest.fixture(scope="module")
def module():
    return sm.nn.Readout(CDE, 4, key=KEY)


@pytest.fixture(scope="module")
def outputs(module):
    return eqx.filter_jit(module)


def test_the_outputs_are_an_affine_map_of_the_last_state():
    exact = sm.nn.Stepping(rtol=1e-9, atol=1e-11)
    fine = sm.nn.Readout(CDE, 4, stepping=exact, key=KEY)
    curve, end = driving_path(TIMES, VALUES, 3, "X", "hermite")
    start = fine.encoder(jnp.concatenate([TIMES[:1], VALUES[0]]))
    options = {"saveat": [float(end)], "controls": {X: curve}, "rtol": 1e-9, "atol": 1e-11}
    sol = sm.solve(CDE, (0, 1.4), initial={z: start}, **options)
    np.testing.assert_allclose(fine(TIMES, VALUES), fine.readout(sol[z][-1]), rtol=1e-7)


def test_a_series_is_solved_in_one_step_between_two_times(module):
    sol = module.solve(TIMES, VALUES)
    assert int(sol.stats["num_steps"]) == 4


def test_padding_does_not_matter(outputs):
    longer = jnp.concatenate([TIMES, jnp.full(4, TIMES[-1])])
    filled = jnp.concatenate([VALUES, jnp.full((4, 2), jnp.nan)])
    np.testing.assert_allclose(outputs(longer, filled), outputs(TIMES, VALUES), rtol=1e-10)


def test_missing_entries_on_lines_do_not_matter():
    lines = jnp.stack([2 * TIMES, 1 - TIMES], axis=1)
    exact = sm.nn.Stepping(rtol=1e-8, atol=1e-10)
    fine = sm.nn.Readout(CDE, 4, interpolation="linear", stepping=exact, key=KEY)
    holes = lines.at[1, 0].set(jnp.nan).at[2, 1].set(jnp.nan)
    np.testing.assert_allclose(fine(TIMES, holes), fine(TIMES, lines), rtol=1e-6)


def test_a_channel_without_any_value_counts_as_zero(outputs):
    empty, zero = VALUES.at[:, 1].set(jnp.nan), VALUES.at[:, 1].set(0.0)
    np.testing.assert_allclose(outputs(TIMES, empty), outputs(TIMES, zero), rtol=1e-12)


def test_the_channels_are_values_time_and_counts_of_measurements():
    holes = VALUES.at[1:3, 0].set(jnp.nan)
    curves = [driving_path(TIMES, holes, count, "X", "linear")[0] for count in (2, 3, 5)]
    at = [curve(TIMES[3])[0] for curve in curves]
    np.testing.assert_allclose(at[0], VALUES[3])
    np.testing.assert_allclose(at[1], [0.9, *VALUES[3]])
    np.testing.assert_allclose(at[2], [0.9, *VALUES[3], 2 / 5, 4 / 5])


def test_another_number_of_channels_is_refused_with_those_that_do(outputs):
    with pytest.raises(sm.DeclarationError, match="channels=4 for the values, 5 with the time"):
        outputs(TIMES, jnp.zeros((5, 4)))


@pytest.mark.parametrize("controls", [0, 2])
def test_a_system_has_one_control(controls):
    x, u, v = sm.unknown("x"), sm.control("u"), sm.control("v")
    system = sm.System(sm.Eq(D(x), -x + (u + v if controls else 0)), initial={x: 0})
    with pytest.raises(sm.DeclarationError, match="through its one control, and this one has"):
        sm.nn.Readout(system, 1, key=KEY)


def test_initial_values_that_are_given_are_kept_and_expressions_are_read():
    # a tank that fills: x' = u - k x from 0, so that x and 2 x + 1 have closed forms
    x, k, u = sm.unknown("x"), sm.parameter("k", 0.5), sm.control("u", channels=1)
    tank = sm.System(sm.Eq(D(x), sm.index(u, 0) - k * x), initial={x: 0})
    exact = sm.nn.Stepping(rtol=1e-9, atol=1e-11)
    module = sm.nn.Readout(tank, 1, read=[x, 2 * x + 1], stepping=exact, key=KEY)
    assert module.encoder is None
    out = module(jnp.array([0.0, 1.0, 2.0]), jnp.ones((3, 1)))
    level = (1 - np.exp(-1.0)) / 0.5
    expected = module.readout(jnp.array([level, 2 * level + 1]))
    np.testing.assert_allclose(out, expected, rtol=1e-7)


def test_a_system_with_noise_takes_its_steps_and_needs_a_key():
    sde = sm.nn.stable_sde(z, "langevin", control=X, width=8, key=KEY)
    module = sm.nn.Readout(sde, 2, steps=7, key=KEY)
    sol = module.solve(TIMES, VALUES, key=KEY)
    assert int(sol.stats["num_steps"]) == 7
    np.testing.assert_array_equal(module(TIMES, VALUES, key=KEY), module(TIMES, VALUES, key=KEY))
    other = module(TIMES, VALUES, key=jax.random.key(1))
    assert not np.allclose(module(TIMES, VALUES, key=KEY), other)
    with pytest.raises(sm.DeclarationError, match=r"give key=jax.random.key\(0\)"):
        module(TIMES, VALUES)


def test_a_failed_solve_gives_outputs_that_are_no_numbers_and_says_why_when_solved():
    x, u = sm.unknown("x"), sm.control("u", channels=1)
    pole = sm.System(sm.Eq(D(x), 100 * x**2 + sm.index(u, 0)), initial={x: 1})
    module = sm.nn.Readout(pole, 1, stepping=sm.nn.Stepping(max_steps=50), key=KEY)
    assert not np.all(np.isfinite(module(TIMES, VALUES[:, :1])))
    with pytest.raises(sm.SolveError, match="x"):
        module.solve(TIMES, VALUES[:, :1])
