"""Conditions beyond linear ones: rates, derivatives along an end, nonlinear ones, and interfaces.

Against exact solutions, products of exponentials and waves.
"""

import jax
import numpy as np
import pytest
import sympy
from scipy.optimize import brentq
from sympy import cos, exp, pi, sin

import sciml as sm
from sciml import D, t

x, y, z = sm.coordinates("x y z")
u, v = sm.unknown("u", t, x), sm.unknown("v", t, z)
w, q = sm.unknown("w", t, x, y), sm.unknown("q", t, z, y)


def error(system, exact, end, grid):
    """The largest error of each field over all nodes, of steps that are much more exact."""
    sol = sm.solve(
        system, t=(0, end), grid=grid, solver="stiff", rtol=1e-11, atol=1e-13, saveat=[end]
    )
    worst = []
    for field, e in exact.items():
        own = [s for s in system.coordinates if s in field.args]
        mesh = np.meshgrid(*(sol.model.grid[s.name] for s in own), indexing="ij")
        right = sympy.lambdify(own, e.subs(t, end))(*mesh)
        worst.append(np.abs(np.asarray(sol[field][-1]) - right).max())
    return max(worst)


def order(system, exact, end, grids):
    errors = [error(system, exact, end, grid) for grid in grids]
    return float(np.log2(errors[0] / errors[1])), errors[1]


# A rod whose end at 1 is a body that takes up what flows into it: u_t = -u_x there, of which
# exp(-l^2 t) sin(l x) is a solution where l tan(l) = 1.
RATE = brentq(lambda a: a * np.tan(a) - 1, 0.1, 1.5)
DECAY = exp(-(RATE**2) * t) * sin(RATE * x)
HEAT = sm.Eq(D(u, t), D(u, x, x))


def rod(*conditions, equations=(), **given):
    initial = {u: DECAY.subs(t, 0), **given.pop("initial", {})}
    return sm.System(
        HEAT, *equations, domain={x: (0, 1)}, initial=initial,
        boundary=[sm.Eq(u.at(x=0), 0), *conditions], **given,
    )  # fmt: skip


def test_a_rate_at_an_end_makes_its_value_a_state():
    system = rod(sm.Eq(sm.at(D(u, t), x=1), -sm.at(D(u, x), x=1)))
    model = sm.compile(system, grid={x: 9})
    assert {s.name for s in model.states} == {"u", "u_x_end"}
    assert not any(model.program.algebraic)
    found, least = order(system, {u: DECAY}, 1.0, [{x: 33}, {x: 65}])
    assert found > 3.75
    assert least < 1e-9


def test_a_body_at_an_end_may_be_an_unknown_of_its_own():
    body = sm.unknown("body")
    flows = sm.Eq(D(body), -sm.at(D(u, x), x=1))
    start = {body: float(np.sin(RATE))}
    system = rod(sm.Eq(u.at(x=1), body), equations=[flows], initial=start)
    found, least = order(system, {u: DECAY}, 1.0, [{x: 33}, {x: 65}])
    assert found > 3.75
    assert least < 1e-9


# Two rods that meet at 1/2, the second twice as conductive.
FIRST = brentq(
    lambda m: np.sqrt(m) / np.tan(np.sqrt(m) / 2) + 2 * np.sqrt(m / 2) / np.tan(np.sqrt(m / 8)),
    11, 20,
)  # fmt: skip
A, B = np.sqrt(FIRST), np.sqrt(FIRST / 2)
LEFT = exp(-FIRST * t) * sin(A * x)
RIGHT = exp(-FIRST * t) * np.sin(A / 2) / np.sin(B / 2) * sin(B * (1 - z))


