"""Continuous normalising flows."""

import itertools

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.stats as stats
import numpy as np
import pytest
from descent import descend

import sciml as sm

KEY = jax.random.key(1)
Z = sm.unknown("z", shape=2)
TIGHT = sm.nn.Stepping(rtol=1e-9, atol=1e-9)


def wilder(flow, factor=3.0):
    """The flow with larger weights, so that it is far from linear."""
    return jax.tree.map(
        lambda leaf: factor * leaf if eqx.is_inexact_array(leaf) and leaf.ndim == 2 else leaf, flow
    )


def linear(trace="exact"):
    """The flow of ``dz/dt = A z + b``, which carries normal distributions to such."""
    flow = sm.nn.ContinuousFlow(Z, depth=0, trace=trace, key=KEY)
    layer = lambda m: (m.model.networks["f"].layers[0].weight, m.model.networks["f"].layers[0].bias)
    matrix, shift = jnp.array([[0.5, -0.8], [0.3, -0.2]]), jnp.array([1.0, -0.5])
    weights = jnp.concatenate([matrix, jnp.zeros((2, 1))], axis=1)
    return eqx.tree_at(layer, flow, (weights, shift)), matrix, shift


def test_the_density_of_a_linear_flow_is_the_closed_form():
    flow, matrix, shift = linear()
    moved = jax.scipy.linalg.expm(matrix)
    mean = jnp.linalg.solve(matrix, (moved - jnp.eye(2)) @ shift)
    points = jax.random.normal(KEY, (4, 2)) + 1.0
    found = jax.vmap(lambda x: flow(x, stepping=TIGHT))(points)
    covariance = moved @ moved.T
    expected = jax.vmap(lambda x: stats.multivariate_normal.logpdf(x, mean, covariance))(points)
    np.testing.assert_allclose(found, expected, rtol=1e-7)
    change = flow.transform(points[0], stepping=TIGHT)[1]
    np.testing.assert_allclose(change, -jnp.trace(matrix), rtol=1e-9)


def test_the_density_in_one_dimension_integrates_to_one():
    flow = wilder(sm.nn.ContinuousFlow(sm.unknown("z"), width=16, key=KEY))
    grid = jnp.linspace(-12, 12, 1201)
    density = jnp.exp(jax.vmap(flow)(grid[:, None]))
    assert abs(float(jnp.trapezoid(density, grid)) - 1) < 1e-5
    assert float(jnp.max(density)) > 0.2


def test_the_density_in_two_dimensions_integrates_to_one():
    a, b = sm.unknowns("a b")
    flow = wilder(sm.nn.ContinuousFlow([a, b], width=8, key=KEY), 2.0)
    grid = jnp.linspace(-9, 9, 121)
    points = jnp.stack(jnp.meshgrid(grid, grid), axis=-1)
    density = jnp.exp(jax.vmap(jax.vmap(flow))(points))
    integral = np.trapezoid(np.trapezoid(density, grid), grid)
    assert abs(float(integral) - 1) < 1e-4


def test_there_and_back_is_the_same():
    flow = wilder(sm.nn.ContinuousFlow(Z, width=8, key=KEY))
    base = jnp.array([0.4, -1.2])
    point, change = flow.transform(base, stepping=TIGHT)
    assert float(jnp.linalg.norm(point - base)) > 0.1
    expected = jnp.sum(stats.norm.logpdf(base)) + change
    np.testing.assert_allclose(flow(point, stepping=TIGHT), expected, rtol=1e-7)


def test_the_change_is_the_logarithm_of_the_determinant():
    flow = wilder(sm.nn.ContinuousFlow(Z, width=8, key=KEY))
    forward = sm.nn.Stepping(rtol=1e-9, atol=1e-9, adjoint=dfx.ForwardMode())
    base = jnp.array([0.4, -1.2])
    jacobian = jax.jacfwd(lambda z: flow.transform(z, stepping=forward)[0])(base)
    change = flow.transform(base, stepping=TIGHT)[1]
    np.testing.assert_allclose(change, -jnp.linalg.slogdet(jacobian)[1], rtol=1e-6)


