"""Gradients by adjoint equations along the solution: right to the tolerance, stiff or not."""

import functools

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import sciml as sm
from sciml import D
from sciml.solvers import KnotSteps

x, k = sm.unknown("x"), sm.parameter("k")
DECAY = sm.System(sm.Eq(D(x), -k * x), initial={x: 1}, values={k: 0.5})
START = jnp.array([1.0, 0.5, -0.3])
NETWORK = eqx.nn.MLP(3, 3, 4, 1, activation=jnp.tanh, key=jax.random.key(0))
ROUGH = dfx.PIDController(rtol=1e-6, atol=1e-6)
PID = dfx.PIDController(rtol=1e-8, atol=1e-10)
ADAPTIVE = {"dt0": None, "stepsize_controller": PID}
KNOTS = KnotSteps(jnp.array([0.0, 1, 2]))
STEPS = {"dt0": 0.02, "stepsize_controller": dfx.ConstantStepSize()}


def rate(t, y, network):
    return network(y) - 0.3 * y + 0.1 * jnp.sin(t)


def solve(start, args, *, solver, adjoint, term=rate, t0=0.0, t1=2.0, **options):
    options = {"saveat": dfx.SaveAt(t1=True), **ADAPTIVE, **options}
    return dfx.diffeqsolve(
        dfx.ODETerm(term), solver, t0, t1, y0=start, args=args, adjoint=adjoint, **options
    ).ys


def loss(given, **options):
    ys = solve(*given, **options)
    return sum(
        jnp.sum(jnp.cos(jnp.arange(leaf.size, dtype=leaf.dtype)) * leaf.ravel() ** 2)
        for leaf in jax.tree.leaves(ys)
    )


def flat(tree):
    return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def gradient(given=(START, NETWORK), **options):
    return flat(eqx.filter_jit(eqx.filter_grad(functools.partial(loss, **options)))(given))


@functools.cache
def truth():
    options = {"solver": dfx.Dopri8(), "adjoint": dfx.RecursiveCheckpointAdjoint()}
    control = dfx.PIDController(rtol=1e-12, atol=1e-12)
    return gradient(saveat=GRID, stepsize_controller=control, **options)


GRID = dfx.SaveAt(t0=True, ts=jnp.array([0.3, 0.3, 1.1]), t1=True)


def off(found, expected):
    return float(jnp.max(jnp.abs(found - expected)) / jnp.max(jnp.abs(expected)))


# -- closed forms ---------------------------------------------------------------------------------


