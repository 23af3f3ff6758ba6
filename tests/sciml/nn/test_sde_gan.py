"""The SDE-GAN: what bounds its discriminator, what its score looks at, and whose noise it has."""

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import sciml as sm
from sciml.nn._sde_gan import filled
from sciml.solvers._noise import choose_sde_solver

y, v = sm.unknown("y"), sm.unknown("v", shape=2)
TIMES = jnp.array([0.0, 0.1, 0.4, 0.5, 0.8, 1.0])
HOLES = (np.array([1, 2, 4, 5, 5, 3]), np.array([0, 0, 0, 1, 2, 2]))
KEY = jax.random.key(1)


def module_of(states=(y, v), noise=2, **options):
    sizes = {"latent": 3, "hidden": 4, "initial": 2, "width": 5, **options}
    return sm.nn.SDEGAN(states, noise, key=jax.random.key(0), **sizes)


@pytest.fixture(scope="module")
def module():
    return module_of()


@pytest.fixture(scope="module")
def series():
    return jax.random.normal(jax.random.key(5), (6, 3))


# -- the generator --------------------------------------------------------------------------------


def test_the_noise_of_the_generator_is_general_and_solved_in_stratonovichs_sense(module):
    assert module.model.program.noise.kind == "general"
    assert module.system.calculus == "stratonovich"
    assert isinstance(choose_sde_solver(None, module.model), dfx.EulerHeun)
    matrix = module.model.diffusion(0.3, jnp.array([0.2, -0.4, 1.0]))
    expected = module.model.networks["spread"](jnp.array([0.2, -0.4, 1.0, 0.3]))
    np.testing.assert_allclose(matrix, expected, rtol=1e-12)
    assert matrix.shape == (3, 2)


def test_its_paths_are_those_of_stratonovichs_calculus():
    """Of ``da = -a dt + 0.8 a o dw``, exp(0.8 w - t); that of Ito's has 1.32 in place of 1."""
    module = module_of(v, 1, latent=2)
    networks = {
        "drift": lambda z: jnp.stack([-z[0], 0 * z[0]]),
        "spread": lambda z: jnp.stack([0.8 * z[0], 1 + 0 * z[0]])[:, None],
        "readout": lambda z: z,
    }
    module = eqx.tree_at(
        lambda m: m.generator.model, module, module.model.replace(networks=networks)
    )
    start = {"latent": [1.0, 0.0]}
    for seed in range(3):
        sol = module.solve((0, 1), initial=start, dt0=1 / 256, key=jax.random.key(seed))
        grown, walked = sol[v][-1]
        assert abs(walked) > 0.1
        np.testing.assert_allclose(grown, np.exp(0.8 * walked - 1), rtol=0.02)


def test_a_key_decides_on_a_path_from_its_first_state_on(module):
    one, same, other = (
        module.sample(TIMES, dt0=0.1, key=jax.random.key(k)) for k in (2, 2, 3)
    )  # fmt: skip
    np.testing.assert_array_equal(one, same)
    assert np.all(np.abs(one - other) > 1e-6)


def test_channels_are_the_states_in_the_order_of_the_user(module):
    path = module.sample(TIMES, dt0=0.1, key=KEY)
    sol = module.solve((0.0, 1.0), saveat=TIMES, dt0=0.1, key=KEY, noise="stepwise")
    assert path.shape == (6, 3)
    np.testing.assert_array_equal(path[:, 0], sol[y])
    np.testing.assert_array_equal(path[:, 1:], sol[v])
    start = {"latent": [1.0, 2.0, 3.0]}
    given = module.solve((0.0, 1.0), initial=start, saveat=TIMES, dt0=0.1, key=KEY)
    np.testing.assert_array_equal(given["latent"][0], [1, 2, 3])


# -- the discriminator ----------------------------------------------------------------------------


def steepness(function, size):
    """The largest ratio of changes, in their largest components, over random pairs of inputs."""
    first, second = jax.random.split(jax.random.key(7))
    start = 3 * jax.random.normal(first, (2000, size))
    move = jax.random.normal(second, (2000, size)) * jnp.logspace(-4, 1, 2000)[:, None]
    gap = jax.vmap(function)(start + move) - jax.vmap(function)(start)
    change = jnp.max(jnp.abs(jnp.reshape(gap, (2000, -1))), axis=1)
    return float(jnp.max(change / jnp.max(jnp.abs(move), axis=1)))


