"""Faults of parameter values."""

import numpy as np
import pytest
import sympy
from golden import agrees, at, cases_of, eq, message

import sciml as sm
from sciml import D, t

x, y = sm.unknowns("x y")
k = sm.parameter("k")
r = sm.parameter("r", bounds=(0, 1))
a, b, c = sm.parameters("a b c")
p = sm.parameter("p", shape=3)
A = sm.parameter("A", shape=(2, 2), bounds=(None, 1))


def system(*equations, **given):
    return sm.System(*equations, origin=at(1), **given)


def growth(rate, **values):
    return system(eq(2, D(x), rate * x), values={rate: values["value"]})


def nan():
    return growth(k, value=np.nan)


def text():
    return growth(k, value="0.3")


def array_for_a_scalar():
    return growth(k, value=[1, 2])


def array_for_a_plain_symbol():
    return growth(sympy.Symbol("q"), value=[1, 2])


def wrong_shape():
    return system(eq(2, D(sm.unknown("u", shape=3)), p), values={p: [1, 2]})


def below_bound():
    return growth(r, value=-0.5)


def above_bound_in_an_array():
    u = sm.unknown("u", shape=2)
    return system(eq(2, D(u), A @ u), values={A: [[0, 2], [1, 3]]})


def declared_outside_bounds():
    return system(eq(2, D(x), sm.parameter("m", 5, bounds=(0, 1)) * x))


def guess_outside_bounds():
    n = sm.unknown("n", guess=-1, bounds=(0, None))
    return system(eq(2, D(n), sm.parameter("m", guess=2, bounds=(0, 1)) * n))


def computed_outside_bounds():
    return system(eq(2, D(x), r * x), values={r: 2 * a, a: b + 1, b: 3})


def itself():
    return system(eq(2, D(x), k * x), values={k: 2 * k})


def circle():
    return system(eq(2, D(x), a * x), values={a: 2 * b, b: c + 1, c: a / 2})


def two_circles():
    return system(
        eq(2, D(x), (a + b) * x + c * k), values={a: b + 1, b: 2 * a, c: sympy.sqrt(k), k: c**2}
    )


def unknown():
    return system(eq(2, D(x), k * x), eq(3, D(y), y), values={k: 2 * x + y})


def time():
    return growth(k, value=sympy.sin(t))


def expression_of_wrong_shape():
    return growth(k, value=2 * p)


CASES = [
    nan, text, array_for_a_scalar, array_for_a_plain_symbol, wrong_shape, below_bound,
    above_bound_in_an_array, declared_outside_bounds, guess_outside_bounds,
    computed_outside_bounds, itself, circle, two_circles, unknown, time,
    expression_of_wrong_shape,
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_message_is_the_golden_one(case):
    agrees(f"values_{case.__name__}", message(lambda: sm.check(case())))


def test_every_golden_file_has_its_case():
    assert cases_of("values") == {f"values_{case.__name__}" for case in CASES}


def test_values_may_depend_on_each_other_and_on_missing_ones():
    sm.check(system(eq(2, D(x), a * x), values={a: 2 * b, b: c + 1}))


def test_a_value_replaces_a_default_that_is_outside_the_bounds_of_nobody():
    m = sm.parameter("m", 0.5, bounds=(0, 1))
    sm.check(system(eq(2, D(x), m * x), values={m: 0.7}))


def test_a_chain_of_values_is_computed_before_its_bounds_are_looked_at():
    sm.check(system(eq(2, D(x), r * x), values={r: a / 10, a: b + 1, b: 3}))
    with pytest.raises(sm.ModelError, match="received: 4"):
        sm.check(system(eq(2, D(x), r * x), values={r: a, a: b + 1, b: 3}))
