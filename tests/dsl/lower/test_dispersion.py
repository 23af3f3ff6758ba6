"""Derivatives of odd order between ends: biased differences, their order and their stability."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from sympy import cos, exp, sin

import sciml as sm
from sciml import D, t

x, y = sm.coordinates("x y")
u = sm.unknown("u", t, x)
p = sm.unknown("p", t, x, y)


def conditions(n, upwards, exact=sympy.S.Zero, field=u):
    """The value, the slope and so on; one more at the end where waves enter."""
    counts = (n // 2 + 1, n // 2) if upwards else (n // 2, n // 2 + 1)
    return [
        sm.Eq(sm.at(D(field, x, k) if k else field, x=place), exact.diff(x, k).subs(x, place))
        for place, count in zip((0, 2), counts, strict=True)
        for k in range(count)
    ]


def enters_below(n, sign):
    """Whether waves of ``D(u, t) = sign D(u, x, n)`` move upwards, by the sign of dw/dk."""
    return sign * (-1) ** ((n + 1) // 2) > 0


def between_ends(n, sign, exact=sympy.S.Zero, extra=sympy.S.Zero):
    return sm.System(
        sm.Eq(D(u, t), sign * D(u, x, n) + extra), domain={x: (0, 2)},
        initial={u: exact.subs(t, 0)}, boundary=conditions(n, enters_below(n, sign), exact),
    )  # fmt: skip


def jacobian(model):
    return np.asarray(jax.jacfwd(lambda v: model.vector_field(0.0, v))(model.state()))


def error_of_a_wave(n, sign, grid, order):
    """Of the nodes that ends move to and fro for ever: ``v = Re(c exp(i w t))``, without steps."""
    k = {3: 3, 5: 2}[n]
    w = float(sign * (-1) ** (n // 2) * k**n)
    exact = cos(k * x + w * t)
    model = sm.compile(between_ends(n, sign, exact), grid={x: grid}, order=order)
    rest = jnp.zeros(model.state().shape)
    push = [np.asarray(model.vector_field(time, rest)) for time in (0.0, np.pi / (2 * w))]
    c = np.linalg.solve(1j * w * np.eye(len(rest)) - jacobian(model), push[0] - 1j * push[1])
    errors = []
    for time in (0.0, 0.4):
        values = model.evaluate(u, time, jnp.asarray((c * np.exp(1j * w * time)).real))
        right = sympy.lambdify(x, exact.subs(t, time))(np.asarray(model.grid["x"]))
        errors.append(np.max(np.abs(np.asarray(values) - right)))
    return max(errors)


@pytest.mark.parametrize("kind", ["uniform", "stretched"])
@pytest.mark.parametrize(
    ("n", "sign", "order", "counts"),
    [(3, -1, 2, (41, 81)), (3, 1, 2, (41, 81)), (3, -1, 4, (81, 161)), (3, 1, 4, (81, 161)),
     (5, -1, 4, (25, 49)), (5, 1, 4, (25, 49))],
)  # fmt: skip
def test_waves_between_ends_have_the_order_of_the_biased_difference(n, sign, order, counts, kind):
    grids = [sm.stretched(c, (0, 2), by=3) if kind == "stretched" else c for c in counts]
    coarse, fine = (error_of_a_wave(n, sign, grid, order) for grid in grids)
    assert np.log2(coarse / fine) > order + 1 - 0.2


@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize(("n", "sign"), [(3, -1), (3, 1), (5, -1), (5, 1)])
def test_no_wave_grows_between_ends(n, sign, order):
    """The energy falls: 2 times the integral of u u_xxx is what leaves at the ends."""
    for grid in (41, 121, sm.stretched(81, (0, 2), by=4)):
        found = np.linalg.eigvals(jacobian(sm.compile(between_ends(n, sign), grid={x: grid},
                                                      order=order)))  # fmt: skip
        assert np.max(found.real) < 0


@pytest.mark.parametrize("speed", [-3, 3])
def test_no_wave_grows_where_it_is_moved_as_well(speed):
    for order in (2, 4, 6):
        system = between_ends(3, -1, extra=speed * D(u, x))
        found = np.linalg.eigvals(jacobian(sm.compile(system, grid={x: 121}, order=order)))
        assert np.max(found.real) < 0


def scheme_of(system, n, **options):
    return sm.compile(system, grid={x: 41}, **options).schemes[sympy.Derivative(u, (x, n))]


def test_schemes_say_what_is_biased():
    assert scheme_of(between_ends(3, -1), 3) == "biased, order 5"
    assert scheme_of(between_ends(5, 1), 5, order=2) == "biased, order 3"
    assert scheme_of(between_ends(3, -1), 3, order=8) == "biased, order 7"
    assert scheme_of(between_ends(3, -1), 3, scheme="central") == "central, order 4"
    given = {sympy.Derivative(u, (x, 3)): "central"}
    assert scheme_of(between_ends(3, -1), 3, scheme=given) == "central, order 4"


def test_a_coefficient_whose_sign_may_change_stays_central():
    k = sm.parameter("k", 2.0)
    for factor, words in (
        (k, "biased, order 5"), (1 + x**2, "biased, order 5"), (x - 1, "central, order 4"),
        (1 + u, "central, order 4"),
    ):  # fmt: skip
        system = sm.System(
            sm.Eq(D(u, t), -factor * D(u, x, 3)), domain={x: (0, 2)}, initial={u: 0},
            boundary=conditions(3, upwards=False),
        )  # fmt: skip
        assert scheme_of(system, 3) == words


def test_below_a_higher_derivative_and_on_a_ring_it_stays_central():
    damped = sm.System(
        sm.Eq(D(u, t), -D(u, x, 3) - D(u, x, 4)), domain={x: (0, 2)}, initial={u: 0},
        boundary=[sm.Eq(sm.at(e, x=place), 0) for place in (0, 2) for e in (u, D(u, x))],
    )  # fmt: skip
    ring = sm.System(
        sm.Eq(D(u, t), -D(u, x, 3)), domain={x: (0, 2)}, initial={u: 0},
        boundary=[sm.Eq(u.at(x=0), u.at(x=2))],
    )  # fmt: skip
    assert scheme_of(damped, 3) == scheme_of(ring, 3) == "central, order 4"


def test_in_the_plane_rates_have_the_order():
    """Zakharov and Kuznetsov's equation, in pieces: the inside, and strips at the ends."""
    exact = exp(x / 2) * sin(x + y)
    system = sm.System(
        sm.Eq(D(p, t), -D(p, x, 3) - D(p, x, y, y) - p * D(p, x)),
        domain={x: (0, 2), y: (0, 1)}, initial={p: exact},
        boundary=[
            *conditions(3, upwards=False, exact=exact, field=p),
            *(sm.Eq(p.at(y=place), exact.subs(y, place)) for place in (0, 1)),
        ],
    )  # fmt: skip
    right = -exact.diff(x, 3) - exact.diff(x, y, y) - exact * exact.diff(x)
    errors = []
    for count in (25, 49):
        model = sm.compile(system, grid={x: count, y: count})
        rates = jax.jit(lambda v, model=model: model.vector_field(0.0, v))(model.state())
        rates = np.asarray(rates).reshape(count - 2, count - 2)
        mesh = np.meshgrid(model.grid["x"][1:-1], model.grid["y"][1:-1], indexing="ij")
        gap = np.abs(rates - sympy.lambdify((x, y), right)(*mesh))
        middle = slice(count // 4, -(count // 4))  # which no end is felt in
        errors.append(np.max(gap[middle, middle]))
        assert np.max(gap) < 0.05
    assert np.log2(errors[0] / errors[1]) > 4 - 0.2
