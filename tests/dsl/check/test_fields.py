"""Fields: every fault of a partial differential equation, before it is put on a grid."""

import pytest
import sympy
from golden import agrees, at as line_at, cases_of, eq, message

import sciml as sm
from sciml import D, t

s, z = sm.coordinates("s z")
u, v, w = sm.unknown("u", t, s), sm.unknown("v", t, s), sm.unknown("w", t, s, z)
k = sm.parameter("k", -0.5)


def system(*equations, **given):
    return sm.System(*equations, origin=line_at(1), **given)


HEAT = eq(2, D(u, t), D(u, s, s))
UNIT = {s: (0, 1)}
COLD = [eq(3, u.at(s=0)), eq(4, u.at(s=1))]
RING = [eq(3, u.at(s=0), u.at(s=1))]

CASES = {
    "no_domain": lambda: system(HEAT),
    "domain_of_nothing": lambda: system(HEAT, domain={**UNIT, z: (0, 1)}, boundary=COLD),
    "too_few": lambda: system(HEAT, domain=UNIT, boundary=COLD[:1]),
    "too_many": lambda: system(HEAT, domain=UNIT, boundary=[*COLD, eq(5, sm.at(D(u, s), s=0))]),
    "fourth_order": lambda: system(eq(2, D(u, t), -D(u, s, 4)), domain=UNIT, boundary=COLD),
    "third_order": lambda: system(
        eq(2, D(u, t), -D(u, s, 3)), domain=UNIT, boundary=[*COLD, eq(5, sm.at(D(u, s), s=0))]
    ),
    "third_order_too_few": lambda: system(eq(2, D(u, t), D(u, s, 3)), domain=UNIT, boundary=COLD),
    "inside": lambda: system(HEAT, domain=UNIT, boundary=[COLD[0], eq(4, u.at(s=0.5))]),
    "nowhere": lambda: system(HEAT, domain=UNIT, boundary=[*COLD, eq(4, u - 1)]),
    "periodic_and_more": lambda: system(HEAT, domain=UNIT, boundary=[*RING, eq(4, u.at(s=0))]),
    "periodic_for_one": lambda: system(
        HEAT, eq(5, D(v, t), D(v, s, s) + u), domain=UNIT, boundary=RING
    ),
    "backwards": lambda: system(eq(2, D(u, t), k * D(u, s, s)), domain=UNIT, boundary=COLD),
    "fourth_order_growing": lambda: system(eq(2, D(u, t), D(u, s, 4)), domain=UNIT, boundary=RING),
    "twice": lambda: system(HEAT, HEAT, domain=UNIT, boundary=COLD),
    "without_equation": lambda: system(eq(2, D(u, t), D(u, s, s) + v), domain=UNIT, boundary=COLD),
}


@pytest.mark.parametrize("case", CASES)
def test_the_message(case):
    agrees(f"fields_{case}", message(lambda: sm.check(CASES[case]())))


def test_every_golden_file_has_a_case():
    assert cases_of("fields") == {f"fields_{case}" for case in CASES}


@pytest.mark.parametrize(
    ("equation", "boundary"),
    [
        (HEAT, COLD),
        (HEAT, RING),
        (eq(2, D(u, t) + D(u, s)), COLD[:1]),
        (eq(2, D(u, t) + u * D(u, s)), []),
        (eq(2, D(u, t, 2), D(u, s, s)), COLD),
    ],
)
def test_what_is_sound_passes(equation, boundary):

    sound = system(equation, domain=UNIT, boundary=boundary)
    assert sm.check(sound) is sound


def test_initial_values_that_break_a_condition_are_warned_of():
    broken = system(HEAT, domain=UNIT, boundary=COLD, initial={u: sympy.cos(s)})
    with pytest.warns(sm.ModelWarning) as caught:
        sm.check(broken)
    first, second = (str(warning.message) for warning in caught)
    assert "u.at(s=0) = 0, written at model.py:3, by 1 at t = 0" in first
    assert "u.at(s=1) = 0, written at model.py:4, by 0.54 at t = 0" in second


def test_initial_values_that_keep_it_are_not(recwarn):
    sm.check(system(HEAT, domain=UNIT, boundary=COLD, initial={u: sympy.sin(sympy.pi * s)}))
    moving = [eq(3, u.at(s=0), sympy.cos(t)), eq(4, sm.at(D(u, s), s=1), -sympy.sin(1))]
    sm.check(system(HEAT, domain=UNIT, boundary=moving, initial={u: sympy.cos(s)}))
    assert not recwarn.list


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: sm.compile(system(HEAT, domain=UNIT, boundary=COLD)), "grid={s: 100}"),
        (lambda: sm.compile(system(HEAT, domain=UNIT, boundary=COLD), grid={"r": 9}), "no coord"),
        (lambda: sm.compile(system(HEAT, domain=UNIT, boundary=COLD), grid={s: 1}), "at least 2"),
        (
            lambda: sm.compile(system(HEAT, domain=UNIT, boundary=COLD), grid={s: [0, 0.5]}),
            "both ends are nodes",
        ),
        (
            lambda: sm.compile(
                system(HEAT, domain=UNIT, boundary=COLD), grid={s: [0, 0.7, 0.5, 1]}
            ),
            "must increase",
        ),
        (
            lambda: sm.compile(system(HEAT, domain=UNIT, boundary=RING), grid={s: 2}, order=8),
            "too few",
        ),
        (lambda: sm.System(HEAT, domain={s: (1, 0)}), "not below"),
        (lambda: sm.System(HEAT, domain={k: (0, 1)}), "no coordinate"),
        (lambda: u.at(r=0), "its coordinates are s"),
    ],
)
def test_a_bad_grid_or_place_is_refused(call, says):
    with pytest.raises(sm.DeclarationError) as caught:
        call()
    assert says in str(caught.value)


SQUARE = [eq(3, w.at(s=0), z), eq(4, w.at(s=1), 1 + z), eq(5, w.at(z=0), s), eq(6, w.at(z=1), 2)]


def test_conditions_that_differ_in_a_corner_are_warned_of():
    plane = eq(2, D(w, t), D(w, s, s) + D(w, z, z))
    with pytest.warns(sm.ModelWarning) as caught:
        sm.check(system(plane, domain={**UNIT, z: (0, 1)}, boundary=SQUARE))
    (only,) = (str(warning.message) for warning in caught)
    assert "w.at(z=1) = 2" in only
    assert "w.at(s=0) = z" in only
    assert "differ by 1 in the corner s = 0, z = 1" in only


def test_conditions_that_agree_there_are_not(recwarn):
    plane = eq(2, D(w, t), D(w, s, s) + D(w, z, z))
    sm.check(
        system(
            plane, domain={**UNIT, z: (0, 1)}, boundary=[*SQUARE[:3], eq(6, w.at(z=1), 1 + s)]
        )
    )  # fmt: skip
    assert not recwarn.list
