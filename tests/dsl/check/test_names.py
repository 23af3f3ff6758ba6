"""Faults of names."""

import pytest
import sympy
from golden import agrees, at, cases_of, eq, message
from sympy.physics.mechanics import dynamicsymbols

import sciml as sm
from sciml import D, t

x, y = sm.unknowns("x y")
prey, predator = sm.unknowns("prey predator")
k = sm.parameter("k")
rate = sm.parameter("rate", 2.0)
f = sm.neural("f", lambda a: a)


def system(*equations, **given):
    return sm.System(*equations, origin=at(1), **given)


def undeclared():
    return system(eq(2, D(x), -sympy.Symbol("kappa") * x))


def misspelt():
    return system(eq(2, D(prey), rate * prey), eq(3, D(predator), -sympy.Symbol("rats") * predator))


def other_case():
    return system(eq(2, D(x), rate * x - sympy.Symbol("Rate")))


def same_name_but_plain():
    return system(eq(2, D(x), sympy.Symbol("x", real=True)))


def another_time():
    return system(eq(2, D(x), sympy.sin(sympy.Symbol("t", positive=True))))


def undeclared_in_observed():
    return system(eq(2, D(x), -x), observed={"twice": 2 * sympy.Symbol("z")})


def unknown_and_parameter():
    return system(eq(2, D(x), -x), eq(3, D(y), sm.parameter("x") * y))


def other_metadata():
    return system(eq(2, D(x), -k * x), eq(3, D(y), -sm.parameter("k", bounds=(0, 1)) * y))


def other_unit():
    return system(eq(2, D(x), sm.unknown("y", unit="m")), eq(3, D(y), x))


def two_networks():
    return system(eq(2, D(x), f(x)), eq(3, D(y), sm.neural("f", lambda a: 2 * a)(y)))


def network_and_parameter():
    return system(eq(2, D(x), f(x) * sm.parameter("f")))


def undeclared_function():
    return system(eq(2, D(x), sympy.Function("g")(x)))


def field():
    return system(eq(2, D(sm.unknown("u", t, sympy.Symbol("s"))), 1))


def function_of_another_time():
    z = sympy.Function("z")(sympy.Symbol("t", positive=True))
    return system(eq(2, D(x), z))


def initial_absent():
    return system(eq(2, D(prey), prey), initial={prey: 1, "pery": 2})


def initial_parameter():
    return system(eq(2, D(x), k * x), initial={x: 1, k: 2})


def initial_expression():
    return system(eq(2, D(x), x), eq(3, D(y), y), initial={x + y: 1})


def initial_element():
    u = sm.unknown("u", shape=2)
    return system(eq(2, D(u), -u), initial={u[0]: 1})


def initial_network():
    return system(eq(2, D(x), f(x)), initial={"f": 1})


def values_absent():
    return system(eq(2, D(x), rate * x), values={rate: 1, "rat": 2})


def values_absent_alone():
    return system(eq(2, D(x), x), values={k: 2})


def values_unknown():
    return system(eq(2, D(x), k * x), values={k: 1, x: 2})


def values_rate():
    return system(eq(2, D(x), k * x), values={D(x): 2})


def values_network():
    return system(eq(2, D(x), f(x)), values={"f": 1})


def values_expression():
    return system(eq(2, D(x), k * x), values={2 * k: 1})


def given_twice():
    return system(eq(2, D(x), k * x), values={k: 1, "k": 2})


def observed_parameter():
    return system(eq(2, D(x), k * x), observed={k: 2 * x})


def observed_unknown_by_name():
    return system(eq(2, D(x), x), observed={"x": 2 * x})


def observed_symbol_by_name():
    return system(eq(2, D(x), sympy.Symbol("z")), observed={"z": 2 * x})


def observed_expression():
    return system(eq(2, D(x), x), observed={x**2: 2 * x})


CASES = [
    undeclared, misspelt, other_case, same_name_but_plain, another_time, undeclared_in_observed,
    unknown_and_parameter, other_metadata, other_unit, two_networks, network_and_parameter,
    undeclared_function, field, function_of_another_time, initial_absent, initial_parameter,
    initial_expression, initial_element, initial_network, values_absent, values_absent_alone,
    values_unknown, values_rate, values_network, values_expression, given_twice,
    observed_parameter, observed_unknown_by_name, observed_symbol_by_name, observed_expression,
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_message_is_the_golden_one(case):
    agrees(f"names_{case.__name__}", message(lambda: sm.check(case())))


def test_every_golden_file_has_its_case():
    assert cases_of("names") == {f"names_{case.__name__}" for case in CASES}


def summaries(wrong):
    with pytest.raises(sm.ModelError) as caught:
        sm.check(wrong)
    return [fault.summary for fault in caught.value.faults]


def test_a_plain_symbol_with_a_value_is_declared():
    symbol = sympy.Symbol("decay")
    right = system(eq(2, D(x), -symbol * x), values={symbol: 1})
    assert sm.check(right) is right


def test_a_plain_symbol_that_is_observed_is_declared():
    z = sympy.Symbol("z")
    sm.check(system(eq(2, D(x), -z), observed={z: 2 * x}))


def test_equal_declarations_are_one_symbol():
    again = sm.parameter("k")
    sm.check(system(eq(2, D(x), -k * x), eq(3, D(y), -again * y), values={again: 1}))


def test_values_and_initial_values_are_accepted_by_name():
    sm.check(system(eq(2, D(x, 2), -k * x), initial={"x": 1, "D(x)": 0}, values={"k": 1}))


def test_functions_of_sympys_mechanics_are_unknowns():
    q = dynamicsymbols("q")
    sm.check(system(eq(2, q.diff(t, 2), -q)))


def test_each_undeclared_symbol_is_one_fault():
    p, q = sympy.symbols("p q")
    found = summaries(system(eq(2, D(x), p * x + q), eq(3, D(y), p * y + q)))
    assert sorted(summary[:1] for summary in found) == ["p", "q"]
