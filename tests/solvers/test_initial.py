"""Algebraic equations: residuals in the vector field, and initial values that obey them."""

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import sciml as sm
from sciml import D, t
from sciml.solvers._initial import consistent, needs, newton, refuse_explicit, start

x, z, w = sm.unknowns("x z w")
y1, y2, y3 = sm.unknowns("y1 y2 y3")
k = sm.parameter("k", 0.5)
CUBIC = sm.System(sm.Eq(D(x), -z), sm.Eq(z**3 + k * z, x), initial={x: 10})
ROBERTSON = sm.System(
    sm.Eq(D(y1), -0.04 * y1 + 1e4 * y2 * y3),
    sm.Eq(D(y2), 0.04 * y1 - 1e4 * y2 * y3 - 3e7 * y2**2),
    sm.Eq(y1 + y2 + y3, 1),
    initial={y1: 1, y2: 0, y3: 0},
)


def solved(*equations, throw=True, at=0.0, **given):
    return start(sm.compile(sm.System(*equations, **given)), at, throw=throw)


# -- the model -------------------------------------------------------------------------------------


def test_the_vector_field_holds_residuals_where_the_mass_is_zero():
    model = sm.compile(ROBERTSON)
    assert model.program.algebraic == (False, False, True)
    np.testing.assert_array_equal(model.mass, [1, 1, 0])
    field = model.vector_field(0.0, jnp.array([0.5, 0.001, 0.25]))
    np.testing.assert_allclose(field, [2.48, 0.02 - 2.5 - 30, 1 - 0.751], rtol=1e-14)
    assert [row[1] for row in model._rows()] == ["state", "state", "algebraic"]


def test_an_ordinary_system_has_no_mass_matrix():
    model = sm.compile(sm.System(sm.Eq(D(x), -x), sm.Eq(z, 2 * x), initial={x: 1}))
    assert model.mass is None
    assert not needs(model)
    y = model.state()
    assert consistent(model, 0.0, y) is y


def test_equal_residuals_and_rates_make_no_equal_programs():
    rate = sm.compile(sm.System(sm.Eq(D(x), -x), sm.Eq(D(z), x - z**3), initial={x: 1, z: 0}))
    fixed = sm.compile(sm.System(sm.Eq(D(x), -x), sm.Eq(0, x - z**3), initial={x: 1}))
    assert rate.source.splitlines()[-1] == fixed.source.splitlines()[-1]
    assert rate.program != fixed.program


def test_algebraic_unknowns_follow_the_others_whatever_the_order_of_the_equations():
    system = sm.System(
        sm.Eq(z * w, x),
        sm.Eq(D(x), -z),
        sm.Eq(z + w, 5),
        sm.Eq(D(y1, 2), w),
        initial={"z": 4, w: 1, x: 4, y1: 0, D(y1): 0},
    )
    model = sm.compile(system)
    names = [piece.name for piece in model.states]
    assert names == ["x", "y1", "D(y1)", "z", "w"] or names == ["x", "y1", "D(y1)", "w", "z"]
    np.testing.assert_array_equal(model.mass, [1, 1, 1, 0, 0])
    np.testing.assert_allclose(model.vector_field(0.0, model.state()), [-4, 0, 1, 0, 0])


def test_an_array_stays_whole():
    u, v = sm.unknown("u", shape=3), sm.unknown("v", shape=3)
    system = sm.System(sm.Eq(D(u), -v), sm.Eq(v**3 + v, u), initial={u: [0, 2, 10]})
    model = sm.compile(system)
    assert model.program.algebraic == (False,) * 3 + (True,) * 3
    np.testing.assert_allclose(start(model, 0.0), [0, 2, 10, 0, 1, 2], atol=1e-14)


