"""What is wrong with complex numbers is told in the user's symbols."""

import jax.numpy as jnp
import pytest
import sympy
from sympy import I

import sciml as sm
from sciml import D, t

x = sm.coordinate("x")
y, z = sm.unknown("y"), sm.unknown("z", complex=True)
psi = sm.unknown("psi", t, x, complex=True)
net = sm.neural("f", jnp.tanh)
DIRICHLET = {"domain": {x: (0, 1)}, "boundary": [sm.Eq(psi.at(x=0), 0), sm.Eq(psi.at(x=1), 0)]}


@pytest.mark.parametrize(
    ("system", "said"),
    [
        (sm.System(sm.Eq(D(y), I * y)), r"all of its unknowns are real[\s\S]*complex=True"),
        (sm.System(sm.Eq(D(z), net(z))), r"f\(z\): a network takes real numbers"),
        (sm.System(sm.Eq(D(z), sympy.erf(z))), r"erf\(z\): this takes real numbers alone"),
        (sm.System(sm.Eq(D(z), -z), initial={z: float("nan")}), "value of z is not finite"),
        (sm.System(sm.Eq(D(z), -z), initial={z: [1j, 2]}), "value of z has the wrong shape"),
        (sm.System(sm.Eq(D(y), -y), initial={y: 1j}), "the complex number 1j"),
        (
            sm.System(sm.Eq(D(z), -z), sm.Eq(D(y), -y), observed={sm.unknown("q"): z}),
            "q is real, and is defined by something complex",
        ),
        (
            sm.System(sm.Eq(D(psi, t), -(1 + I) * D(psi, x, x)), **DIRICHLET),
            "psi is ill-posed: short waves along x grow",
        ),
    ],
)  # fmt: skip
def test_faults_of_complex_numbers_are_found(system, said):
    with pytest.raises(sm.ModelError, match=said):
        sm.check(system)


def test_dispersion_is_well_posed_in_both_directions():
    for sign in (1, -1):
        system = sm.System(sm.Eq(I * D(psi, t), sign * D(psi, x, x)), **DIRICHLET)
        assert sm.check(system) is system


def test_a_missing_initial_value_is_named_as_declared():
    with pytest.raises(sm.ModelError, match="The unknown z has no initial value"):
        sm.solve(sm.System(sm.Eq(D(z), -z)), t=(0, 1))


def test_complex_unknowns_have_no_bounds():
    with pytest.raises(sm.DeclarationError, match="complex numbers have no bounds"):
        sm.unknown("z", complex=True, bounds=(0, 1))


def test_conjugates_of_places_and_elements_stay():
    v = sm.unknown("v", shape=2, complex=True)
    for e in (psi.at(x=0), v[0], sm.integral(psi, x)):
        assert sympy.conjugate(e) != e
        assert sympy.re(e).is_real
    for e in (sm.unknown("u", t, x).at(x=0), sm.unknown("r", shape=2)[0]):
        assert sympy.conjugate(e) == e


def test_a_part_does_not_take_the_name_of_another_unknown():
    other = sm.unknown("z_re")
    model = sm.compile(sm.System(sm.Eq(D(z), I * other), sm.Eq(D(other), -other)))
    assert {s.name for s in model.states} == {"z_re_", "z_im", "z_re"}
