"""Claims about teacher forcing: what its strength guarantees, its limits, and what it finds."""

import dataclasses
import functools

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml as sm
from sciml import D, t
from sciml.train._data import read_data
from sciml.train._forcing import build_forcing, forcing_strength
from sciml.train._loss import build_loss
from sciml.train._objective import build_objective, look
from sciml.train._space import build_space

fit = functools.partial(sm.fit, key=jax.random.key(0), progress=False)
x, y, z = sm.unknowns("x y z")
a, b, c = sm.parameters("a b c")
TIMES = np.linspace(0.0, 10.0, 201)


def lorenz(**values):
    return sm.System(
        sm.Eq(D(x), a * (y - x)),
        sm.Eq(D(y), x * (b - z) - y),
        sm.Eq(D(z), x * y - c * z),
        initial={x: 1, y: 1, z: 20},
        values=values,
    )


TRUE = {"a": 10, "b": 28, "c": 8 / 3}


@pytest.fixture(scope="module")
def orbit():
    return sm.solve(lorenz(**TRUE), (0, 10), saveat=TIMES, rtol=1e-9, atol=1e-9)


@pytest.fixture(scope="module")
def jacobians(orbit):
    """Of the map over 0.05 units of time, at 200 points of an orbit, by a fixed-step solve."""
    model = sm.compile(lorenz(**TRUE))

    def after(state):
        initial = dict(zip((x, y, z), state, strict=True))
        options = {"solver": dfx.Tsit5(), "stepsize_controller": dfx.ConstantStepSize()}
        adjoint = dfx.ForwardMode()
        return sm.solve(
            model, (0, 0.05), initial=initial, saveat=[0.05], dt0=0.005, adjoint=adjoint, **options
        ).ys[0]

    return jax.jit(jax.vmap(jax.jacfwd(after)))(orbit.ys[:-1])


def products(jacobians):
    """The norms of the products of the first, the first two, ... of some matrices."""
    found, product = [], np.eye(3)
    for one in np.asarray(jacobians):
        product = one @ product
        found.append(np.linalg.norm(product, 2))
    return np.array(found)


def strength_of(jacobians, rule):
    norms = jnp.linalg.norm(jacobians, 2, axis=(1, 2))[None]
    return float(forcing_strength(norms, jnp.ones(norms.shape, bool), rule=rule))


def test_with_the_largest_norm_no_product_of_forced_jacobians_exceeds_one(jacobians):
    strength = strength_of(jacobians, "max")
    assert 0 < strength < 1
    for start in range(0, 200, 20):
        assert np.all(products((1 - strength) * jacobians[start:]) <= 1)
    assert products(jacobians).max() > 1e3


def test_with_the_geometric_mean_the_whole_product_does_not_exceed_one(jacobians):
    strength = strength_of(jacobians, "mean")
    assert strength < strength_of(jacobians, "max")
    assert products((1 - strength) * jacobians)[-1] <= 1


def test_maps_that_contract_are_not_forced():
    norms, pairs = jnp.asarray([[0.9, 0.5], [0.2, 7.0]]), jnp.asarray([[True] * 2, [True, False]])
    for rule in ("max", "mean"):
        assert float(forcing_strength(norms, pairs, rule=rule)) == 0.0
    assert float(forcing_strength(norms, pairs | True, rule="max")) == pytest.approx(6 / 7)
    expected = 1 - 1 / np.sqrt(0.2 * 7.0)
    assert float(forcing_strength(norms, pairs | True, rule="mean")) == pytest.approx(expected)


def objective(data, strategy, values=TRUE, adjoint=None):
    model = sm.compile(lorenz(**values))
    measured = read_data(model, data)
    space, point = build_space(model, measured)
    made = build_objective(
        model,
        measured,
        space,
        likelihood=build_loss("normal", measured, None, model.dtype),
        penalty=None,
        solver=dfx.Tsit5(),
        controller=dfx.PIDController(rtol=1e-8, atol=1e-8),
        dt0=None,
        adjoint=dfx.RecursiveCheckpointAdjoint() if adjoint is None else adjoint,
        max_steps=4096,
        key=jax.random.key(0),
    )
    if strategy is not None:
        forcing = build_forcing(model, measured, strategy, np.ones(3))
        made = dataclasses.replace(made, forcing=forcing)
    return made, point


def measured(orbit, count=201):
    return {t: TIMES[:count], **{s: np.asarray(orbit[s][:count]) for s in (x, y, z)}}


