"""Claims about log-signatures: closed forms, Witt's formula, the series of Baker, Campbell and
Hausdorff, and the exponential as the way back."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml as sm

WALK = np.cumsum(np.random.default_rng(0).normal(size=(20, 3)), axis=0)


def lyndon_words(channels, depth):
    """A second way: words that come before all their rotations, by length and alphabet."""
    return [
        word
        for k in range(1, depth + 1)
        for word in itertools.product(range(channels), repeat=k)
        if all(word < word[i:] + word[:i] for i in range(1, k))
    ]


def product(one, other):
    """The product of two tensors, level by level."""
    found = [np.zeros(np.shape(level)) for level in one]
    for k in range(len(one)):
        for j in range(k + 1):
            found[k] = found[k] + np.multiply.outer(one[j], other[k - j])
    return found


def bracket(one, other):
    return [a - b for a, b in zip(product(one, other), product(other, one), strict=True)]


def letter(channel, channels, depth):
    found = [np.zeros((channels,) * k) for k in range(depth + 1)]
    found[1][channel] = 1.0
    return found


def lie(word, channels, depth):
    """The bracket of a Lyndon word: that of the two Lyndon words whose second is the longest."""
    if len(word) == 1:
        return letter(word[0], channels, depth)
    known = lyndon_words(channels, depth)
    cut = next(i for i in range(1, len(word)) if word[i:] in known)
    return bracket(lie(word[:cut], channels, depth), lie(word[cut:], channels, depth))


def tensors(coefficients, channels, depth):
    """The Lie element with these entries at Lyndon words; brackets have their word first."""
    rest = [np.zeros((channels,) * k) for k in range(depth + 1)]
    for word, entry in zip(lyndon_words(channels, depth), coefficients, strict=True):
        share = entry - rest[len(word)][word]
        element = lie(word, channels, depth)
        rest = [a + share * b for a, b in zip(rest, element, strict=True)]
    return rest


def exponential(element):
    power = [np.ones(()), *(np.zeros_like(level) for level in element[1:])]
    total = list(power)
    for n in range(1, len(element)):
        power = [level / n for level in product(power, element)]
        total = [a + b for a, b in zip(total, power, strict=True)]
    return total


@pytest.mark.parametrize(
    ("channels", "sizes"),
    [(1, (1, 1, 1, 1)), (2, (2, 3, 5, 8, 14, 23)), (3, (3, 6, 14, 32)), (5, (5, 15, 55, 205))],
)
def test_there_are_as_many_words_as_witt_says(channels, sizes):
    for depth, size in enumerate(sizes, start=1):
        assert sm.log_signature_size(channels, depth) == size
        walk = jnp.asarray(np.random.default_rng(1).normal(size=(4, channels)))
        if size < 100:
            assert len(lyndon_words(channels, depth)) == size
            assert sm.log_signature(walk, depth=depth).shape == (size,)


def test_that_of_a_straight_line_is_its_change():
    change = np.array([0.3, -2.0, 1.1])
    line = jnp.asarray(np.linspace(0, 1, 7)[:, None] * change[None])
    found = sm.log_signature(line, depth=4)
    np.testing.assert_allclose(found[:3], change, rtol=1e-14)
    np.testing.assert_allclose(found[3:], 0, atol=1e-14)


@pytest.mark.parametrize(("channels", "depth"), [(2, 6), (3, 4)])
def test_the_signature_is_its_exponential(channels, depth):
    walk = WALK[:6, :channels]
    signature = sm.signature(jnp.asarray(walk), depth=depth)
    logarithm = np.asarray(sm.log_signature(jnp.asarray(walk), depth=depth))
    for level, expected in zip(
        exponential(tensors(logarithm, channels, depth)), signature, strict=True
    ):
        np.testing.assert_allclose(level, expected, atol=1e-10, rtol=1e-10)


def test_that_of_two_straight_pieces_is_the_series_of_baker_campbell_and_hausdorff():
    x, y = np.array([0.4, -1.0, 0.3]), np.array([1.2, 0.7, -0.5])
    path = jnp.asarray(np.stack([0 * x, x, x + y]))
    first, second = ([np.zeros(()), v, np.zeros((3, 3)), np.zeros((3, 3, 3))] for v in (x, y))
    both = bracket(first, second)
    triple = [
        a - b for a, b in zip(bracket(first, both), bracket(second, both), strict=True)
    ]  # [x, [x, y]] + [y, [y, x]]
    series = [first[k] + second[k] + both[k] / 2 + triple[k] / 12 for k in range(4)]
    expected = [series[len(word)][word] for word in lyndon_words(3, 3)]
    np.testing.assert_allclose(sm.log_signature(path, depth=3), expected, atol=1e-13)


def test_the_word_01_of_a_closed_loop_is_its_area():
    angle = np.linspace(0, 2 * np.pi, 401)
    loop = np.stack([3 * np.cos(angle), 2 * np.sin(angle)], axis=1)
    polygon = 0.5 * np.sum(loop[:-1, 0] * loop[1:, 1] - loop[1:, 0] * loop[:-1, 1])
    found = sm.log_signature(jnp.asarray(loop), depth=2)
    np.testing.assert_allclose(found, [0, 0, polygon], atol=1e-12)
    assert abs(polygon - 6 * np.pi) < 1e-3 * polygon
    np.testing.assert_allclose(sm.log_signature(jnp.asarray(loop[::-1]), depth=2)[2], -polygon)


def test_that_of_a_path_run_backwards_is_its_negative():
    found = [sm.log_signature(jnp.asarray(path), depth=4) for path in (WALK, WALK[::-1])]
    np.testing.assert_allclose(found[1], -found[0], rtol=1e-9, atol=1e-9)


def test_it_goes_through_jit_vmap_and_grad():
    batch = jnp.asarray(np.random.default_rng(2).normal(size=(4, 6, 2)))

    def last(path):
        return sm.log_signature(path, depth=3)[-1]

    together = jax.jit(jax.vmap(last))(batch)
    np.testing.assert_allclose(together, [last(path) for path in batch], rtol=1e-12)
    up, down = (last(batch[0].at[2, 1].add(h)) for h in (1e-5, -1e-5))
    np.testing.assert_allclose(jax.grad(last)(batch[0])[2, 1], (up - down) / 2e-5, rtol=1e-6)


def test_single_precision_stays_so():
    single = sm.log_signature(jnp.asarray(WALK, jnp.float32), depth=4)
    assert single.dtype == jnp.float32
    double = sm.log_signature(jnp.asarray(WALK), depth=4)
    np.testing.assert_allclose(single, double, atol=1e-4 * float(jnp.max(jnp.abs(double))))


def test_depths_and_channels_that_are_none_are_refused():
    with pytest.raises(sm.DeclarationError, match="depth = 0: a signature has 1 level or more"):
        sm.log_signature(jnp.zeros((3, 2)), depth=0)
    with pytest.raises(sm.DeclarationError, match="channels = 0, depth = 2: a log-signature has 1"):
        sm.log_signature_size(0, 2)