def test_domains_meet_in_an_interface():
    system = sm.System(
        HEAT, sm.Eq(D(v, t), 2 * D(v, z, z)),
        domain={x: (0, 0.5), z: (0.5, 1)},
        initial={u: LEFT.subs(t, 0), v: RIGHT.subs(t, 0)},
        boundary=[
            sm.Eq(u.at(x=0), 0), sm.Eq(v.at(z=1), 0), sm.Eq(u.at(x=0.5), v.at(z=0.5)),
            sm.Eq(sm.at(D(u, x), x=0.5), 2 * sm.at(D(v, z), z=0.5)),
        ],
    )  # fmt: skip
    assert not any(sm.compile(system, grid={x: 9, z: 9}).program.algebraic)
    grids = [{x: 9, z: 11}, {x: 17, z: 21}]
    found, least = order(system, {u: LEFT, v: RIGHT}, 0.1, grids)
    assert found > 3.8
    assert least < 2e-6


def test_what_flows_through_a_contact_may_depend_on_the_jump():
    """In the end u = a x and v = 1 - b (1 - z), of equal flows a = 2 b = 3 (v - u)."""
    flow = 3 * (v.at(z=0.5) - u.at(x=0.5))
    a = 3 / (1 + 1.5 + 0.75)
    line = {u: a * x, v: 1 - a / 2 * (1 - z)}
    system = sm.System(
        HEAT, sm.Eq(D(v, t), 2 * D(v, z, z)),
        domain={x: (0, 0.5), z: (0.5, 1)},
        initial={u: line[u] + x * (x - 0.5) ** 2, v: line[v] + (1 - z) * (z - 0.5) ** 2},
        boundary=[
            sm.Eq(u.at(x=0), 0), sm.Eq(v.at(z=1), 1), sm.Eq(sm.at(D(u, x), x=0.5), flow),
            sm.Eq(2 * sm.at(D(v, z), z=0.5), flow),
        ],
    )  # fmt: skip
    assert error(system, line, 20.0, {x: 9, z: 9}) < 1e-8


def test_interfaces_hold_along_other_coordinates():
    """The same rods, a wave across them: exp(-p t) cos(pi y) times the old ones."""
    across = {w: LEFT.subs(t, 0) * cos(pi * y), q: RIGHT.subs(t, 0) * cos(pi * y)}
    system = sm.System(
        sm.Eq(D(w, t), D(w, x, x) + D(w, y, y)), sm.Eq(D(q, t), 2 * D(q, z, z) + D(q, y, y)),
        domain={x: (0, 0.5), z: (0.5, 1), y: (0, 1)},
        initial=across,
        boundary=[
            sm.Eq(w.at(x=0), 0), sm.Eq(q.at(z=1), 0), sm.Eq(w.at(x=0.5), q.at(z=0.5)),
            sm.Eq(sm.at(D(w, x), x=0.5), 2 * sm.at(D(q, z), z=0.5)),
            *(sm.Eq(sm.at(D(f, y), y=end), 0) for f in (w, q) for end in (0, 1)),
        ],
    )  # fmt: skip
    decay = exp(-(FIRST + pi**2) * t)
    exact = {f: decay * e for f, e in across.items()}
    grids = [{x: 9, z: 9, y: 9}, {x: 17, z: 17, y: 17}]
    found, _ = order(system, exact, 0.05, grids)
    assert found > 3.6


P, Q = 0.7, np.pi
PLANE = exp(P * x + (P**2 - Q**2) * t) * cos(Q * y)
HELD = PLANE.subs(x, 0)
CONDITIONS = {
    "a derivative along it": sm.Eq(sm.at(D(w, x), x=0), -P / Q**2 * sm.at(D(w, y, y), x=0)),
    "a rate, and what flows along it": sm.Eq(
        sm.at(D(w, t), x=0), sm.at(D(w, y, y), x=0) + P * sm.at(D(w, x), x=0)
    ),
    "radiation": sm.Eq(sm.at(D(w, x), x=0), P * w.at(x=0) + w.at(x=0) ** 4 - HELD**4),
}