def maps(module):
    half = module.discriminator
    networks = half.model.networks
    return [(networks["change"], 5), (networks["measure"], 4), (half.start, 4)]


@pytest.mark.parametrize("change", [lambda leaf: 20 * leaf, lambda leaf: 0 * leaf + 9])
def test_a_clipped_discriminator_has_lipschitz_constants_of_at_most_one(module, change):
    def changed(leaf):
        return change(leaf) if eqx.is_inexact_array(leaf) and leaf.ndim == 2 else leaf

    half = jax.tree.map(changed, module.discriminator)
    steep = eqx.tree_at(lambda m: m.discriminator, module, half)
    assert all(steepness(*one) > 3 for one in maps(steep))
    assert all(0.1 < steepness(*one) <= 1 + 1e-9 for one in maps(steep.clipped()))
    assert all(0.1 < steepness(*one) <= 1 + 1e-9 for one in maps(module))


def test_clipping_touches_neither_what_is_within_bounds_nor_the_generator(module):
    again = module.clipped()
    for one, other in zip(*map(jax.tree.leaves, (module, again)), strict=True):
        if eqx.is_array(one):
            np.testing.assert_array_equal(one, other)
    large = eqx.tree_at(lambda m: m.generator.start.layers[0].weight, module, jnp.full((5, 2), 9.0))
    assert np.all(large.clipped().generator.start.layers[0].weight == 9)


def test_the_score_is_that_of_the_declared_equation(module, series):
    """In small pieces, Heun's method comes near, at its order, to what a solve of it gives."""
    rows = jnp.arange(6.0)
    clock = module.pace * TIMES[:, None]
    curve = sm.path(rows, jnp.concatenate([clock, series], axis=1), kind="linear")
    half = module.discriminator
    steps = dfx.ClipStepSizeController(dfx.PIDController(rtol=1e-9, atol=1e-9), jump_ts=rows)
    sol = sm.solve(
        half.model,
        (0, 5),
        initial={"hidden": half.start(curve(jnp.zeros(()))[0])},
        controls={"series": curve},
        saveat=[5.0],
        stepsize_controller=steps,
    )

    def error(pieces):
        inner = jnp.linspace(0, 5, 5 * pieces + 1)
        fine = [jnp.interp(inner, rows, one) for one in (TIMES, *series.T)]
        return abs(module.score(fine[0], jnp.stack(fine[1:], axis=1)) - sol["score"][-1])

    assert error(1) < 0.1 * np.ptp([module.score(TIMES, k * series) for k in (-1.0, 1.0)])
    np.testing.assert_allclose(error(8) / error(16), 4, rtol=0.1)


def test_the_score_does_not_depend_on_padding(module, series):
    plain = module.score(TIMES, series)
    longer = jnp.concatenate([TIMES, jnp.full(4, TIMES[-1])])
    for fill, mask in ((jnp.nan, None), (7.0, jnp.tile(jnp.arange(10)[:, None] < 6, (1, 3)))):
        padded = jnp.concatenate([series, jnp.full((4, 3), fill)])
        np.testing.assert_allclose(module.score(longer, padded, mask=mask), plain, rtol=1e-13)
    repeated = jnp.array([0, 1, 2, 2, 3, 4, 5])  # in the middle, too
    np.testing.assert_allclose(module.score(TIMES[repeated], series[repeated]), plain, rtol=1e-13)


def test_entries_that_are_missing_on_a_straight_line_change_nothing(module):
    line = jnp.stack([2 * TIMES - 1, 0.5 - TIMES, 3 * TIMES], axis=1)
    rows, channels = (one[:3] for one in HOLES)
    holes = line.at[rows, channels].set(jnp.nan).at[3, 2].set(jnp.nan)
    plain = module.score(TIMES, line)
    np.testing.assert_allclose(module.score(TIMES, holes), plain, rtol=1e-13)
    bent = holes.at[3, 0].add(0.3)
    assert abs(module.score(TIMES, bent) - plain) > 1e-6


