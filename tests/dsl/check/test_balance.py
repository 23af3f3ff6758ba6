"""Faults in the number of equations and in what they determine."""

import pytest
import sympy
from golden import agrees, at, cases_of, eq, message

import sciml as sm
from sciml import D, t

x, y, z, w = sm.unknowns("x y z w")
a, b = sm.parameters("a b")
s = sympy.Symbol("s")
u = sm.unknown("u", t, s)


def system(*equations, **given):
    return sm.System(*equations, origin=at(1), **given)


def empty():
    return system()


def no_equation():
    return system(eq(2, D(x), a * x - b * x * y))


def no_equation_for_a_rate():
    return system(eq(2, D(x) + D(y), -x))


def no_equation_for_an_observed_quantity():
    return system(eq(2, D(x), -x), observed={"total": x + y})


def no_unknown():
    return system(eq(2, D(x), -x), eq(3, a, 2 * b))


def two_equations():
    return system(eq(2, D(x), -x), eq(3, D(x), x * y))


def two_equations_of_mixed_order():
    return system(eq(2, D(x), -x), eq(3, D(x, 2), -x))


def lower_rate_and_another_unknown():
    return system(eq(2, D(x), z), eq(3, D(x, 2), -x))


def two_definitions():
    return system(eq(2, D(x), -z), eq(3, z, 2 * x), eq(4, z, 3 * x))


def definition_of_a_state():
    return system(eq(2, D(x), -x), eq(3, D(y), x), eq(4, y, x**2))


def observed_state():
    return system(eq(2, D(x), -x), observed={x: 2 * t})


def rate_of_a_definition():
    return system(eq(2, D(x), -x), eq(3, D(y), D(z) - y), eq(4, z, x**2))


def rate_of_an_observed_quantity():
    return system(eq(2, D(x), -x), eq(3, D(y), D(z) - y), observed={z: x**2})


def surplus():
    return system(eq(2, D(x), -x), eq(3, D(y), -y), eq(4, D(x) + D(y), 0))


def overdetermined():
    return system(eq(2, D(x), -z - w), eq(3, z**3 + z, x), eq(4, sympy.sin(z), x))


def algebraic_beside_noise():
    noise = sm.brownian("noise")
    return system(eq(2, D(x), D(noise) - z), eq(3, z**3 + z, x))


def constraint_on_a_state():
    return system(eq(2, D(x), z), eq(3, x, sympy.sin(t)))


def constraint_through_a_definition():
    return system(eq(2, D(x), z), eq(3, D(y), -z), eq(4, w, x + y), eq(5, w**2, 1))


def constraint():
    return system(eq(2, D(x), y), eq(3, D(y), -x), eq(4, x**2 + y**2, 1))


def constraint_on_one():
    return system(eq(2, D(x), y), eq(3, D(y), -x), eq(4, x**2, 1))


def pendulum():
    return system(
        eq(2, D(x, 2), -z * x), eq(3, D(y, 2), -z * y - 9.81), eq(4, x**2 + y**2, 1)
    )  # fmt: skip


def circle_of_definitions():
    return system(eq(2, D(x), z), eq(3, z, w + x), eq(4, w, 2 * z))


def circle_of_observed():
    p, q = sympy.symbols("p q")
    return system(eq(2, D(x), -x), observed={p: q + x, q: 2 * p})


def definition_by_itself():
    return system(eq(2, D(x), -x), observed={z: z + 1})


def partial_derivative():
    return system(eq(2, D(u, t), D(u, s, s)))


def derivative_by_a_parameter():
    return system(eq(2, D(x, a), x))


def derivative_by_another_time():
    other = sympy.Symbol("t", positive=True)
    return system(eq(2, D(sympy.Function("x")(other), other), 1))


def rate_of_an_expression():
    return system(eq(2, sympy.Derivative(x * y, t), x), eq(3, D(y), y))


