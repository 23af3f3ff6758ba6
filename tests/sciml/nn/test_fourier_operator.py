"""Claims about Fourier neural operators: their convolution, and that it is the same on any grid."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml as sm
from sciml.nn import FNO, Places, spectral_convolution

KEYS = jax.random.split(jax.random.key(0), 4)


def weights(*shape):
    return jax.random.normal(KEYS[0], (2, *shape))


def wave(*counts, channels=2):
    """Functions with frequencies up to 2, at equidistant nodes of a periodic mesh."""
    mesh = np.meshgrid(*(2 * np.pi * np.arange(n) / n for n in counts), indexing="ij")
    rows = [sum((k + 1) * np.sin((k % 2 + 1) * s + k) for s in mesh) for k in range(channels)]
    return jnp.asarray(np.stack(rows) / 3)


def periodic(*counts):
    return tuple(Places.of(name, n, periodic=True) for name, n in zip("xyz", counts, strict=False))


def operator(make, *counts, inputs=2, outputs=1, numbers=0):
    return make.build(inputs, outputs, periodic(*counts), numbers=numbers, key=KEYS[1])


@pytest.mark.parametrize("count", [24, 25])
def test_the_spectral_convolution_is_a_dense_circular_one(count):
    """The kernel is the sum of its few waves, and the convolution a sum over all nodes."""
    weight, values = weights(3, 2, 5), np.asarray(jax.random.normal(KEYS[2], (2, count)))
    factors = np.asarray(weight[0]) + 1j * np.asarray(weight[1])
    angles = 2 * np.pi * np.outer(np.arange(5), np.arange(count)) / count
    twice = np.array([1, 2, 2, 2, 2])  # of each frequency and its negative
    kernel = np.real(np.einsum("oik,k,kj->oij", factors, twice, np.exp(1j * angles)))
    dense = np.zeros((3, count))
    for j in range(count):
        for other in range(count):
            dense[:, j] += kernel[:, :, (j - other) % count] @ values[:, other] / count
    found = spectral_convolution(jnp.asarray(values), weight)
    np.testing.assert_allclose(found, dense, atol=1e-12)


def test_the_spectral_convolution_in_two_coordinates_is_a_dense_one():
    nodes, modes = (10, 9), 3
    weight, values = weights(2, 2, 5, 3), np.asarray(jax.random.normal(KEYS[2], (2, *nodes)))
    factors = np.asarray(weight[0]) + 1j * np.asarray(weight[1])
    kernel = np.zeros((2, 2, *nodes))
    x, y = np.meshgrid(*map(np.arange, nodes), indexing="ij")
    for row, k in enumerate([0, 1, 2, -2, -1]):
        for m in range(modes):
            turning = np.exp(2j * np.pi * (k * x / nodes[0] + m * y / nodes[1]))
            part = np.real(factors[:, :, row, m, None, None] * turning)
            kernel += part * (1 if m == 0 else 2)
    dense = np.zeros((2, *nodes))
    for a in range(nodes[0]):
        for b in range(nodes[1]):
            moved = np.roll(kernel, (a, b), axis=(2, 3))
            dense += np.einsum("oixy,i->oxy", moved, values[:, a, b]) / (nodes[0] * nodes[1])
    np.testing.assert_allclose(spectral_convolution(jnp.asarray(values), weight), dense, atol=1e-12)


@pytest.mark.parametrize("factor", [2, 3])
def test_the_convolution_of_a_band_limited_function_is_exact_on_any_grid(factor):
    weight, n = weights(2, 2, 4), 16
    fine = spectral_convolution(wave(factor * n), weight)
    coarse = spectral_convolution(wave(n), weight)
    np.testing.assert_allclose(fine[:, ::factor], coarse, atol=1e-13)


def test_the_convolution_in_two_coordinates_is_exact_on_any_grid():
    weight = weights(2, 2, 5, 3)
    fine = spectral_convolution(wave(24, 30), weight)
    np.testing.assert_allclose(
        fine[:, ::2, ::3], spectral_convolution(wave(12, 10), weight), atol=1e-13
    )


def test_the_whole_operator_converges_with_the_grid_faster_than_any_power():
    """Only waves that the nonlinearities make, and the grid does not carry, are left out."""
    module = operator(FNO(modes=4, width=8), 512)
    apply = eqx.filter_jit(module)
    best = apply(wave(512))
    errors = [np.max(np.abs(apply(wave(n)) - best[:, :: 512 // n])) for n in (16, 32, 64)]
    assert errors[1] < errors[0] / 30
    assert errors[2] < 1e-8


def test_padding_is_the_same_part_of_the_length_on_any_grid():
    def on(n):
        s = Places.of("x", n)
        module = FNO(modes=4, width=8, padding=0.25).build(1, 1, (s,), key=KEYS[1])
        return eqx.filter_jit(module)(jnp.asarray(np.cos(3 * s.shares))[None])

    best = on(1025)
    errors = [np.max(np.abs(on(n) - best[:, :: 1024 // (n - 1)])) for n in (33, 65, 129)]
    assert errors[2] < 0.6 * errors[1] < 0.4 * errors[0]  # first order, from the jump to zero


def test_without_coordinates_what_is_moved_has_a_moved_answer():
    values = jax.random.normal(KEYS[2], (2, 20, 18))
    module = eqx.filter_jit(operator(FNO(modes=4, width=6, depth=2, coordinates=False), 20, 18))
    moved = module(jnp.roll(values, (3, 5), axis=(1, 2)))
    np.testing.assert_allclose(moved, jnp.roll(module(values), (3, 5), axis=(1, 2)), atol=1e-12)
    with_ = eqx.filter_jit(operator(FNO(modes=4, width=6, depth=2), 20, 18))
    far = with_(jnp.roll(values, 3, axis=1)) - jnp.roll(with_(values), 3, axis=1)
    assert np.max(np.abs(far)) > 1e-3


def test_numbers_are_inputs_at_every_node():
    module = operator(FNO(modes=4, width=6, depth=2), 16, numbers=2)
    numbers = jnp.array([0.3, -2.0])
    as_functions = operator(FNO(modes=4, width=6, depth=2), 16, inputs=4)
    beside = jnp.concatenate([wave(16), jnp.broadcast_to(numbers[:, None], (2, 16))])
    np.testing.assert_allclose(module(wave(16), numbers), as_functions(beside), atol=1e-13)


@pytest.mark.parametrize("counts", [(16,), (12, 10)])
def test_the_gradient_is_that_of_finite_differences(counts):
    module = operator(FNO(modes=4, width=5, depth=2), *counts)
    arrays, rest = eqx.partition(module, eqx.is_inexact_array)
    direction = jax.tree.map(lambda leaf: jax.random.normal(KEYS[3], leaf.shape), arrays)

    @jax.jit
    def loss(size):
        moved = jax.tree.map(lambda a, b: a + size * b, arrays, direction)
        return jnp.sum(eqx.combine(moved, rest)(wave(*counts)) ** 3)

    h = 1e-5
    differences = (loss(h) - loss(-h)) / (2 * h)
    np.testing.assert_allclose(jax.grad(loss)(0.0), differences, rtol=1e-6)


def test_single_precision_stays_single():
    def cast(leaf):
        return leaf.astype(jnp.float32) if eqx.is_inexact_array(leaf) else leaf

    module = operator(FNO(modes=4, width=6, depth=2), 16)
    found = jax.tree.map(cast, module)(wave(16).astype(jnp.float32))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, module(wave(16)), atol=1e-5)


def test_a_grid_with_too_few_nodes_for_the_modes_is_refused():
    module = FNO(modes=8, width=4, depth=1).build(1, 1, periodic(15), key=KEYS[1])
    with pytest.raises(sm.DeclarationError, match=r"14 nodes are too few for 8 modes.*need 15"):
        module.refuse(periodic(14))
    with pytest.raises(sm.DeclarationError, match=r"grid of x: 10 nodes.*FNO\(modes=5\)"):
        FNO(modes=8).build(1, 1, periodic(10), key=KEYS[1])


def test_nodes_that_are_not_equidistant_are_refused():
    nodes = Places("x", sm.stretched(33, (0, 1)))
    with pytest.raises(sm.DeclarationError, match=r"equidistant nodes, and these.*DeepONet"):
        FNO(modes=4).build(1, 1, (nodes,), key=KEYS[1])


@pytest.mark.parametrize(
    ("option", "value"), [("modes", 0), ("width", -2), ("depth", -1), ("padding", -0.1)]
)
def test_what_is_no_positive_number_is_refused(option, value):
    with pytest.raises(sm.DeclarationError, match=f"{option} of an FNO"):
        FNO(**{option: value})