def test_a_channel_is_constant_beyond_its_values_and_zero_without():
    values = jnp.array([[np.nan, np.nan], [1.0, np.nan], [np.nan, np.nan], [3.0, np.nan]])
    times = jnp.array([0.0, 1.0, 1.5, 2.0])
    found = filled(times, values, jnp.isfinite(values))
    np.testing.assert_allclose(found, [[1, 0], [1, 0], [2, 0], [3, 0]])


def test_the_score_has_a_slope_where_entries_are_missing(module, series):
    values = series.at[HOLES].set(jnp.nan)
    slope = np.asarray(jax.grad(lambda values: module.score(TIMES, values))(values))
    np.testing.assert_array_equal(slope == 0, np.isnan(values))
    assert np.all(np.isfinite(slope))


# -- both -----------------------------------------------------------------------------------------


def test_what_was_not_measured_is_left_out_of_the_generated_path_too(module):
    """So that a series which is the generated path has no loss, whatever of it is missing."""
    drawn = module.sample(TIMES, dt0=0.1, key=KEY)
    holes = drawn.at[HOLES].set(jnp.nan)
    assert module.score(TIMES, holes) != module.score(TIMES, drawn)
    np.testing.assert_allclose(module.loss(TIMES, holes, dt0=0.1, key=KEY), 0.0, atol=1e-15)


def test_slopes_of_the_loss_agree_with_differences(module, series):
    values = series.at[HOLES].set(jnp.nan)
    weights = eqx.filter(module, eqx.is_inexact_array)
    initial = lambda w: (w.generator.model.initial, w.discriminator.model.initial)
    kept = eqx.tree_at(initial, weights, replace=(None, None))  # which is no number
    _, restore = ravel_pytree(kept)

    @jax.jit
    @jax.value_and_grad
    def loss(point):
        whole = eqx.combine(restore(point), module)
        return whole.loss(TIMES, values, dt0=0.1, key=KEY)

    point = ravel_pytree(kept)[0]
    for half in ("generator", "discriminator"):
        none = jax.tree.map(jnp.zeros_like, kept)
        ones = jax.tree.map(jnp.ones_like, getattr(kept, half))
        chosen = ravel_pytree(eqx.tree_at(lambda w, half=half: getattr(w, half), none, ones))[0]
        way = chosen * jax.random.normal(jax.random.key(3), point.shape)
        slope = jnp.vdot(loss(point)[1], way)
        difference = (loss(point + 1e-5 * way)[0] - loss(point - 1e-5 * way)[0]) / 2e-5
        assert abs(slope) > 1e-4
        np.testing.assert_allclose(slope, difference, rtol=1e-6)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: module_of(noise=sm.brownian("W")), "no Brownian motion of several components"),
        (lambda: module_of(noise=sm.brownian("W", shape=(2, 2))), "of several components"),
        (lambda: module_of(noise=y), "y is no Brownian motion"),
        (lambda: module_of(noise=0), "noise = 0: a size is 1 or more"),
        (lambda: module_of(latent=0), "latent = 0"),
        (lambda: module_of(hidden=-1), "hidden = -1"),
        (lambda: module_of(initial=0), "initial = 0"),
        (lambda: module_of(width=0), "width = 0"),
        (lambda: module_of(pace=0.0), "pace = 0"),
        (lambda: module_of(sm.unknown("latent")), "latent is given twice"),
    ],
)
def test_what_does_not_fit_is_refused(build, message):
    with pytest.raises(sm.DeclarationError, match=message):
        build()


def test_series_that_do_not_fit_are_refused(module, series):
    with pytest.raises(sm.DataError, match="has no value: leave it out"):
        module.score(TIMES, jnp.full((6, 3), jnp.nan))
    with pytest.raises(sm.DataError, match="have shape \\(6, 2\\).*expected \\(6, 3\\)"):
        module.score(TIMES, jnp.zeros((6, 2)))
    with pytest.raises(sm.DataError, match="in one vector"):
        module.sample(TIMES[:1], dt0=0.1, key=KEY)
    with pytest.raises(TypeError, match="dt0"):
        module.loss(TIMES, series, key=KEY)
