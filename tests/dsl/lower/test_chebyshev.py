"""Chebyshev's nodes: smooth fields to many digits, at all ends, in one to three dimensions."""

import numpy as np
import pytest
import sympy
from sympy import cos, exp, sin

import sciml as sm
from sciml import D, t

x, y, z = sm.coordinates("x y z")
u, w, q = sm.unknown("u", t, x), sm.unknown("w", t, x, y), sm.unknown("q", t, x, y, z)
k = sm.parameter("k", 1.0)
HELD = exp(-t) * sin(x)  # of the heat equation on [-1, 1]


def heat(*boundary, **given):
    equation = sm.Eq(D(u, t), D(u, x, x))
    return sm.System(equation, domain={x: (-1, 1)}, initial={u: HELD.subs(t, 0)},
                     boundary=boundary, **given)  # fmt: skip


def at(e, place):
    return e.subs(x, place)


SLOPE = HELD.diff(x)
ENDS = {
    "values": (sm.Eq(u.at(x=-1), at(HELD, -1)), sm.Eq(u.at(x=1), at(HELD, 1))),
    "slopes": tuple(sm.Eq(sm.at(D(u, x), x=e), at(SLOPE, e)) for e in (-1, 1)),
    "both": (
        sm.Eq(u.at(x=-1) + 3 * sm.at(D(u, x), x=-1), at(HELD + 3 * SLOPE, -1)),
        sm.Eq(4 * u.at(x=1) + sm.at(D(u, x), x=1), at(4 * HELD + SLOPE, 1)),
    ),
    "both, with a factor of time": (
        sm.Eq(t**2 * u.at(x=-1) + 3 * sm.at(D(u, x), x=-1), at(t**2 * HELD + 3 * SLOPE, -1)),
        sm.Eq(4 * u.at(x=1) + t * sm.at(D(u, x), x=1), at(4 * HELD + t * SLOPE, 1)),
    ),
    "a nonlinear one": (
        sm.Eq(u.at(x=-1), at(HELD, -1)),
        sm.Eq(sm.at(D(u, x), x=1) + u.at(x=1) ** 4, at(SLOPE + HELD**4, 1)),
    ),
    "a rate": (
        sm.Eq(u.at(x=-1), at(HELD, -1)),
        sm.Eq(sm.at(D(u, t), x=1), -np.tan(1.0) * sm.at(D(u, x), x=1)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("ends", ENDS.values(), ids=list(ENDS))
def test_heat_with_sixteen_nodes_has_ten_digits(ends):
    """The cases of problems.md, and more of them."""
    sol = sm.solve(
        heat(*ends), t=(0, 1), grid={x: sm.Chebyshev(16)}, solver="stiff", rtol=1e-11, atol=1e-13,
        saveat=[1.0],
    )  # fmt: skip
    right = np.exp(-1) * np.sin(sol.model.grid["x"])
    np.testing.assert_allclose(sol[u][-1], right, atol=3e-10)


def test_a_flux_and_its_schemes():
    system = sm.System(
        sm.Eq(D(u, t), D((1 + x**2) * D(u, x), x) + u * D(u, x)),
        domain={x: (-1, 1)}, initial={u: sin(x)},
        boundary=[sm.Eq(u.at(x=-1), 0), sm.Eq(u.at(x=1), 0)],
    )  # fmt: skip
    with pytest.warns(sm.ModelWarning):
        model = sm.compile(system, grid={x: sm.Chebyshev(20)})
    assert set(model.schemes.values()) == {"Chebyshev, 20 nodes"}
    moved = sin(x) - x * sympy.sin(1)  # which is 0 at both ends
    start = model.replace(initial={u: sympy.lambdify(x, moved)(model.grid["x"])})
    rates = start.evaluate(D(u, t), 0.0, start.state())
    right = ((1 + x**2) * moved.diff(x)).diff(x) + moved * moved.diff(x)
    np.testing.assert_allclose(
        rates[1:-1], sympy.lambdify(x, right)(model.grid["x"])[1:-1], atol=1e-10
    )


def test_a_clamped_beam():
    """u_t = -u_xxxx, of which exp(-b^4 t) (cosh(b x) / cosh(b) - cos(b x) / cos(b)) is clamped."""
    from scipy.optimize import brentq

    b = brentq(lambda b: np.tanh(b) + np.tan(b), 2, 3)
    mode = sympy.cosh(b * x) / np.cosh(b) - cos(b * x) / np.cos(b)
    ends = [c for e in (-1, 1) for c in (sm.Eq(u.at(x=e), 0), sm.Eq(sm.at(D(u, x), x=e), 0))]
    beam = sm.System(sm.Eq(D(u, t), -D(u, x, 4)), domain={x: (-1, 1)}, initial={u: mode},
                     boundary=ends)  # fmt: skip
    sol = sm.solve(beam, t=(0, 0.05), grid={x: sm.Chebyshev(20)}, solver="stiff", rtol=1e-10,
                   atol=1e-12, saveat=[0.05])  # fmt: skip
    right = np.exp(-(b**4) * 0.05) * sympy.lambdify(x, mode)(sol.model.grid["x"])
    np.testing.assert_allclose(sol[u][-1], right, atol=1e-7)


def test_a_channel_periodic_along_it():
    wave = sin(y) * (1 - x**2)
    system = sm.System(
        sm.Eq(D(w, t), D(w, x, x) + D(w, y, y) + D(w, x, y)),
        domain={x: (-1, 1), y: (0, 2 * np.pi)}, initial={w: wave},
        boundary=[sm.Eq(w.at(x=-1), 0), sm.Eq(w.at(x=1), 0),
                  sm.Eq(w.at(y=0), w.at(y=2 * np.pi))],
    )  # fmt: skip
    model = sm.compile(system, grid={x: sm.Chebyshev(9), y: 12}, scheme="fourier")
    assert set(model.schemes.values()) == {"Chebyshev, 9 nodes", "Fourier"}
    rates = model.evaluate(D(w, t), 0.0, model.state())[1:-1]
    mesh = np.meshgrid(*model.grid.values(), indexing="ij")
    right = wave.diff(x, 2) + wave.diff(y, 2) + wave.diff(x, y)
    np.testing.assert_allclose(rates, sympy.lambdify((x, y), right)(*mesh)[1:-1], atol=1e-10)


def test_three_dimensions_along_each_axis():
    ball = exp(x) * cos(y) * sin(z)
    faces = [sm.Eq(q.at(**{s.name: e}), ball.subs(s, e)) for s in (x, y, z) for e in (-1, 1)]
    system = sm.System(
        sm.Eq(D(q, t), D(q, x, x) + 2 * D(q, y, y) + 3 * D(q, z, z) + D(q, x, z)),
        domain=dict.fromkeys((x, y, z), (-1, 1)), initial={q: ball}, boundary=faces,
    )  # fmt: skip
    model = sm.compile(system, grid={x: sm.Chebyshev(13), y: sm.Chebyshev(12), z: sm.Chebyshev(14)})
    rates = model.evaluate(D(q, t), 0.0, model.state())[1:-1, 1:-1, 1:-1]
    mesh = np.meshgrid(*model.grid.values(), indexing="ij")
    right = ball.diff(x, 2) + 2 * ball.diff(y, 2) + 3 * ball.diff(z, 2) + ball.diff(x, z)
    wanted = sympy.lambdify((x, y, z), right)(*mesh)[1:-1, 1:-1, 1:-1]
    np.testing.assert_allclose(rates, wanted, atol=1e-8)


def test_integrals_and_values_between_nodes_are_as_exact():
    system = heat(*ENDS["values"])
    model = sm.compile(system, grid={x: sm.Chebyshev(16)})
    state = model.state()
    whole = model.evaluate(sm.integral(u**2, (x, -1, 0.3)), 0.0, state)
    np.testing.assert_allclose(whole, 0.65 - (np.sin(0.6) + np.sin(2)) / 4, atol=1e-12)
    up_to = model.evaluate(sm.integral(u, (x, -1, x)), 0.0, state)
    np.testing.assert_allclose(up_to, np.cos(1) - np.cos(model.grid["x"]), atol=1e-12)
    np.testing.assert_allclose(model.evaluate(u.at(x=0.2), 0.0, state), np.sin(0.2), atol=1e-12)


def test_the_compiled_graph_does_not_grow_with_the_nodes():
    import jax

    def size(count):
        model = sm.compile(heat(*ENDS["both"]), grid={x: sm.Chebyshev(count)})
        return len(jax.make_jaxpr(lambda y: model.vector_field(0.0, y))(model.state()).eqns)

    assert size(48) == size(16)


def test_bad_grids_are_refused():
    ring = sm.System(
        sm.Eq(D(u, t), D(u, x, x)), domain={x: (0, 1)}, boundary=[sm.Eq(u.at(x=0), u.at(x=1))]
    )
    with pytest.raises(sm.DeclarationError, match="it is periodic"):
        sm.compile(ring, grid={x: sm.Chebyshev(9)})
    third = sm.System(
        sm.Eq(D(u, t), -D(u, x, 3)), domain={x: (0, 1)},
        boundary=[sm.Eq(u.at(x=0), 0), sm.Eq(u.at(x=1), 0), sm.Eq(sm.at(D(u, x), x=1), 0)],
    )  # fmt: skip
    with pytest.raises(sm.DeclarationError, match="odd order from the third on"):
        sm.compile(third, grid={x: sm.Chebyshev(9)})
    with pytest.raises(sm.DeclarationError, match="3 nodes or more"):
        sm.Chebyshev(2)