def test_definitions_in_terms_of_algebraic_unknowns_are_observed():
    system = sm.System(
        sm.Eq(D(x), -z), sm.Eq(w, z**2), sm.Eq(0, x - w - z), initial={x: 6}, observed={"s": w + z}
    )
    model = sm.compile(system)
    y = start(model, 0.0)
    np.testing.assert_allclose([y[1], model.evaluate(w, 0.0, y), model.observed(0.0, y)["s"]],
                               [2, 4, 6], rtol=1e-14)  # fmt: skip


def test_the_equations_are_shown_as_they_were_declared():
    assert "y_{1} + y_{2} + y_{3} &= 1" in ROBERTSON._repr_latex_()
    assert "y1 + y2 + y3 = 1" in str(ROBERTSON)
    assert "0 &= " in sm.compile(ROBERTSON)._repr_mimebundle_()["text/markdown"]


# -- consistent values -----------------------------------------------------------------------------


def test_a_guess_far_from_consistent_is_corrected_and_the_rest_is_kept():
    model = sm.compile(ROBERTSON).replace(initial={y1: 0.25, y2: 1e-5, y3: 100.0})
    np.testing.assert_allclose(start(model, 0.0), [0.25, 1e-5, 1 - 0.25001], rtol=1e-15)


def test_a_guess_is_zero_or_what_the_unknown_was_declared_with_or_what_is_given():
    v = sm.unknown("v", guess=2.0)
    equations = sm.Eq(D(x), -v), sm.Eq(v**2 + z**3 + z, x), sm.Eq(z, v - z**3 - 1)
    model = sm.compile(sm.System(*equations, initial={x: 3}))
    assert float(model.initial_value(v)) == 2.0
    assert float(model.initial_value(z)) == 0.0
    assert float(model.replace(initial={z: 7}).initial_value(z)) == 7.0


@pytest.mark.parametrize("size", [1e-30, 1e-9, 1.0, 1e12])
def test_the_size_of_an_unknown_does_not_matter(size):
    y = solved(sm.Eq(D(x), -z), sm.Eq(z**3 / size**2 + z, 10 * x), initial={x: size})
    np.testing.assert_allclose(y[1], 2 * size, rtol=1e-14)


def test_unknowns_of_very_different_sizes_are_all_found():
    """Dissociation of water and of a weak acid: z of H+, w of the acid."""
    y = solved(
        sm.Eq(D(x), -x),
        sm.Eq(z * (x - w), 1.8e-5 * w),
        sm.Eq(z - 1e-14 / z, x - w),
        initial={x: 0.1, z: 1e-3, w: 0.1},
    )
    ions, acid = float(y[1]), float(y[2])
    np.testing.assert_allclose(ions * (0.1 - acid), 1.8e-5 * acid, rtol=1e-12)
    np.testing.assert_allclose(ions - 1e-14 / ions, 0.1 - acid, rtol=1e-12)


def test_damping_finds_what_whole_steps_overshoot():
    def field(z):
        return jnp.arctan(z - 3)

    assert abs(20 - 3) > 1.4  # from there Newton's method without damping diverges
    root, good = newton(field, jnp.array([20.0]))
    assert bool(good)
    np.testing.assert_allclose(root, [3.0], rtol=1e-14)


def test_a_root_of_zero_is_found_below_the_rounding_of_larger_terms():
    y = solved(sm.Eq(D(x), -z), sm.Eq(x + 0.1 + z, 0.3), initial={x: 0.2})
    assert abs(float(y[1])) < 1e-15


def test_time_enters_the_algebraic_equations():
    y = solved(sm.Eq(D(x), -z), sm.Eq(z**3, x + t), initial={x: 1, z: 1}, at=7.0)
    np.testing.assert_allclose(y, [1, 2], rtol=1e-15)


def test_a_guess_may_be_an_expression_of_parameters():
    model = sm.compile(CUBIC.replace(initial={z: 4 * k}))
    np.testing.assert_allclose(model.state(), [10, 2])
    y = start(model, 0.0)
    np.testing.assert_allclose(y[1] ** 3 + 0.5 * y[1], 10, rtol=1e-14)


