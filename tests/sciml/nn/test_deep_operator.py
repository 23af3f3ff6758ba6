"""Claims about DeepONets: the sum of products, its sensors, and any nodes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml as sm
from sciml.nn import DeepONet, Places

KEY = jax.random.key(0)
MAKE = DeepONet(sensors=8, width=12, depth=2, basis=5, harmonics=2)


def ring(count):
    return (Places.of("x", count, periodic=True),)


def wave(count):
    return jnp.asarray(np.sin(2 * np.pi * np.arange(count) / count + 1)[None])


def test_the_value_at_a_place_is_the_sum_of_products_of_branch_and_trunk():
    """Lu et al. (2021), equation 2; for each output with functions of its own."""
    module = MAKE.build(1, 2, ring(16), numbers=1, key=KEY)
    number, values = jnp.array([0.7]), wave(16)
    found = module(values, number)
    branch = np.asarray(module.branch(jnp.concatenate([values[0, ::2], number])))
    for node in (0, 3, 11):
        s = 2 * np.pi * node / 16
        where = jnp.array([np.cos(s), np.sin(s), np.cos(2 * s), np.sin(2 * s)])
        trunk = np.asarray(module.trunk(where))
        for output in range(2):
            own = slice(5 * output, 5 * output + 5)
            expected = branch[own] @ trunk[own] / np.sqrt(5) + module.bias[output]
            np.testing.assert_allclose(found[output, node], expected, atol=1e-12)


@pytest.mark.parametrize("factor", [2, 5])
def test_on_a_finer_grid_with_the_same_sensors_the_values_are_the_same(factor):
    module = MAKE.build(1, 1, ring(8), key=KEY)
    fine = module(wave(8 * factor))
    np.testing.assert_allclose(fine[:, ::factor], module(wave(8)), atol=1e-12)


def test_nodes_may_be_anywhere_if_the_sensors_are_among_them():
    shares = np.sort(np.concatenate([np.linspace(0, 1, 9), [0.03, 0.77]]))
    module = DeepONet(sensors=9, width=12).build(1, 1, (Places.of("x", 33),), key=KEY)
    places = (Places("x", shares),)
    module.refuse(places)
    found = module(jnp.asarray(np.cos(shares))[None], None, [jnp.asarray(shares)])
    even = module(jnp.cos(jnp.linspace(0, 1, 33))[None])
    np.testing.assert_allclose(found[0, [0, -1]], even[0, [0, -1]], atol=1e-12)


def test_two_coordinates_are_read_on_a_mesh_of_sensors():
    places = (*ring(8), Places.of("y", 9))
    module = DeepONet(sensors=None, width=8).build(2, 3, places, key=KEY)
    assert [len(one) for one in module.sensors] == [8, 9]
    assert eqx.filter_eval_shape(module, jnp.ones((2, 8, 9))).shape == (3, 8, 9)
    assert eqx.filter_eval_shape(module, jnp.ones((2, 16, 17))).shape == (3, 16, 17)


def test_a_grid_without_the_sensors_is_refused_with_those_that_have_them():
    module = MAKE.build(1, 1, ring(16), key=KEY)
    with pytest.raises(sm.DeclarationError, match=r"8 sensors .* 12 nodes.* take 8, 16, 24"):
        module.refuse(ring(12))
    bounded = DeepONet(sensors=9).build(1, 1, (Places.of("x", 17),), key=KEY)
    with pytest.raises(sm.DeclarationError, match=r"9 sensors .* 20 nodes.* take 9, 17"):
        bounded.refuse((Places.of("x", 20),))


@pytest.mark.parametrize(
    ("places", "cure"), [(ring(20), "divides 20"), ((Places.of("x", 21),), "a divisor of 20")]
)
def test_sensors_that_are_no_nodes_are_refused(places, cure):
    with pytest.raises(sm.DeclarationError, match=rf"sensors=8\).* nodes of x; .*{cure}"):
        MAKE.build(1, 1, places, key=KEY)


@pytest.mark.parametrize("option", ["sensors", "width", "depth", "basis", "harmonics"])
def test_what_is_no_positive_number_is_refused(option):
    with pytest.raises(sm.DeclarationError, match=f"{option} of a DeepONet"):
        DeepONet(**{option: 0})
