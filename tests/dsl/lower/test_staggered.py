"""Staggered grids: which fields lie between the nodes, and that the orders hold up to the ends."""

import diffrax as dfx
import jax
import numpy as np
import pytest
import sympy
from scipy.linalg import expm
from sympy import cos, cosh, exp, pi, sin, sinh

import sciml as sm
from sciml import D, t

x, y = sm.coordinates("x y")
p, v = sm.unknown("p", t, x), sm.unknown("v", t, x)
E, F, G = (sm.unknown(name, t, x, y) for name in ("E", "F", "G"))
NODES = {"even": lambda n: n, "stretched": lambda n: sm.stretched(n, (0, 1), by=4)}


def error(system, exact, end, **options):
    """The largest error at the nodes, at the end of steps that are much more exact."""
    sol = sm.solve(
        system, t=(0, end), solver=dfx.Tsit5(), rtol=1e-10, atol=1e-12, saveat=[end], **options
    )
    worst = 0.0
    for field, e in exact.items():
        own = [s for s in system.coordinates if s in field.args]
        mesh = np.meshgrid(*(sol.model.grid[s.name] for s in own), indexing="ij")
        right = sympy.lambdify(own, e.subs(t, end))(*mesh)
        worst = max(worst, np.abs(np.asarray(sol[field][-1]) - right).max())
    return worst


def rates(model):
    return jax.jit(jax.jacfwd(lambda state: model.vector_field(0.0, state)))(model.state())


def at_its_places(model, exact, time):
    """An exact solution where the states of a model in one coordinate are."""
    fields = model.program.fields
    parts = []
    for state in model.states:
        field = next(u for u in exact if fields.placed[u].state == state.symbol)
        places = fields.axes[x].along(fields.placed[field].spans[x])
        parts.append(sympy.lambdify(x, exact[field].subs(t, time))(places))
    return np.concatenate(parts)


def tube(exact, *boundary):
    """Sound between two ends."""
    return sm.System(
        sm.Eq(D(v, t), -D(p, x)), sm.Eq(D(p, t), -D(v, x)), domain={x: (0, 1)},
        boundary=boundary, initial={u: e.subs(t, 0) for u, e in exact.items()},
    )  # fmt: skip


CLOSED = {p: cos(pi * x) * cos(pi * t), v: sin(pi * x) * sin(pi * t)}
OPEN = {p: sin(pi * x) * cos(pi * t), v: -cos(pi * x) * sin(pi * t)}
HALF = {u: e.subs(pi, pi / 2) for u, e in CLOSED.items()}
LEAKS = {p: exp(-t) * cosh(x), v: exp(-t) * sinh(x)}
TUBES = {
    "closed": tube(CLOSED, sm.Eq(v.at(x=0), 0), sm.Eq(v.at(x=1), 0)),
    "open": tube(OPEN, sm.Eq(p.at(x=0), 0), sm.Eq(p.at(x=1), 0)),
    "open at one end": tube(HALF, sm.Eq(v.at(x=0), 0), sm.Eq(p.at(x=1), 0)),
    "leaking": tube(LEAKS, sm.Eq(v.at(x=0), 0), sm.Eq(p.at(x=1), v.at(x=1) / np.tanh(1))),
}
EXACT = dict(zip(TUBES, (CLOSED, OPEN, HALF, LEAKS), strict=True))


@pytest.mark.parametrize("nodes", NODES.values(), ids=list(NODES))
@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("name", TUBES)
def test_orders_hold_at_ends_of_fields_at_nodes_and_between(name, order, nodes):
    """The semidiscrete equations are linear and constant: their matrix is, of which we take exp."""
    for middles in ({p: x}, {v: x}):
        errors = []
        for count in (65, 129):
            options = {"order": order, "scheme": sm.Staggered(middles)}
            model = sm.compile(TUBES[name], grid={x: nodes(count)}, **options)
            matrix = rates(model)
            assert np.linalg.eigvals(matrix).real.max() < 1e-10
            end = at_its_places(model, EXACT[name], 0.7)
            errors.append(np.abs(expm(0.7 * matrix) @ model.state() - end).max())
        assert np.log2(errors[0] / errors[1]) > order - 0.2


@pytest.mark.parametrize("order", [2, 4, 6, 8])
def test_a_ring_takes_all_orders(order):
    ring = [sm.Eq(u.at(x=0), u.at(x=1)) for u in (p, v)]
    exact = {p: sin(2 * pi * (x - t)), v: sin(2 * pi * (x - t))}
    options = {"order": order, "scheme": sm.Staggered()}
    system = tube(exact, *ring)
    coarse, fine = (error(system, exact, 0.3, grid={x: n}, **options) for n in (10, 20))
    assert np.log2(coarse / fine) == pytest.approx(order, abs=0.2)