@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=list(CONDITIONS))
def test_an_end_in_the_plane_is_a_field_of_its_own(condition):
    system = sm.System(
        sm.Eq(D(w, t), D(w, x, x) + D(w, y, y)),
        domain={x: (0, 1), y: (0, 1)},
        initial={w: PLANE.subs(t, 0)},
        boundary=[
            condition, sm.Eq(w.at(x=1), PLANE.subs(x, 1)), sm.Eq(sm.at(D(w, y), y=0), 0),
            sm.Eq(w.at(y=1), PLANE.subs(y, 1)),
        ],
    )  # fmt: skip
    found, _ = order(system, {w: PLANE}, 0.05, [{x: 9, y: 9}, {x: 15, y: 15}])
    assert found > 2.9  # 4 on the logarithm of 14 over 8, which is .81


def test_an_end_on_a_ring_is_periodic_too():
    turning = exp(P * x + (P**2 - 1) * t) * sin(y)
    system = sm.System(
        sm.Eq(D(w, t), D(w, x, x) + D(w, y, y)),
        domain={x: (0, 1), y: (0, 2 * np.pi)},
        initial={w: turning.subs(t, 0)},
        boundary=[
            sm.Eq(sm.at(D(w, t), x=0), sm.at(D(w, y, y), x=0) + P * sm.at(D(w, x), x=0)),
            sm.Eq(w.at(x=1), turning.subs(x, 1)), sm.Eq(w.at(y=0), w.at(y=2 * np.pi)),
        ],
    )  # fmt: skip
    assert error(system, {w: turning}, 0.3, {x: 13, y: 32}) < 2e-4


def test_derivatives_through_an_end_with_a_rate_are_right():
    k = sm.parameter("k", 1.0)
    system = rod(sm.Eq(sm.at(D(u, t), x=1), -k * sm.at(D(u, x), x=1)))

    def end(value):
        sol = sm.solve(
            system, t=(0, 1), grid={x: 9}, rtol=1e-8, atol=1e-10, saveat=[1.0], values={k: value}
        )
        return sol[u][-1, -1]

    difference = (end(1.001) - end(0.999)) / 0.002
    np.testing.assert_allclose(jax.grad(end)(1.0), difference, rtol=1e-5)


def test_fields_of_ends_start_as_arrays_do():
    values = np.linspace(0, 1, 9) ** 2
    system = rod(sm.Eq(sm.at(D(u, t), x=1), -sm.at(D(u, x), x=1)), initial={u: values})
    model = sm.compile(system, grid={x: 9})
    np.testing.assert_allclose(model.evaluate(u, 0.0, model.state()), values)


def test_a_corner_that_nothing_is_known_of_is_refused():
    slanted = sm.Eq(sm.at(D(w, y), y=0), sm.at(D(w, x), y=0))
    system = sm.System(
        sm.Eq(D(w, t), D(w, x, x) + D(w, y, y)),
        domain={x: (0, 1), y: (0, 1)},
        initial={w: 0},
        boundary=[
            sm.Eq(sm.at(D(w, t), x=0), sm.at(D(w, y, y), x=0)), sm.Eq(w.at(x=1), 0), slanted,
            sm.Eq(w.at(y=1), 0),
        ],
    )  # fmt: skip
    with pytest.raises(sm.DeclarationError, match="what holds in that corner"):
        sm.compile(system, grid={x: 9, y: 9})


def test_two_rates_at_one_end_are_refused():
    beam = sm.System(
        sm.Eq(D(u, t), -D(u, x, 4)), domain={x: (0, 1)}, initial={u: 0},
        boundary=[
            sm.Eq(u.at(x=0), 0), sm.Eq(sm.at(D(u, x), x=0), 0),
            sm.Eq(sm.at(D(u, t), x=1), sm.at(D(u, x, 3), x=1)),
            sm.Eq(sm.at(D(u, x, x), x=1), u.at(x=1) ** 3),
        ],
    )  # fmt: skip
    with pytest.raises(sm.DeclarationError, match="both for u"):
        sm.compile(beam, grid={x: 17})