def test_of_a_linear_equation_it_has_the_closed_form_by_all_that_was_saved():
    times = np.array([0.0, 0.4, 1.0, 3.0])

    def value(k_, x_):
        sol = sm.solve(
            DECAY, t=(0, 3), values={k: k_}, initial={x: x_}, saveat=times, adjoint="gauss",
            rtol=1e-9, atol=1e-11, solver=dfx.Tsit5(),
        )  # fmt: skip
        return sol[x]

    by_k, by_x = jax.jit(jax.jacrev(value, argnums=(0, 1)))(0.7, 2.0)
    np.testing.assert_allclose(by_k, -2 * times * np.exp(-0.7 * times), rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(by_x, np.exp(-0.7 * times), rtol=1e-8)


def test_parameters_that_vary_faster_than_the_adjoint_are_integrated_step_by_step():
    # lambda is constant, so that one step backwards spans it all: 50 periods of df/dp
    def value(p):
        term = lambda t, y, p: p * jnp.cos(100 * t) ** 2
        return solve(jnp.zeros(1), p, solver=dfx.Tsit5(), adjoint=sm.GaussAdjoint(), term=term)[
            0, 0
        ]

    expected = 1 + np.sin(400) / 400
    assert float(jax.jit(jax.grad(value))(3.0)) == pytest.approx(expected, rel=1e-7)


def lotka_volterra(t, y, p):
    return jnp.array([p[0] * y[0] - p[1] * y[0] * y[1], p[3] * y[0] * y[1] - p[2] * y[1]])


HARES = jnp.array([10.0, 5.0]), jnp.array([1.5, 1.0, 3.0, 1.0])
YEARS = {"term": lotka_volterra, "t1": 5.0, "saveat": dfx.SaveAt(ts=jnp.array([1.0, 2.5, 5.0]))}


def hares(adjoint, tolerance):
    control = dfx.PIDController(rtol=tolerance, atol=tolerance)
    options = {"solver": dfx.Tsit5(), "adjoint": adjoint, "stepsize_controller": control}
    return gradient(HARES, **options, **YEARS)


@functools.cache
def true_hares():
    return hares(dfx.RecursiveCheckpointAdjoint(), 1e-12)


def test_it_converges_with_the_tolerance():
    errors = [off(hares(sm.GaussAdjoint(), tol), true_hares()) for tol in (1e-5, 1e-7, 1e-9)]
    assert errors[0] < 1e-3
    assert errors[1] < errors[0] / 20
    assert errors[2] < errors[1] / 20


def test_tolerances_of_its_own_and_points_are_taken():
    rough = off(hares(sm.GaussAdjoint(rtol=1e-4, atol=1e-4), 1e-9), true_hares())
    poor = hares(sm.GaussAdjoint(points=1), 1e-9)
    assert 1e-6 < rough < 1e-2
    assert off(poor[:2], true_hares()[:2]) < 1e-7 < off(poor[2:], true_hares()[2:])


# -- every kind of solver -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("solver", "options", "within"),
    [
        (dfx.Dopri8(), {}, 1e-6),
        (sm.solvers.with_working_root_finder(dfx.Kvaerno5()), {}, 1e-6),
        (sm.Rodas5P(), {}, 1e-6),
        (sm.Rosenbrock23(), {"stepsize_controller": ROUGH}, 1e-3),
        (sm.BDF(rtol=1e-8, atol=1e-10), {}, 1e-5),
        (sm.Radau5(rtol=1e-8, atol=1e-10), {}, 1e-6),
        (sm.Switching(), {}, 1e-6),
        (dfx.Heun(), STEPS, 1e-3),
        (dfx.Tsit5(), {"stepsize_controller": dfx.StepTo(jnp.linspace(0, 2, 41))}, 1e-6),
        (dfx.HalfSolver(dfx.Heun()), {"stepsize_controller": ROUGH}, 1e-3),
    ],
    ids=lambda value: type(value).__name__,
)
def test_it_goes_with_solvers_of_every_kind(solver, options, within):
    found = gradient(solver=solver, saveat=GRID, adjoint=sm.GaussAdjoint(), **options)
    assert off(found, truth()) < within
    assert np.all(found != 0)


# -- what it costs --------------------------------------------------------------------------------


def test_evaluations_do_not_depend_on_the_number_of_parameters():
    counts = []

    def term(t, y, p):
        jax.debug.callback(lambda: counts.append(1))
        return -jnp.sum(p) * y + jnp.sin(t)

    def taken(size):
        counts.clear()
        options = {"solver": dfx.Tsit5(), "adjoint": sm.GaussAdjoint(), "term": term}
        gradient((START, jnp.full(size, 1 / size)), **options)
        jax.effects_barrier()
        return len(counts)

    few, many = taken(2), taken(256)
    assert few == many > 100


# -- transforms, and the arguments it takes -------------------------------------------------------


def test_only_what_is_differentiated_is_computed_and_other_leaves_are_left_alone():
    def term(t, y, args):
        scale, (name, steps), nothing = args
        assert (name, nothing) == ("label", None)
        return jax.tree.map(lambda leaf: -scale * steps * leaf, y)

    start = {"one": jnp.ones(2), "two": (jnp.ones((1, 2)),)}
    given = (start, (jnp.array(0.5), ("label", jnp.array(2)), None))
    options = {"solver": dfx.Tsit5(), "term": term, "saveat": GRID}
    one = gradient(given, adjoint=sm.GaussAdjoint(), **options)
    other = gradient(given, adjoint=dfx.RecursiveCheckpointAdjoint(), **options)
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_it_goes_through_vmap_with_members_of_unequal_length():
    starts, ends = jnp.stack([START, 3 * START, 9 * START]), jnp.array([0.5, 1.0, 2.0])
    options = {"solver": dfx.Tsit5(), "adjoint": sm.GaussAdjoint()}
    one = lambda start, t1: jax.grad(
        lambda start: jnp.sum(solve(start, NETWORK, t1=t1, **options) ** 2)
    )(start)
    batch = jax.jit(jax.vmap(one))(starts, ends)
    alone = jnp.stack([jax.jit(one)(*member) for member in zip(starts, ends, strict=True)])
    np.testing.assert_allclose(batch, alone, rtol=1e-10)


