"""Faults of initial values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from golden import agrees, at, cases_of, eq, message

import sciml as sm
from sciml import D, t

x, y, z = sm.unknowns("x y z")
u = sm.unknown("u", shape=3)
n = sm.unknown("n", bounds=(0, 100))
k = sm.parameter("k")
SPRING = eq(2, D(x, 2), -k * x)


def system(*equations, **given):
    return sm.System(*equations, origin=at(1), **given)


def highest():
    return system(eq(2, D(x), -x), initial={x: 1, D(x): 0})


def highest_of_second_order():
    return system(SPRING, initial={x: 1, D(x): 0, D(x, 2): -1})


def defined():
    return system(eq(2, D(x), z), eq(3, z, 2 * x), initial={x: 1, z: 2})


def observed():
    return system(eq(2, D(x), -x), observed={z: 2 * x}, initial={x: 1, z: 2})


def nan():
    return system(eq(2, D(x), -x), initial={x: float("nan")})


def infinite():
    return system(eq(2, D(x), -x), initial={x: sympy.oo})


def nan_in_an_array():
    return system(eq(2, D(u), -u), initial={u: [1.0, np.nan, np.inf]})


def text():
    return system(eq(2, D(x), -x), initial={x: "2*k"})


def nothing():
    return system(eq(2, D(x), -x), initial={x: None})


def complex_number():
    return system(eq(2, D(x), -x), eq(3, D(y), y), initial={x: 1j, y: 1 + sympy.I})


def list_of_expressions():
    return system(eq(2, D(u), -k * u), initial={u: [k, 1, 2]})


def ragged():
    return system(eq(2, D(u), -u), initial={u: [[1, 2], [3]]})


def array_for_a_scalar():
    return system(eq(2, D(x), -x), initial={x: [1, 2]})


def wrong_shape():
    return system(eq(2, D(u), -u), initial={u: jnp.ones(2)})


def wrong_shape_of_a_rate():
    return system(eq(2, D(u, 2), -u), initial={u: 0, D(u): [1, 2]})


def expression_of_wrong_shape():
    p = sm.parameter("p", shape=2)
    return system(eq(2, D(u), -u), initial={u: 2 * p})


def unknowns():
    return system(eq(2, D(x), -x), eq(3, D(y), x), initial={x: 1, y: 2 * x})


def time():
    return system(eq(2, D(x), -x), initial={x: sympy.cos(t)})


def bounds():
    return system(eq(2, D(n), n), initial={n: -1})


CASES = [
    highest, highest_of_second_order, defined, observed, nan, infinite, nan_in_an_array, text,
    nothing, complex_number, list_of_expressions, ragged, array_for_a_scalar, wrong_shape,
    wrong_shape_of_a_rate, expression_of_wrong_shape, unknowns, time, bounds,
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_message_is_the_golden_one(case):
    agrees(f"conditions_{case.__name__}", message(lambda: sm.check(case())))


def test_every_golden_file_has_its_case():
    assert cases_of("conditions") == {f"conditions_{case.__name__}" for case in CASES}


@pytest.mark.parametrize(
    "value",
    [1, 2.5, np.float32(1), jnp.ones(()), sympy.Rational(1, 3), sympy.pi, k, 2 * k + 1, True],
    ids=str,
)
def test_numbers_of_every_kind_and_expressions_are_values(value):
    sm.check(system(eq(2, D(x), -k * x), initial={x: value}))


@pytest.mark.parametrize(
    "value",
    [0, [1, 2, 3], np.ones(3), jnp.ones(3), (sympy.S.Half, 1, 2), sm.stack([k, 1, 2]), k],
    ids=str,
)
def test_arrays_of_every_kind_and_scalars_are_values_of_an_array(value):
    sm.check(system(eq(2, D(u), -k * u), initial={u: value}))


def test_a_number_on_its_bound_is_within_bounds():
    sm.check(system(eq(2, D(n), n), initial={n: 0}))


def test_bounds_of_an_unknown_do_not_bound_its_rate():
    sm.check(system(eq(2, D(n, 2), -n), initial={n: 1, D(n): -1}))


def test_an_algebraic_unknown_takes_a_guess():
    z = sm.unknown("z")
    equations = eq(2, D(x), -z), eq(3, z**3 + z, x)
    for guess in (2, k / 2):
        sm.check(system(*equations, initial={x: 1, z: guess}))


def test_a_missing_initial_value_is_no_fault():
    sm.check(system(SPRING, initial={x: 1}))


def test_a_traced_value_is_looked_at_for_its_shape_alone():
    @jax.jit
    def shapes_agree(value):
        sm.check(system(eq(2, D(u), -u), initial={u: value}))
        return value

    assert shapes_agree(jnp.full(3, jnp.nan)).shape == (3,)
    with pytest.raises(sm.ModelError, match="wrong shape"):
        shapes_agree(jnp.ones(2))