def test_the_strength_of_a_fit_is_that_of_the_jacobians_of_its_system(orbit, jacobians):
    for name, rule in (("auto", "mean"), ("max", "max")):
        made, point = objective(measured(orbit), sm.TeacherForcing(name))
        np.testing.assert_allclose(made.strength(point), strength_of(jacobians, rule), rtol=1e-4)


def test_without_strength_it_is_the_whole_trajectory(orbit):
    data = measured(orbit, 41)
    until = jnp.full((1, 1), TIMES[40])
    plain, point = objective(data, None)
    forced, _ = objective(data, sm.TeacherForcing(0.0))
    found, expected = (made.predict(point, until)[0] for made in (forced, plain))
    for label in expected:
        np.testing.assert_allclose(found[label], expected[label], rtol=1e-5)


def test_with_full_strength_each_prediction_begins_at_a_measurement(orbit):
    data = measured(orbit, 41)
    wrong, point = objective(data, sm.TeacherForcing(1.0), values={**TRUE, "b": 20})
    found, *_ = wrong.predict(point, jnp.full((1, 1), TIMES[40]))
    model = sm.compile(lorenz(**{**TRUE, "b": 20}))
    for row in (0, 13, 39):
        initial = {s: data[s][row] for s in (x, y, z)}
        after = sm.solve(model, (0, 0.05), initial=initial, saveat=[0.05], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(found["y"][0, row + 1], after[y][0], rtol=1e-6)


def test_what_was_not_measured_is_not_forced(orbit):
    data = measured(orbit, 21)
    data[y] = np.where(np.arange(21) % 2, np.nan, data[y])
    del data[z]
    made, _ = objective(data, sm.TeacherForcing(0.5))
    np.testing.assert_array_equal(made.forcing.known[0].sum(axis=0), [21, 11, 0])


@pytest.mark.parametrize(
    ("adjoint", "counts"), [(dfx.RecursiveCheckpointAdjoint(), [9]), (dfx.ForwardMode(), [11, 8])]
)
def test_its_slope_is_that_of_finite_differences_at_a_fixed_strength(orbit, adjoint, counts):
    data = [measured(orbit, count) for count in counts]
    made, point = objective(data, sm.TeacherForcing("auto"), {**TRUE, "b": 25}, adjoint)
    seen = look(made, point, jnp.ones(()))
    fixed, _ = objective(data, sm.TeacherForcing(float(made.strength(point))), {**TRUE, "b": 25})

    @jax.jit
    def loss(change):
        moved = eqx.tree_at(lambda p: p["parameters"]["b"], point, replace_fn=lambda v: v + change)
        return fixed.losses(moved, jnp.ones(()))[0]

    difference = (loss(1e-4) - loss(-1e-4)) / 2e-4
    np.testing.assert_allclose(seen.slope["parameters"]["b"], difference, rtol=1e-3)


@pytest.mark.slow
def test_it_finds_the_parameters_of_a_chaotic_system_where_plain_descent_does_not(orbit):
    rng = np.random.default_rng(0)
    data = measured(orbit)
    data |= {s: data[s] + 0.02 * np.std(data[s]) * rng.normal(size=201) for s in (x, y, z)}
    start = {"a": 8, "b": 22, "c": 2}
    plain = fit(lorenz(**start), data, steps=100)
    forced = fit(lorenz(**start), data, steps=100, strategy=sm.TeacherForcing("max"))
    for name, value in TRUE.items():
        np.testing.assert_allclose(forced[name], value, rtol=0.02)
    assert forced.loss < 1e-3
    assert plain.loss > 0.1
    assert abs(plain["a"] - 10) > 1


def test_what_makes_no_sense_is_refused(orbit):
    for strength in (-0.1, 1.5, "mean"):
        with pytest.raises(sm.DeclarationError, match=r'in \[0, 1\], "auto" or "max", not'):
            sm.TeacherForcing(strength)
    data = measured(orbit, 21)
    del data[z]
    with pytest.raises(sm.FitError, match="needs every unknown to be measured; z is not: measure"):
        fit(lorenz(**TRUE), data, strategy=sm.TeacherForcing())
    with pytest.raises(sm.FitError, match="needs an unknown that is measured itself"):
        fit(lorenz(**TRUE), {t: data[t], x + y: data[x]}, strategy=sm.TeacherForcing(0.5))