CASES = [
    empty, no_equation, no_equation_for_a_rate, no_equation_for_an_observed_quantity, no_unknown,
    two_equations, two_equations_of_mixed_order, lower_rate_and_another_unknown,
    two_definitions, definition_of_a_state,
    observed_state, rate_of_a_definition, rate_of_an_observed_quantity, surplus, overdetermined,
    algebraic_beside_noise, constraint_on_a_state, constraint_through_a_definition, constraint,
    constraint_on_one, pendulum, circle_of_definitions,
    circle_of_observed, definition_by_itself, partial_derivative, derivative_by_a_parameter,
    derivative_by_another_time, rate_of_an_expression,
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_message_is_the_golden_one(case):
    agrees(f"balance_{case.__name__}", message(lambda: sm.check(case())))


def test_every_golden_file_has_its_case():
    assert cases_of("balance") == {f"balance_{case.__name__}" for case in CASES}


RIGHT = {
    "rates on either side": [eq(2, -x, D(x)), eq(3, y, D(y))],
    "a mass matrix": [eq(2, D(x) + D(y), x), eq(3, D(x) - D(y), y)],
    "a rate used in another equation": [eq(2, D(x), D(y) + 1), eq(3, D(y), -x)],
    "a rate that stands alone in the second": [eq(2, D(x), D(y) + 1), eq(3, D(x), -y)],
    "a lower rate beside the highest": [eq(2, D(x, 2), -D(x) - x), eq(3, D(y), D(x))],
    "definitions in any order": [eq(2, D(x), z), eq(3, z, w + x), eq(4, w, 2 * x)],
    "a definition on the right": [eq(2, D(x), z), eq(3, 2 * x, z)],
    "a definition by a rate": [eq(2, D(x), -x), eq(3, z, D(x))],
    "a definition by a rate above the highest": [eq(2, D(x), -x), eq(3, z, D(x, 2))],
}


@pytest.mark.parametrize("equations", RIGHT.values(), ids=RIGHT)
def test_a_balanced_system_is_sound_and_can_be_simplified(equations):
    right = system(*equations)
    assert sm.check(right) is right
    assert all(isinstance(e.lhs, sympy.Derivative) for e in sm.simplify(right).equations)


ALGEBRAIC = {
    "one that cannot be isolated": ([eq(2, D(x), -z), eq(3, z**3 + z, x)], {z: 3}),
    "a sum": ([eq(2, D(x), -x), eq(3, x + z, 1)], {z: 3}),
    "a residual": ([eq(2, D(x), -z), eq(3, 0, x - z)], {z: 3}),
    "a pair": ([eq(2, D(x), -z - w), eq(3, sympy.sin(z) + w, x), eq(4, z * w, 1)], {w: 3, z: 4}),
    "a pair of which one has both": (
        [eq(2, D(x), -z - w), eq(3, z + w**2 + z**2, x), eq(4, z**2 + z, x)],
        {w: 3, z: 4},
    ),
    "one behind a definition": ([eq(2, D(x), -z), eq(3, z, w + x), eq(4, z**3 + z, x)], {w: 4}),
    "one defined twice": ([eq(2, D(x), -z), eq(3, z, w + x), eq(4, z, 2 * x)], {w: 4}),
    "one with a rate below the highest": ([eq(2, D(x, 2), -z), eq(3, z**3 + z, D(x))], {z: 3}),
    "no differential one": ([eq(2, z**3 + z, t)], {z: 2}),
}


@pytest.mark.parametrize(("equations", "owner"), ALGEBRAIC.values(), ids=ALGEBRAIC)
def test_an_algebraic_equation_is_matched_to_an_unknown_without_a_rate(equations, owner):
    right = system(*equations)
    assert sm.check(right) is right
    simplified = sm.simplify(right)
    residuals = [e for e in simplified.equations if e.lhs == 0]
    unknowns = simplified.survey.algebraic
    assert {u: e.origin.line for u, e in zip(unknowns, residuals, strict=True)} == owner
    assert list(simplified.survey.states[-len(owner) :]) == simplified.survey.algebraic


def test_an_observed_rate_does_not_raise_the_order():
    right = system(eq(2, D(x), -x), observed={"acceleration": D(x, 2)}, initial={x: 1})
    assert sm.check(right).survey.orders == {x: 1}


def faults(wrong):
    with pytest.raises(sm.ModelError) as caught:
        sm.check(wrong)
    return caught.value.faults


@pytest.mark.parametrize("n", [1, 3, 12])
def test_every_unknown_without_equation_is_named(n):
    missing = sm.unknowns([f"m{i}" for i in range(n)])
    found = faults(system(eq(2, D(x), sympy.Add(*missing))))
    assert {fault.summary for fault in found} == {
        f"The unknown m{i} has no equation." for i in range(n)
    }