def test_float32_is_enough():
    model = sm.compile(CUBIC, dtype=jnp.float32)
    y = start(model, 0.0)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y[1] ** 3 + 0.5 * y[1], 10, rtol=1e-6)


# -- derivatives -----------------------------------------------------------------------------------


def cubic(k_, x0):
    return start(sm.compile(CUBIC).replace(values={k: k_}, initial={x: x0}), 0.0)[1]


@pytest.mark.parametrize("derivative", [jax.jacfwd, jax.jacrev], ids=["forward", "reverse"])
def test_derivatives_are_those_of_finite_differences(derivative):
    found = jax.jit(derivative(cubic, (0, 1)))(0.5, 10.0)
    h = 1e-5
    expected = (
        (cubic(0.5 + h, 10.0) - cubic(0.5 - h, 10.0)) / (2 * h),
        (cubic(0.5, 10 + h) - cubic(0.5, 10 - h)) / (2 * h),
    )
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_second_derivatives_are_right():
    slope = jax.grad(cubic)
    expected = (slope(0.5 + 1e-5, 10.0) - slope(0.5 - 1e-5, 10.0)) / 2e-5
    np.testing.assert_allclose(jax.hessian(cubic)(0.5, 10.0), expected, rtol=1e-7)


def test_a_guess_has_no_gradient():
    def end(guess):
        return start(sm.compile(CUBIC).replace(initial={z: guess}), 0.0)[1]

    assert float(jax.grad(end)(3.0)) == 0.0


