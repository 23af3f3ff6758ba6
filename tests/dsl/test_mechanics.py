"""Models of sympy.physics.mechanics are taken in as they are."""

import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from sympy.physics.mechanics import (
    KanesMethod,
    LagrangesMethod,
    Lagrangian,
    Particle,
    Point,
    ReferenceFrame,
    dynamicsymbols,
)

import sciml as sm
from sciml import D

q1, q2 = dynamicsymbols("q1 q2")
u1, u2 = dynamicsymbols("u1 u2")
length, mass, gravity = sympy.symbols("l m g")
VALUES = {mass: 1.3, length: 0.7, gravity: 9.8}
ANGLES, SPEEDS = (0.3, -0.8), (0.4, 1.1)


def double_pendulum():
    world = ReferenceFrame("N")
    upper, lower = (world.orientnew(n, "Axis", [q, world.z]) for n, q in (("A", q1), ("B", q2)))
    pivot = Point("O")
    pivot.set_vel(world, 0)
    elbow = pivot.locatenew("P", length * upper.x)
    hand = elbow.locatenew("R", length * lower.x)
    return world, upper, lower, pivot, elbow, hand


def by_lagrange():
    world, upper, lower, pivot, elbow, hand = double_pendulum()
    elbow.v2pt_theory(pivot, world, upper)
    hand.v2pt_theory(elbow, world, lower)
    first, second = Particle("first", elbow, mass), Particle("second", hand, mass)
    height = length * sympy.cos(q1)
    first.potential_energy = -mass * gravity * height
    second.potential_energy = -mass * gravity * (height + length * sympy.cos(q2))
    return LagrangesMethod(Lagrangian(world, first, second), [q1, q2])


def by_kane():
    world, upper, lower, pivot, elbow, hand = double_pendulum()
    upper.set_ang_vel(world, u1 * world.z)
    lower.set_ang_vel(world, u2 * world.z)
    elbow.v2pt_theory(pivot, world, upper)
    hand.v2pt_theory(elbow, world, lower)
    kinematics = [q1.diff() - u1, q2.diff() - u2]
    method = KanesMethod(world, q_ind=[q1, q2], u_ind=[u1, u2], kd_eqs=kinematics)
    bodies = [Particle("first", elbow, mass), Particle("second", hand, mass)]
    weight = mass * gravity * world.x
    method.kanes_equations(bodies, [(elbow, weight), (hand, weight)])
    return method


def accelerations_by_hand():
    """Equal masses and lengths, angles from the vertical: the textbook equations, solved."""
    (a1, a2), (w1, w2) = ANGLES, SPEEDS
    ratio = VALUES[gravity] / VALUES[length]
    turn = np.cos(a1 - a2)
    matrix = np.array([[2, turn], [turn, 1]])
    right = np.array(
        [
            -(w2**2) * np.sin(a1 - a2) - 2 * ratio * np.sin(a1),
            w1**2 * np.sin(a1 - a2) - ratio * np.sin(a2),
        ]
    )
    return np.linalg.solve(matrix, right)


@pytest.fixture(scope="module")
def lagrange():
    initial = {q1: ANGLES[0], q2: ANGLES[1], D(q1): SPEEDS[0], D(q2): SPEEDS[1]}
    return sm.System(sm.from_mechanics(by_lagrange()), initial=initial, values=VALUES)


@pytest.fixture(scope="module")
def kane():
    initial = {q1: ANGLES[0], q2: ANGLES[1], u1: SPEEDS[0], u2: SPEEDS[1]}
    return sm.System(sm.from_mechanics(by_kane()), initial=initial, values=VALUES)


def test_lagranges_method_gives_the_textbook_accelerations(lagrange):
    model = sm.compile(lagrange)
    rates = [model.evaluate(D(q, 2), 0.0, model.state()) for q in (q1, q2)]
    np.testing.assert_allclose(rates, accelerations_by_hand(), rtol=1e-12)


def test_kanes_method_gives_the_textbook_accelerations(kane):
    model = sm.compile(kane)
    rates = [model.evaluate(D(u), 0.0, model.state()) for u in (u1, u2)]
    np.testing.assert_allclose(rates, accelerations_by_hand(), rtol=1e-12)


def test_states_stand_in_the_order_of_the_initial_values(kane):
    assert [s.name for s in sm.compile(kane).states] == ["q1", "q2", "u1", "u2"]


def test_both_methods_agree_and_keep_the_energy(lagrange, kane):
    energy = length**2 * mass * (
        D(q1) ** 2 + D(q2) ** 2 / 2 + D(q1) * D(q2) * sympy.cos(q1 - q2)
    ) - mass * gravity * length * (2 * sympy.cos(q1) + sympy.cos(q2))
    options = {"t": (0, 2), "rtol": 1e-7, "atol": 1e-9, "saveat": [0.0, 1.0, 2.0]}
    one, other = sm.solve(lagrange, **options), sm.solve(kane, **options)
    np.testing.assert_allclose(one[q2], other[q2], atol=1e-6)
    kept = one[energy]
    assert float(jnp.max(jnp.abs(kept - kept[0]))) < 1e-5 * abs(float(kept[0]))


def test_constrained_motion_is_refused_with_a_cure():
    x, y = dynamicsymbols("x y")
    kinetic = mass * (x.diff() ** 2 + y.diff() ** 2) / 2 - mass * gravity * y
    method = LagrangesMethod(kinetic, [x, y], hol_coneqs=[x**2 + y**2 - length**2])
    with pytest.raises(sm.DeclarationError, match="choose coordinates that need no constraint"):
        sm.from_mechanics(method)


def test_anything_else_is_refused():
    with pytest.raises(sm.DeclarationError, match="not dict"):
        sm.from_mechanics({})