@pytest.mark.parametrize(
    ("t0", "t1", "ts"), [(1.0, -0.5, [0.7, -0.5]), (0.3, 0.3, [0.3, 0.3])], ids=["back", "no time"]
)
def test_it_goes_backwards_in_time_and_over_no_time(t0, t1, ts):
    options = {"solver": dfx.Tsit5(), "t0": t0, "t1": t1, "saveat": dfx.SaveAt(ts=ts)}
    one = gradient(adjoint=sm.GaussAdjoint(), **options)
    other = gradient(adjoint=dfx.RecursiveCheckpointAdjoint(), **options)
    assert off(one, other) < 1e-6


def test_a_rate_that_jumps_at_known_times_is_taken():
    term = lambda t, y, network: jnp.where(t < 0.7, 1.0, -2.0) * rate(t, y, network)
    control = dfx.ClipStepSizeController(PID, jump_ts=[0.7])
    options = {"solver": dfx.Tsit5(), "term": term, "stepsize_controller": control}
    one = gradient(adjoint=sm.GaussAdjoint(), **options)
    other = gradient(adjoint=dfx.RecursiveCheckpointAdjoint(), **options)
    assert off(one, other) < 1e-6


def test_it_works_in_float32():
    small = lambda leaf: leaf.astype(jnp.float32) if eqx.is_array(leaf) else leaf
    given = jax.tree.map(small, (START, NETWORK))
    control = dfx.PIDController(rtol=1e-5, atol=1e-6)
    options = {"solver": sm.Rodas5P(), "t0": jnp.float32(0), "t1": jnp.float32(2)}
    found = gradient(given, adjoint=sm.GaussAdjoint(), stepsize_controller=control, **options)
    expected = gradient(solver=dfx.Tsit5(), adjoint=dfx.RecursiveCheckpointAdjoint())
    assert found.dtype == jnp.float32
    assert off(found.astype(expected.dtype), expected) < 1e-3


def test_networks_inside_a_stiff_system_are_trained_by_name():
    f, u = sm.neural("f", NETWORK), sm.unknown("u", shape=3)
    model = sm.compile(sm.System(sm.Eq(D(u), f(u) - 1e4 * u), initial={u: START}))

    @eqx.filter_jit
    def slopes(model, adjoint):
        options = {"solver": "stiff", "adjoint": adjoint, "rtol": 1e-8, "atol": 1e-14}
        end = lambda model: jnp.sum(sm.solve(model, t=(0, 1), saveat=[0.5, 1.0], **options).ys)
        return flat(eqx.filter_grad(end)(model).networks)

    assert off(slopes(model, "gauss"), slopes(model, "checkpointed")) < 1e-6


def test_a_solve_without_gradients_keeps_no_dense_output():
    options = {"solver": dfx.Tsit5(), "adjoint": sm.GaussAdjoint()}
    value = lambda start, most: solve(start, NETWORK, max_steps=most, **options)
    sizes = [
        jax.jit(value, static_argnums=1).lower(START, most).compile().memory_analysis()
        for most in (100, 10_000)
    ]
    assert sizes[0].temp_size_in_bytes == sizes[1].temp_size_in_bytes
    assert sm.solve(DECAY, t=(0, 1), adjoint="gauss").interpolation is None