def test_weights_of_a_network_in_an_algebraic_equation_have_gradients():
    net = eqx.nn.MLP("scalar", "scalar", 3, 1, jnp.tanh, key=jax.random.key(0))
    f = sm.neural("f", net)
    system = sm.System(sm.Eq(D(x), -z), sm.Eq(z + 0.1 * f(z), x), initial={x: 1})
    model = sm.compile(system)

    def end(weight):
        moved = net.layers[0].weight.at[0, 0].add(weight)
        changed = eqx.tree_at(lambda n: n.layers[0].weight, net, moved)
        return start(model.replace(networks={f: changed}), 0.0)[1]

    expected = (end(1e-5) - end(-1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(end)(0.0), expected, rtol=1e-7)


def test_many_starts_are_solved_at_once():
    xs = jnp.array([0.0, 1.5, 9.0])
    found = jax.vmap(lambda x0: cubic(0.5, x0))(xs)
    np.testing.assert_allclose(found**3 + 0.5 * found, xs, rtol=1e-13, atol=1e-15)


# -- what goes wrong -------------------------------------------------------------------------------


def failure(*equations, **given):
    with pytest.raises(sm.SolveError) as caught:
        solved(*equations, **given)
    return str(caught.value)


def test_no_solution_names_the_unknown_the_equation_and_its_place():
    message = failure(sm.Eq(D(x), -z), sm.Eq(sympy.exp(z), -x), initial={x: 1})
    assert "no value of z was found that obeys the algebraic equations at t = 0" in message
    assert "exp(z) = -x" in message
    assert "test_initial.py" in message
    assert "initial={z: ...}" in message


def test_a_singular_guess_is_said_to_be_one():
    message = failure(sm.Eq(D(x), -z), sm.Eq(z**2, x), initial={x: 1})
    assert "the derivatives of the equations by them are singular at the guess, z = 0" in message
    y = solved(sm.Eq(D(x), -z), sm.Eq(z**2, x), initial={x: 4, z: 1})
    np.testing.assert_allclose(y, [4, 2], rtol=1e-15)


def test_only_the_unknowns_that_stay_open_are_named():
    message = failure(
        sm.Eq(D(x), -z),
        sm.Eq(y1**3 + y1, x),
        sm.Eq(z + w, x),
        sm.Eq(2 * z + 2 * w, 3 * x),
        initial={x: 1},
    )
    assert "no value of z, w was found" in message


def test_what_is_no_number_is_said_to_be_none():
    message = failure(sm.Eq(D(x), -z), sm.Eq(sympy.log(z), x), initial={x: 1, z: -1})
    assert "is infinite or not a number at the guess, z = -1" in message
    assert "log(z) = x" in message


def test_without_throw_and_inside_jit_a_failure_is_not_a_number():
    equations = sm.Eq(D(x), -z), sm.Eq(sympy.exp(z), -x)
    y = solved(*equations, initial={x: 1}, throw=False)
    np.testing.assert_array_equal(y, [1, np.nan])
    model = sm.compile(sm.System(*equations, initial={x: 1}))
    np.testing.assert_array_equal(eqx.filter_jit(start)(model, 0.0), [1, np.nan])


@pytest.mark.parametrize(
    ("solver", "why"),
    [
        (dfx.Tsit5(), "an explicit solver cannot take them"),
        (dfx.Kvaerno5(), "Kvaerno5 has no mass matrix, and cannot take them"),
    ],
)
def test_a_solver_without_a_mass_matrix_is_refused_with_what_would_work(solver, why):
    with pytest.raises(sm.DeclarationError) as caught:
        refuse_explicit(sm.compile(ROBERTSON), solver)
    message = str(caught.value)
    assert "has algebraic equations (for y3)" in message
    assert why in message
    assert "leave solver out, or take sm.Rodas5P()" in message


def test_a_solver_with_a_mass_matrix_is_not_refused():
    class Massive(dfx.Euler):
        mass: jax.Array | None = None

    refuse_explicit(sm.compile(ROBERTSON), Massive())
    refuse_explicit(sm.compile(sm.System(sm.Eq(D(x), -x), initial={x: 1})), dfx.Tsit5())


# -- who takes no algebraic equations --------------------------------------------------------------

DATA = {t: [0.0, 1.0, 2.0, 3.0], x: [10.0, 8.0, 6.0, 4.0], z: [2.1, 1.9, 1.7, 1.5]}


def test_an_export_refuses_algebraic_equations(tmp_path):
    with pytest.raises(sm.DeclarationError, match=r"export takes no algebraic .* for y3: write"):
        sm.export(ROBERTSON, tmp_path / "robertson")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strategy": sm.MultipleShooting(2)}, "MultipleShooting.. takes no algebraic equations"),
        ({"strategy": sm.TeacherForcing()}, "TeacherForcing.. takes no algebraic equations"),
        ({"free": [k, z]}, "free: z follows from an algebraic equation at the start"),
        ({"solver": dfx.Tsit5()}, "solver=Tsit5: the system has algebraic equations .for z."),
    ],
)
def test_a_fit_refuses_what_takes_no_algebraic_equations(options, words):
    with pytest.raises(sm.DeclarationError, match=words):
        sm.fit(CUBIC, DATA, key=jax.random.key(0), progress=False, **options)


@pytest.mark.parametrize("solver", [None, sm.BDF()])
def test_a_fold_of_the_algebraic_equations_is_named_where_the_solve_stops(solver):
    x, z = sm.unknowns("x z")
    system = sm.System(sm.Eq(D(x), -1), sm.Eq(z**2, x), initial={x: 1, z: 1})
    with pytest.raises(sm.SolveError) as raised:
        sm.solve(system, t=(0, 2), solver=solver, max_steps=300)
    message = str(raised.value)
    assert "stopped at t = 1 " in message
    assert "z can hardly be found from the algebraic equations" in message
    assert "z**2 = x\n    written at" in message
    sol = sm.solve(system, t=(0, 2), solver=solver, max_steps=300, throw=False)
    np.testing.assert_allclose(sol["z"][-1], np.sqrt(1 - sol.ts[-1]), rtol=1e-3)