def test_the_estimate_of_the_trace_is_unbiased():
    """The mean over all probes of signs is the exact trace."""
    exact = wilder(sm.nn.ContinuousFlow(Z, width=8, key=KEY))
    flow = wilder(sm.nn.ContinuousFlow(Z, width=8, trace="hutchinson", key=KEY))
    assert "tangent(" in flow.model.source
    assert "derivative(" not in flow.model.source
    changes = []
    for signs in itertools.product([-1.0, 1.0], repeat=2):
        model = flow.model.replace(values={"probe": jnp.array(signs)})
        start = {"z": [0.4, -1.2]}
        sol = sm.solve(model, t=(0, 1), initial=start, saveat=[1.0], rtol=1e-9, atol=1e-9)
        changes.append(float(sol["log_density"][0]))
    assert np.ptp(changes) > 1e-3
    expected = exact.transform(jnp.array([0.4, -1.2]), stepping=TIGHT)[1]
    np.testing.assert_allclose(np.mean(changes), expected, rtol=1e-7)
    keys = jax.random.split(KEY, 8)
    drawn = jax.vmap(lambda key: flow(jnp.zeros(2), key=key))(keys)
    assert np.ptp(drawn) > 0
    one = sm.nn.ContinuousFlow(sm.unknown("z"), width=8, trace="hutchinson", key=KEY)
    same = sm.nn.ContinuousFlow(sm.unknown("z"), width=8, key=KEY)
    point = jnp.array([0.3])  # in one dimension there is nothing to estimate
    np.testing.assert_allclose(one(point, key=KEY, stepping=TIGHT), same(point, stepping=TIGHT))


def test_samples_have_the_density():
    flow, matrix, shift = linear()
    samples = jax.vmap(lambda key: flow.sample(key=key))(jax.random.split(KEY, 4000))
    moved = jax.scipy.linalg.expm(matrix)
    mean = jnp.linalg.solve(matrix, (moved - jnp.eye(2)) @ shift)
    np.testing.assert_allclose(jnp.mean(samples, 0), mean, atol=0.08)
    np.testing.assert_allclose(jnp.cov(samples.T), moved @ moved.T, atol=0.15)


def test_mistakes_are_refused_with_a_cure():
    with pytest.raises(sm.DeclarationError, match='"exact" or "hutchinson"'):
        sm.nn.continuous_flow(Z, trace="other", key=KEY)
    with pytest.raises(sm.DeclarationError, match="give key="):
        sm.nn.ContinuousFlow(Z, width=4, trace="hutchinson", key=KEY)(jnp.zeros(2))
    with pytest.raises(sm.DataError, match=r"shape \(2,\), not \(3,\)"):
        sm.nn.ContinuousFlow(Z, width=4, key=KEY)(jnp.zeros(3))
    with pytest.raises(sm.DeclarationError, match="log_density is given twice"):
        sm.nn.continuous_flow(sm.unknown("log_density"), key=KEY)


@pytest.mark.slow
def test_a_bimodal_density_is_learned():
    keys = jax.random.split(KEY, 3)
    signs = jax.random.rademacher(keys[0], (512,), float)
    data = (1.5 * signs + 0.5 * jax.random.normal(keys[1], (512,)))[:, None]
    density = lambda x: (stats.norm.pdf(x, 1.5, 0.5) + stats.norm.pdf(x, -1.5, 0.5)) / 2
    flow = sm.nn.ContinuousFlow(sm.unknown("z"), width=16, key=keys[2])
    loose = sm.nn.Stepping(rtol=1e-3, atol=1e-4, max_steps=64)
    loss = lambda m: -jnp.mean(jax.vmap(lambda x: m(x, stepping=loose))(data))
    flow, value = descend(flow, loss, steps=400)
    entropy = -jnp.mean(jnp.log(density(data)))
    assert abs(value - entropy) < 0.03
    grid = jnp.linspace(-4, 4, 81)
    found = jnp.exp(jax.vmap(flow)(grid[:, None]))
    assert float(jnp.trapezoid(jnp.abs(found - density(grid)), grid)) < 0.2
