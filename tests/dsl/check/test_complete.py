"""What a solve still needs."""

from golden import agrees, at, cases_of, eq

import sciml as sm
from sciml import D
from sciml.dsl import ModelError
from sciml.dsl.check import check_complete

x, z = sm.unknowns("x z")
u = sm.unknown("u", shape=3)
k, m = sm.parameter("k"), sm.parameter("m", guess=0.5)
p = sm.parameter("p", shape=3)
SYSTEM = sm.System(
    eq(2, D(x, 2), -k * x - m * D(x) + z), eq(3, D(u), p - u), eq(4, z, x**2), origin=at(1)
)


def test_the_message_is_the_golden_one():
    agrees("complete_everything", f"{ModelError(check_complete(SYSTEM), SYSTEM.name)}\n")
    assert cases_of("complete") == {"complete_everything"}


def test_every_state_and_every_parameter_without_a_value_is_named():
    assert {fault.summary for fault in check_complete(SYSTEM)} == {
        "The unknown x has no initial value.",
        "The rate D(x) has no initial value.",
        "The unknown u has no initial value.",
        "The parameter k has no value.",
        "The parameter m has no value.",
        "The parameter p has no value.",
    }


def test_what_the_system_or_the_call_gives_is_not_missing():
    given = SYSTEM.replace(initial={x: 1, "u": 0}, values={k: 1, m: 2 * k})
    assert [f.summary for f in check_complete(given, given_initial={"D(x)"})] == [
        "The parameter p has no value."
    ]
    assert check_complete(given, given_initial={"D(x)"}, given_values={"p"}) == []


def test_a_declared_value_is_a_value():
    q = sm.parameter("q", 2.0)
    assert check_complete(sm.System(eq(2, D(x), q), initial={x: 1})) == []


def test_the_guess_of_an_algebraic_unknown_may_be_left_out():
    system = sm.System(eq(2, D(x), -z), eq(3, z**3 + z, x), origin=at(1))
    assert [f.summary for f in check_complete(system)] == ["The unknown x has no initial value."]
    assert check_complete(system.replace(initial={x: 1})) == []


def test_a_simplified_system_lacks_what_the_declared_one_lacks():
    declared = [fault.summary for fault in check_complete(SYSTEM)]
    assert [fault.summary for fault in check_complete(sm.simplify(SYSTEM))] == declared