def test_neighbours_are_coupled_and_nothing_further_away():
    """Pressures are at 32 middles, velocities at the 31 nodes between."""
    model = sm.compile(TUBES["closed"], grid={x: 33}, order=2, scheme=sm.Staggered())
    assert {u.name: u.shape for u in model.states} == {"p": (32,), "v": (31,)}
    assert model.schemes[D(p, x)] == "staggered, order 2"
    velocities, pressures = np.split(np.asarray(rates(model)), [31])
    assert np.all(np.count_nonzero(velocities, axis=1) == 2)
    assert np.all(np.count_nonzero(pressures[1:-1], axis=1) == 2)


def test_no_wave_of_two_steps_is_at_rest():
    """Central differences do not see it; between neighbours it is the fastest."""
    slowest = []
    for scheme in ("central", sm.Staggered()):
        ring = tube(CLOSED, *(sm.Eq(u.at(x=0), u.at(x=1)) for u in (p, v)))
        model = sm.compile(ring, grid={x: 16}, order=2, scheme=scheme)
        speeds = np.abs(np.linalg.eigvals(rates(model)))
        slowest.append(np.sort(speeds)[:4])
    assert slowest[0] == pytest.approx(np.zeros(4), abs=1e-6)
    assert slowest[1][2] == pytest.approx(32 * np.sin(np.pi / 16), rel=1e-6)


@pytest.mark.parametrize(("order", "times"), [(2, 4), (4, 64 / 9)])
def test_long_waves_are_as_many_times_more_exact(order, times):
    """By the leading errors of both differences: h^2 / 6 and h^2 / 24, h^4 / 30 and 3 h^4 / 640."""
    ring = tube(CLOSED, *(sm.Eq(u.at(x=0), u.at(x=1)) for u in (p, v)))
    errors = []
    for scheme in ("central", sm.Staggered()):
        model = sm.compile(ring, grid={x: 40}, order=order, scheme=scheme)
        turns = np.abs(np.linalg.eigvals(rates(model)).imag)
        errors.append(np.abs(turns - 2 * np.pi).min())
    assert errors[0] / errors[1] == pytest.approx(times, rel=0.05)


CAVITY = sm.System(
    sm.Eq(D(E, t), D(G, x) - D(F, y)), sm.Eq(D(F, t), -D(E, y)), sm.Eq(D(G, t), D(E, x)),
    domain={x: (0, 1), y: (0, 1)},
    boundary=[sm.Eq(E.at(**{s.name: end}), 0) for s in (x, y) for end in (0, 1)],
    initial={E: sin(pi * x) * sin(pi * y), F: 0, G: 0},
)  # fmt: skip


def test_maxwells_equations_lie_as_on_the_grid_of_yee():
    model = sm.compile(CAVITY, grid={x: 9, y: 12}, scheme=sm.Staggered())
    assert {u.name: u.shape for u in model.states} == {"E": (7, 10), "F": (9, 11), "G": (8, 12)}


@pytest.mark.parametrize("order", [2, 4])
def test_a_resonator_has_its_frequency(order):
    turn = sympy.sqrt(2) * pi
    turning = sin(turn * t) / turn * pi
    exact = {
        E: sin(pi * x) * sin(pi * y) * cos(turn * t),
        F: -sin(pi * x) * cos(pi * y) * turning, G: cos(pi * x) * sin(pi * y) * turning,
    }  # fmt: skip
    options = {"order": order, "scheme": sm.Staggered()}
    coarse, fine = (error(CAVITY, exact, 0.7, grid={x: n, y: n}, **options) for n in (13, 25))
    assert np.log2(coarse / fine) > order - 0.2


def test_waves_between_ends_are_staggered_without_being_asked():
    """Central differences would let them grow: their eigenvalues are not on the imaginary axis."""
    model = sm.compile(TUBES["closed"], grid={x: 33})
    assert model.schemes[D(v, x)] == "staggered, order 4"
    assert np.linalg.eigvals(rates(model)).real.max() < 1e-10
    central = sm.compile(TUBES["closed"], grid={x: 33}, scheme="central")
    assert np.linalg.eigvals(rates(central)).real.max() > 1
    ring = tube(CLOSED, *(sm.Eq(u.at(x=0), u.at(x=1)) for u in (p, v)))
    assert sm.compile(ring, grid={x: 33}).schemes[D(v, x)] == "central, order 4"


def test_flux_of_one_field_is_a_link_too():
    """With a density that varies along the tube."""
    system = sm.System(
        sm.Eq(D(v, t), -D(p, x) / (1 + x)), sm.Eq(D(p, t), -D((2 + x) * v, x)), domain={x: (0, 1)},
        boundary=[sm.Eq(v.at(x=0), 0), sm.Eq(v.at(x=1), 0)], initial={p: x, v: 0},
    )  # fmt: skip
    states = sm.compile(system, grid={x: 33}).states
    assert {u.name: u.shape for u in states} == {"p": (32,), "v": (31,)}


