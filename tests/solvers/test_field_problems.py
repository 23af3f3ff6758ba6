"""The partial differential equations of problems.md that have exact solutions, to 1e-6 or better.

Kuramoto-Sivashinsky's and the soliton of Korteweg and de Vries on a ring (to 1e-8) stand in
stepping/test_waves.py, the order of WENO in dsl/lower.
"""

import diffrax as dfx
import numpy as np
import pytest
import sympy
from sympy import cos, exp, pi, sin, sqrt

import sciml as sm
from sciml import D, t

x, y = sm.coordinates("x y")
u = sm.unknown("u", t, x)
p, q = sm.unknown("p", t, x, y), sm.unknown("q", t, x, y)
STIFF = {"solver": "stiff", "rtol": 1e-9, "atol": 1e-11}
ENDS = (0, 1)


def held(field, e, s, place):
    """The exact value as a condition at an end."""
    return sm.Eq(field.at(**{s.name: place}), e.subs(s, place))


def sloped(field, e, s, place):
    return sm.Eq(sm.at(D(field, s), **{s.name: place}), e.diff(s).subs(s, place))


def line(equation, exact, low, high, boundary, *, initial=None):
    return sm.System(
        equation, domain={x: (low, high)}, boundary=boundary,
        initial=initial or {u: exact.subs(t, 0)},
    )  # fmt: skip


def error(system, exact, end, grid, **options):
    """The largest one over all nodes and fields at the end."""
    sol = sm.solve(system, t=(0, end), grid=grid, saveat=[end], **options)
    worst = 0.0
    for field, e in exact.items():
        own = [s for s in system.coordinates if s in field.args]
        mesh = np.meshgrid(*(sol.model.grid[s.name] for s in own), indexing="ij")
        right = sympy.lambdify(own, e.subs(t, end))(*mesh)
        worst = max(worst, float(np.max(np.abs(np.asarray(sol[field][-1]) - right))))
    return worst


WAVE = exp(-t) * cos(x)
ROBIN = exp(-t) * sin(x)
FAST = 2 * (1 + t) / (1 + x) ** 2
POROUS = (x + sympy.Rational(1, 2)) / (2 * sqrt(50 - t))
HEAT = sm.Eq(D(u, t), D(u, x, x))


def robin(e, place, a, b):
    condition = a * u.at(x=place) + b * sm.at(D(u, x), x=place)
    return sm.Eq(condition, (a * e + b * e.diff(x)).subs(x, place))


LINES = {
    "heat, values": (HEAT, WAVE, 0, np.pi, [held(u, WAVE, x, e) for e in (0, np.pi)], 17, 1.0),
    "heat, slopes": (HEAT, WAVE, 0, np.pi, [sloped(u, WAVE, x, e) for e in (0, np.pi)], 17, 1.0),
    "heat, Robin": (
        HEAT, ROBIN, -1, 1, [robin(ROBIN, -1, 1, 3), robin(ROBIN, 1, 4, 1)], 15, 1.0,
    ),
    "heat, Robin with time": (
        HEAT, ROBIN, -1, 1, [robin(ROBIN, -1, t**2, 3), robin(ROBIN, 1, 4, t)], 15, 1.0,
    ),
    "fast diffusion": (
        sm.Eq(D(u, t), D(D(u, x) / u, x)), FAST, 0, 2, [held(u, FAST, x, e) for e in (0, 2)], 25,
        2.0,
    ),
    "porous medium": (
        sm.Eq(D(u, t), D(u**2 * D(u, x), x)), POROUS, 0, 1,
        [held(u, POROUS, x, e) for e in (0, 1)], 9, 2.0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LINES.values(), ids=list(LINES))
def test_in_one_dimension_with_chebyshevs_nodes(case):
    equation, exact, low, high, boundary, count, end = case
    system = line(equation, exact, low, high, boundary)
    assert error(system, {u: exact}, end, {x: sm.Chebyshev(count)}, **STIFF) < 1e-6


def test_the_integral_of_heat_between_insulated_ends_is_kept():
    system = line(HEAT, WAVE, 0, np.pi, [sloped(u, WAVE, x, e) for e in (0, np.pi)],
                  initial={u: cos(x) + 2})  # fmt: skip
    sol = sm.solve(system, t=(0, 1), grid={x: sm.Chebyshev(17)}, saveat=[0.5, 1.0], **STIFF)
    np.testing.assert_allclose(sol[sm.integral(u, x)], 2 * np.pi, rtol=1e-8)


def test_inviscid_burgers():
    rarefaction = x / (1 + t)
    system = line(sm.Eq(D(u, t) + u * D(u, x), 0), rarefaction, 0, 1, [sm.Eq(u.at(x=0), 0)])
    assert error(system, {u: rarefaction}, 6.0, {x: 21}, rtol=1e-9, atol=1e-11) < 1e-6


def test_the_wave_equation():
    standing = sin(pi * x) * cos(pi * t)
    system = line(
        sm.Eq(D(u, t, t), D(u, x, x)), standing, 0, 1, [sm.Eq(u.at(x=e), 0) for e in ENDS],
        initial={u: standing.subs(t, 0), D(u, t): 0},
    )  # fmt: skip
    found = error(system, {u: standing}, 1.0, {x: 41}, order=6, rtol=1e-9, atol=1e-11)
    assert found < 1e-6


def test_advection_diffusion_and_dispersion():
    a, b, g, d = 1.1, 2.1, 1.1, 3.1
    turning = (1 + exp(-4 * t * (b + 4 * d)) * cos(2 * x + t * (-8 * g - 2 * a))) / 2
    equation = sm.Eq(D(u, t) + a * D(u, x), b * D(u, x, x) + g * D(u, x, 3) - d * D(u, x, 4))
    ring = [sm.Eq(u.at(x=0), u.at(x=2 * np.pi))]
    system = line(equation, turning, 0, 2 * np.pi, ring)
    options = {"scheme": "fourier", "solver": sm.ETDRK4(), "dt0": 0.05,
               "stepsize_controller": dfx.ConstantStepSize()}  # fmt: skip
    assert error(system, {u: turning}, 0.1, {x: 16}, **options) < 1e-12


def test_a_soliton_between_ends():
    """Korteweg and de Vries: two conditions where waves enter, and one where they leave."""
    soliton = sympy.sech((x - t) / 2) ** 2 / 2
    ends = [held(u, soliton, x, -10), held(u, soliton, x, 10), sloped(u, soliton, x, 10)]
    system = line(sm.Eq(D(u, t), -6 * u * D(u, x) - D(u, x, 3)), soliton, -10, 10, ends)
    found = error(system, {u: soliton}, 2.0, {x: 161}, order=6, **STIFF | {"rtol": 1e-8})
    assert found < 1e-6


def test_burgers_in_the_plane():
    R = 80
    front = 1 / (4 * (1 + exp(R * (-t - 4 * x + 4 * y) / 32)))
    exact = {p: sympy.Rational(3, 4) - front, q: sympy.Rational(3, 4) + front}
    faces = [held(f, e, s, place) for f, e in exact.items() for s in (x, y) for place in ENDS]
    system = sm.System(
        *(
            sm.Eq(D(f, t) + p * D(f, x) + q * D(f, y), sm.laplacian(f, x, y) / R)
            for f in (p, q)
        ),
        domain={x: (0, 1), y: (0, 1)}, boundary=faces,
        initial={f: e.subs(t, 0) for f, e in exact.items()},
    )  # fmt: skip
    found = error(system, exact, 0.25, {x: 65, y: 65}, order=8, rtol=1e-8, atol=1e-10)
    assert found < 1e-6