# -- what it refuses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"event": dfx.Event(lambda t, y, args, **_: y[0], optx.Newton(1e-5, 1e-5))}, "an event"),
        ({"saveat": dfx.SaveAt(dense=True)}, "returns no dense output"),
        ({"saveat": dfx.SaveAt(steps=True)}, "no gradient of steps"),
        ({"saveat": dfx.SaveAt(t1=True, fn=lambda t, y, args: y[0])}, "saves states alone"),
        ({"saveat": dfx.SaveAt(subs=[dfx.SubSaveAt(t1=True)])}, "saves states alone"),
        ({"saveat": dfx.SaveAt(t1=True, solver_state=True)}, "states of solver and controller"),
        ({"max_steps": None}, "give max_steps="),
        ({"solver_state": START}, "takes up no earlier solve"),
        ({"stepsize_controller": KNOTS}, "between adaptive steps alone"),
        ({"solver": sm.ETDRK4(-jnp.ones(3))}, "the transpose of the linear part"),
    ],
)
def test_what_it_cannot_carry_is_refused_with_what_would(options, message):
    options = {"solver": dfx.Heun(), **options}
    with pytest.raises(sm.DeclarationError, match=f'{message}.*adjoint="checkpointed"'):
        solve(START, NETWORK, adjoint=sm.GaussAdjoint(), **options)


def test_noise_own_tolerances_at_constant_steps_and_senseless_options_are_refused():
    W = sm.brownian("W")
    noisy = sm.System(sm.Eq(D(x), -x + D(W)), initial={x: 1})
    with pytest.raises(sm.DeclarationError, match="one term, without noise"):
        sm.solve(noisy, t=(0, 1), dt0=0.1, key=jax.random.key(0), adjoint="gauss")
    with pytest.raises(sm.DeclarationError, match="takes the steps of ConstantStepSize backwards"):
        gradient(solver=dfx.Heun(), adjoint=sm.GaussAdjoint(rtol=1e-3), **STEPS)
    with pytest.raises(sm.DeclarationError, match="points of the Gauss adjoint is positive, not 0"):
        sm.GaussAdjoint(points=0)


@pytest.mark.parametrize(
    "value",
    [
        lambda t1: sm.solve(DECAY, t=(0, 1), adjoint="gauss", saveat=[1.0 * t1])[x][-1],
        lambda t1: sm.solve(DECAY, t=(0, t1), adjoint="gauss", saveat=[0.5])[x][-1],
    ],
    ids=["saved times", "end"],
)
def test_gradients_by_times_are_refused_and_not_silently_zero(value):
    with pytest.raises(RuntimeError, match="no gradient by times .*checkpointed"):
        jax.grad(value)(0.9)


def test_forward_mode_is_refused_by_jax():
    end = lambda value: sm.solve(DECAY, t=(0, 1), values={k: value}, adjoint="gauss")[x][-1]
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jacfwd(end)(0.5)


@pytest.mark.parametrize("throw", [True, False])
def test_adjoint_equations_that_are_not_solved_give_no_gradient(throw):
    adjoint = sm.GaussAdjoint(rtol=1e-13, atol=1e-15, throw=throw)
    control = dfx.PIDController(rtol=1e-3, atol=1e-3)
    options = {"solver": dfx.Tsit5(), "stepsize_controller": control, "max_steps": 30}
    found = lambda: gradient(HARES, adjoint=adjoint, **{**YEARS, **options})
    if throw:
        with pytest.raises(RuntimeError, match="adjoint equations could not be solved"):
            jax.block_until_ready(found())
    else:
        assert np.all(np.isnan(found()))


def test_costs_of_all_steps_are_refused_and_local_ones_are_taken():
    options = {"t": (0, 1), "saveat": [1.0], "adjoint": "gauss", "solver": dfx.Tsit5()}
    with pytest.raises(sm.DeclarationError, match="GaussAdjoint carries no gradient through them"):
        sm.solve(DECAY, regularise=sm.solver_cost("error"), **options)
    local = sm.solver_cost("error", where="local", sampling="uniform")

    def cost(value, adjoint):
        given = {**options, "adjoint": adjoint, "key": jax.random.key(0), "rtol": 1e-9}
        return sm.solve(DECAY, values={k: value}, regularise=local, **given).stats["cost"]

    slopes = [jax.jit(jax.grad(lambda v, a=a: cost(v, a)))(0.5) for a in ("gauss", "backsolve")]
    assert float(slopes[0]) == pytest.approx(float(slopes[1]), rel=1e-4)
    assert slopes[0] != 0


def test_backsolve_with_an_implicit_stepper_is_refused_and_points_here():
    with pytest.raises(sm.DeclarationError, match='take adjoint="gauss"'):
        sm.solve(DECAY, t=(0, 1), solver=sm.Rodas5P(), adjoint="backsolve")
