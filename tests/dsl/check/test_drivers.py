"""Faults in the use of Brownian motions and controls."""

import pytest
import sympy
from golden import agrees, at, cases_of, eq, message

import sciml as sm
from sciml import D

x, z = sm.unknowns("x z")
W, V = sm.brownian("W"), sm.brownian("V")
X = sm.control("X", channels=2)


def system(*equations, **given):
    return sm.System(*equations, origin=at(1), **given)


CASES = {
    "control_as_unknown": lambda: system(eq(2, D(x), -x), eq(3, D(X), x)),
    "noise_as_unknown": lambda: system(eq(2, D(W), -x), eq(3, D(x), 1)),
    "noise_without_rate": lambda: system(eq(2, D(x), -x + W)),
    "noise_squared": lambda: system(eq(2, D(x), -x + D(W) ** 2)),
    "noise_times_noise": lambda: system(eq(2, D(x), D(W) * D(V))),
    "noise_in_a_function": lambda: system(eq(2, D(x), sympy.sin(D(W)))),
    "noise_in_a_definition": lambda: system(eq(2, D(x), z), eq(3, z, x + D(W))),
    "noise_observed": lambda: system(eq(2, D(x), D(W)), observed={z: x + D(W)}),
    "initial_of_noise": lambda: system(eq(2, D(x), D(W)), initial={x: 1, W: 0}),
    "initial_of_control": lambda: system(eq(2, D(x), X[0]), initial={x: 1, X: 0}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_message_is_that_of_the_golden_file(case):
    agrees(f"drivers_{case}", message(lambda: sm.check(CASES[case]())))


def test_controls_and_noise_in_their_places_are_no_faults():
    good = system(eq(2, D(x), x * D(W) + sm.index(D(X), 1) + X[0]))
    assert sm.check(good) is good


def test_every_golden_file_has_its_case():
    assert cases_of("drivers") == {f"drivers_{case}" for case in CASES}