@pytest.mark.parametrize("order", [6, 8])
@pytest.mark.parametrize("nodes", NODES.values(), ids=list(NODES))
def test_a_string_does_not_grow_at_its_ends(order, nodes):
    """Values beyond an end are from 6 nodes at most; from more, eigenvalues reach 5 and beyond."""
    w = sm.unknown("w", t, x)
    string = sm.System(
        sm.Eq(D(w, t, t), D(w, x, x)), domain={x: (0, 1)},
        boundary=[sm.Eq(w.at(x=0), 0), sm.Eq(w.at(x=1), 0)],
        initial={w: sin(pi * x), D(w, t): 0},
    )  # fmt: skip
    model = sm.compile(string, grid={x: nodes(33)}, order=order)
    assert np.linalg.eigvals(rates(model)).real.max() < 1e-10


def test_viscous_flow_lies_as_marker_and_cell():
    """Velocities at the faces of cells, pressures in them; with walls on which nothing slips.

    The velocity that slides along a wall is between its nodes, and its condition there holds.
    """
    c, nu = 2.0, 0.1
    exact = {
        F: exp(-t) * sin(pi * x) * sin(2 * pi * y), G: exp(-t) * sin(2 * pi * x) * sin(pi * y),
        E: exp(-t) * cos(pi * x) * cos(pi * y),
    }  # fmt: skip
    sides = {
        F: (lambda f: D(f[F], t), lambda f: -D(f[E], x) + nu * sm.laplacian(f[F], x, y)),
        G: (lambda f: D(f[G], t), lambda f: -D(f[E], y) + nu * sm.laplacian(f[G], x, y)),
        E: (lambda f: D(f[E], t), lambda f: -(c**2) * (D(f[F], x) + D(f[G], y))),
    }
    itself = {u: u for u in exact}
    equations = [
        sm.Eq(left(itself), right(itself) + (left(exact) - right(exact)).doit())
        for left, right in sides.values()
    ]
    walls = [sm.Eq(u.at(**{s.name: end}), 0) for u in (F, G) for s in (x, y) for end in (0, 1)]
    start = {u: e.subs(t, 0) for u, e in exact.items()}
    flow = sm.System(*equations, domain={x: (0, 1), y: (0, 1)}, boundary=walls, initial=start)
    options = {"order": 2, "scheme": sm.Staggered()}
    model = sm.compile(flow, grid={x: 9, y: 12}, **options)
    assert {u.name: u.shape for u in model.states} == {"F": (7, 11), "G": (8, 10), "E": (8, 11)}
    coarse, fine = (error(flow, exact, 0.2, grid={x: n, y: n}, **options) for n in (17, 33))
    assert np.log2(coarse / fine) > 1.8


def test_values_at_nodes_are_starts_of_fields_between_them():
    system = TUBES["closed"]
    model = sm.compile(system, grid={x: 17}, scheme=sm.Staggered())
    nodes = np.asarray(model.grid["x"])
    sol = sm.solve(model, t=(0, 1e-3), initial={p: nodes**3}, saveat=[0.0])
    assert sol[p][0] == pytest.approx(nodes**3, abs=1e-12)  # exact, for polynomials


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"grid": {x: 17}, "order": 6}, "order 2 or 4"),
        ({"grid": {x: sm.Chebyshev(9)}}, "Chebyshev"),
        ({"grid": {x: 17}, "scheme": sm.Staggered({p: y})}, "middles of y"),
        ({"grid": {x: 17}, "scheme": {D(p, x): sm.Staggered()}}, "for all of a system"),
    ],
)
def test_what_cannot_be_staggered_is_refused(options, words):
    with pytest.raises(sm.DeclarationError, match=words):
        sm.compile(TUBES["closed"], **{"scheme": sm.Staggered(), **options})


def test_too_long_steps_are_refused():
    """Leapfrogging waves of two steps turn by 2 / h: RK4 takes 2 sqrt(2) / (2 / h)."""
    system = tube(CLOSED, *(sm.Eq(u.at(x=0), u.at(x=1)) for u in (p, v)))
    control = dfx.ConstantStepSize()
    options = {"grid": {x: 100}, "order": 2, "scheme": sm.Staggered(), "solver": dfx.Heun()}
    with pytest.raises(sm.DeclarationError, match="too long"):
        sm.solve(system, t=(0, 1), dt0=0.02, stepsize_controller=control, **options)
    sm.solve(system, t=(0, 0.1), dt0=0.001, stepsize_controller=control, **options)
