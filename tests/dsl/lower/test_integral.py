"""Integrals of fields: against those that sympy finds."""

import numpy as np
import pytest
import sympy

import sciml as sm
from sciml import D, t

s, x = sm.coordinates("s x")
u, w, b = sm.unknown("u", t, s), sm.unknown("w", t, s, x), sm.unknown("b")
PROFILE = sympy.exp(s) * sympy.cos(s)


def model(grid, **options):
    system = sm.System(
        sm.Eq(D(u, t), -sm.integral(u, (s, 0, s))),
        sm.Eq(D(b), sm.integral(u**2, s)),
        domain={s: (0, 2)},
        initial={u: PROFILE, b: 0},
    )
    return sm.compile(system, grid={s: grid}, **options)


def value(compiled, e):
    return np.asarray(compiled.evaluate(e, 0.0, compiled.state()))


INTEGRALS = {
    "whole": (sm.integral(u, s), (0, 2)),
    "limits": (sm.integral(u, (s, 0.33, 1.234)), (0.33, 1.234)),
    "cumulative": (sm.integral(u, (s, 0, s)), (0, s)),
    "from a place": (sm.integral(u, (s, 0.3, s)), (0.3, s)),
}


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("name", INTEGRALS)
def test_the_order_is_at_least_that_of_the_schemes(name, order):
    wanted, limits = INTEGRALS[name]
    exact = sympy.integrate(PROFILE, (s, *limits))
    for grids in ((21, 41), [sm.stretched(n, (0, 2), by=3) for n in (21, 41)]):
        errors = []
        for grid in grids:
            compiled = model(grid, order=order)
            right = sympy.lambdify(s, exact)(compiled.grid["s"])
            errors.append(np.max(np.abs(value(compiled, wanted) - right)))
        assert errors[1] < 1e-10 or np.log2(errors[0] / errors[1]) > order - 0.2


def test_they_stand_in_equations():
    compiled = model(41)
    rates = np.asarray(compiled.vector_field(0.0, compiled.state()))
    nodes = compiled.grid["s"]
    within = sympy.lambdify(s, sympy.integrate(PROFILE, (s, 0, s)))(nodes)
    np.testing.assert_allclose(rates[:-1], -within, atol=2e-6)
    np.testing.assert_allclose(rates[-1], float(sympy.integrate(PROFILE**2, (s, 0, 2))), rtol=1e-6)


def test_of_one_of_two_coordinates_it_is_a_field_of_the_other():
    system = sm.System(
        sm.Eq(D(w, t), -w * sm.integral(w, x)),
        domain={s: (0, 1), x: (0, 2)},
        initial={w: s * x**2},
    )
    compiled = sm.compile(system, grid={s: 5, x: 9})
    along = value(compiled, sm.integral(w, x))
    np.testing.assert_allclose(along, 8 / 3 * compiled.grid["s"], rtol=1e-12)
    np.testing.assert_allclose(value(compiled, sm.integral(w, x, s)), 4 / 3, rtol=1e-12)
    assert compiled.coordinates_of(sm.integral(w, x)) == (s,)


def test_a_periodic_one_is_exact_to_rounding():
    system = sm.System(
        sm.Eq(D(u, t), -u),
        domain={s: (0, 2 * sympy.pi)},
        initial={u: sympy.sin(s) ** 2},
        boundary=[sm.Eq(u.at(s=0), u.at(s=2 * sympy.pi))],
    )
    compiled = sm.compile(system, grid={s: 16})
    np.testing.assert_allclose(value(compiled, sm.integral(u, s)), np.pi, rtol=1e-14)


def test_their_derivatives_are_known():
    assert D(sm.integral(u**2, (s, 0, s)), s) == u**2
    assert D(sm.integral(u, s), t) == sm.integral(D(u, t), s)
    assert D(sm.integral(u, s), s) == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda: sm.integral(u),
        lambda: sm.integral(u, t),
        lambda: sm.integral(u, (s, s, 1)),
        lambda: sm.integral(u, (s, 0, x)),
        lambda: value(model(9), sm.integral(u, (s, 0, 3))),
    ],
)
def test_what_makes_no_sense_is_refused(call):
    with pytest.raises(sm.DeclarationError):
        call()
