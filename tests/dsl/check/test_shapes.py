"""Faults of shapes."""

import jax
import numpy as np
import pytest
import sympy
from golden import agrees, at, cases_of, eq, message

import sciml as sm
from sciml import D

x = sm.unknown("x")
u, v = sm.unknown("u", shape=3), sm.unknown("v", shape=2)
A = sm.parameter("A", shape=(3, 2))
p = sm.parameter("p", shape=2)
k = sm.parameter("k")
f = sm.neural("f", lambda a: jax.numpy.stack([a[0], a[1]]))


def system(*equations, **given):
    return sm.System(*equations, origin=at(1), **given)


def sum_of_two():
    return system(eq(2, D(u), k * x - u + v**2 - sympy.sin(x)), eq(3, D(v), -v), eq(4, D(x), 1))


def product_instead_of_contraction():
    return system(eq(2, D(u), -u), eq(3, D(v), A * u))


def inside_a_function():
    return system(eq(2, D(u), x + sympy.exp(-(u * v)) / 2), eq(3, D(v), -v), eq(4, D(x), 1))


def inside_a_condition():
    choice = sympy.Piecewise((u, x > 0), (v, True))
    return system(eq(2, D(u), choice), eq(3, D(v), -v), eq(4, D(x), 1))


def right_side_of_another_shape():
    return system(eq(2, D(u), -A @ v * 0 + A @ v), eq(3, D(v), A @ v))


def array_for_a_scalar():
    return system(eq(2, D(x), -k * p * x))


def array_for_a_scalar_on_the_left():
    return system(eq(2, -k * p * x, D(x)))


def network_with_two_outputs():
    return system(eq(2, D(x), f(x, k) - x))


def constant_array():
    return system(eq(2, D(u), np.array([1.0, 2.0])))


def sides_without_an_unknown_alone():
    return system(eq(2, 2 * D(u) + u, v), eq(3, D(v), v))


def reduced():
    return system(eq(2, sm.total(D(u)), 1))


def higher_order():
    return system(eq(2, D(u, 2), -p))


def elements():
    return system(eq(2, D(u[0]), 1), eq(3, D(u[1]), 2), eq(4, 3, D(u[2])))


def algebraic():
    return system(eq(2, D(x), sm.total(u)), eq(3, sm.total(u**3), x))


def definition():
    return system(eq(2, D(u), -u), eq(3, x, 2 * u))


def observed():
    return system(eq(2, D(u), -u), observed={x: 2 * u, "twice": u + p})


CASES = [
    sum_of_two, product_instead_of_contraction, inside_a_function, inside_a_condition,
    right_side_of_another_shape, array_for_a_scalar, array_for_a_scalar_on_the_left,
    network_with_two_outputs, constant_array, sides_without_an_unknown_alone, reduced,
    higher_order, elements, algebraic, definition, observed,
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_message_is_the_golden_one(case):
    agrees(f"shapes_{case.__name__}", message(lambda: sm.check(case())))


def test_every_golden_file_has_its_case():
    assert cases_of("shapes") == {f"shapes_{case.__name__}" for case in CASES}


RIGHT = {
    "a scalar for an array": [eq(2, D(u), -k)],
    "an array and its elements": [eq(2, D(u), u[0] * u + sm.total(u))],
    "an algebraic array": [eq(2, D(x), u[0]), eq(3, u**3 + u, x)],
    "a contraction": [eq(2, D(u), A @ v), eq(3, D(v), -p * v)],
    "a mass matrix": [eq(2, sm.parameter("M", shape=(3, 3)) @ D(u), u)],
    "a stack": [eq(2, D(v), sm.stack([x, -x])), eq(3, D(x), v[0])],
    "several outputs": [eq(2, D(v), f(x, k)), eq(3, D(x), f(x, k)[1])],
    "an outer sum": [eq(2, D(sm.unknown("w", shape=(3, 2))), u[:, None] + v), eq(3, D(u), 1),
                     eq(4, D(v), 1)],
}  # fmt: skip


@pytest.mark.parametrize("equations", RIGHT.values(), ids=RIGHT)
def test_what_broadcasts_is_sound(equations):
    right = system(*equations)
    assert sm.check(right) is right


def test_the_culprit_is_the_smallest_expression():
    with pytest.raises(sm.ModelError) as caught:
        sm.check(sum_of_two())
    (fault,) = caught.value.faults
    assert fault.culprit in ("u + v", "-u + v**2", "v**2 - u")
    assert "u of shape (3,)" in fault.received
    assert "v**2 of shape (2,)" in fault.received
    assert fault.where == "model.py:2"
