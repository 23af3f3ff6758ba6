"""Adjoints by name; the reversible one: exact, in constant memory, refused where it is neither."""

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
from sciml.solvers import KnotSteps, choose_adjoint

x, y = sm.unknowns("x y")
k = sm.parameter("k", 0.5)
DECAY = sm.System(sm.Eq(D(x), -k * x), initial={x: 1})
NETWORK = eqx.nn.MLP(3, 3, 8, 1, activation=jnp.tanh, key=jax.random.key(0))
START = jnp.array([1.0, 0.5, -0.3])
PID = dfx.PIDController(rtol=1e-5, atol=1e-7)
STEPS = {"dt0": 0.03, "stepsize_controller": dfx.ConstantStepSize()}
ADAPTIVE = {"dt0": None, "stepsize_controller": PID}
CLIPPED = dfx.ClipStepSizeController(PID, step_ts=[0.77, 1.5])
EULER = sm.Reversible(dfx.Euler())


def rate(t, y, network):
    return network(y) - 0.3 * y + 0.1 * jnp.sin(t)


def end(value, start, **options):
    options = {"saveat": [1.0], "dt0": 0.02, **options}
    steps = dfx.ConstantStepSize()
    return sm.solve(
        DECAY, t=(0, 1), values={k: value}, initial={x: start}, stepsize_controller=steps, **options
    )[x][-1]


def solve(start, network, *, solver, adjoint, t1=2.0, term=rate, **options):
    options = {"saveat": dfx.SaveAt(t1=True), **STEPS, **options}
    return dfx.diffeqsolve(
        dfx.ODETerm(term), solver, 0.0, t1, y0=start, args=network, adjoint=adjoint, **options
    ).ys


def loss(given, **options):
    """A sum of squares of what was saved, each with a weight of its own."""
    ys = solve(*given, **options)
    weights = jnp.reshape(jnp.cos(jnp.arange(ys.size, dtype=ys.dtype)), ys.shape)
    return jnp.sum(weights * jnp.where(jnp.isfinite(ys), ys, 0) ** 2)


def gradient(**options):
    slopes = eqx.filter_jit(eqx.filter_grad(functools.partial(loss, **options)))
    return flat(slopes((START, NETWORK)))


def flat(tree):
    return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def off(found, expected):
    return float(jnp.max(jnp.abs(found - expected)) / jnp.max(jnp.abs(expected)))


NAMES = ["checkpointed", "direct", "backsolve", "forward", "reversible", "gauss"]


@pytest.mark.parametrize("name", NAMES)
def test_derivatives_by_every_name_are_right(name):
    differentiate = jax.jacfwd if name == "forward" else jax.jacrev
    function = functools.partial(end, adjoint=name, solver=dfx.Tsit5())
    found = jax.jit(differentiate(function, argnums=(0, 1)))(0.7, 2.0)
    np.testing.assert_allclose(found, [-2 * np.exp(-0.7), np.exp(-0.7)], rtol=1e-7)


def test_adjoints_of_diffrax_are_taken_as_they_are_and_other_names_are_refused():
    own = dfx.RecursiveCheckpointAdjoint(checkpoints=3)
    assert choose_adjoint(own) is own
    assert choose_adjoint(None) == choose_adjoint("checkpointed")
    for wrong in ("adjoint", 3, dfx.DirectAdjoint):
        with pytest.raises(sm.DeclarationError, match='"checkpointed", "direct", "backsolve", '):
            choose_adjoint(wrong)


SAVED = dfx.SaveAt(t0=True, t1=True, ts=jnp.linspace(0.1, 1.3, 7), steps=3)
GRID = dfx.SaveAt(ts=jnp.linspace(0, 2, 11), t1=True)


@pytest.mark.parametrize(
    ("solver", "options"),
    [
        (sm.Reversible(dfx.Tsit5()), {"saveat": GRID}),
        (sm.Reversible(dfx.Tsit5()), {"saveat": SAVED, **ADAPTIVE}),
        (dfx.ReversibleHeun(), {"saveat": dfx.SaveAt(steps=True), **ADAPTIVE}),
        (dfx.ReversibleHeun(), {"saveat": GRID, "dt0": 0.1, "stepsize_controller": CLIPPED}),
        (EULER, {"dt0": None, "stepsize_controller": dfx.StepTo(ts=jnp.linspace(0, 2, 33))}),
        (EULER, {"saveat": GRID, "max_steps": 20}),  # not all times are reached
    ],
    ids=["grid", "everything", "steps", "clipped", "given steps", "stopped early"],
)
def test_its_gradient_is_that_of_checkpoints_through_the_same_steps(solver, options):
    options = {"solver": solver, "throw": False, **options}
    expected = gradient(adjoint=dfx.RecursiveCheckpointAdjoint(), **options)
    found = gradient(adjoint=sm.ReversibleAdjoint(), **options)
    assert off(found, expected) < 1e-12
    assert np.all(found != 0)


def test_its_gradient_is_that_of_finite_differences():
    options = {"solver": dfx.Tsit5(), "adjoint": sm.ReversibleAdjoint(), "saveat": GRID}
    slopes = gradient(**options)[:3]
    value = eqx.filter_jit(functools.partial(loss, **options))
    h = 1e-5
    for place in range(3):
        ahead, behind = (START.at[place].add(sign * h) for sign in (1, -1))
        difference = (value((ahead, NETWORK)) - value((behind, NETWORK))) / (2 * h)
        assert float(slopes[place]) == pytest.approx(float(difference), rel=1e-7)


def test_an_ordinary_solver_is_wrapped():
    wrapped, plain = sm.Reversible(dfx.Euler(), coupling=0.99), dfx.Euler()
    adjoint = sm.ReversibleAdjoint(coupling=0.99)
    one, other = (gradient(solver=solver, adjoint=adjoint) for solver in (wrapped, plain))
    np.testing.assert_array_equal(one, other)


def compiled(steps, **options):
    options = {"solver": EULER, "dt0": 2 / steps, "max_steps": steps} | options
    arrays, static = eqx.partition((START, NETWORK), eqx.is_array)
    slopes = jax.grad(lambda arrays: loss(eqx.combine(arrays, static), **options))
    return jax.jit(slopes).lower(arrays).compile(), arrays


def temporary(steps, **options):
    return compiled(steps, **options)[0].memory_analysis().temp_size_in_bytes


def test_its_memory_does_not_depend_on_the_number_of_steps():
    few, many = (temporary(n, adjoint=sm.ReversibleAdjoint()) for n in (100, 10_000))
    assert many <= 1.2 * few  # the same, in fact
    assert many == few


def test_of_adaptive_steps_it_stores_the_times_alone():
    solver, adjoint = dfx.ReversibleHeun(), sm.ReversibleAdjoint()
    options = {"solver": solver, "adjoint": adjoint, "stepsize_controller": PID}
    few, many = (temporary(n, **options) for n in (100, 10_000))
    assert many - few <= 2.1 * 8 * 9_900  # a copy of them is made as they are stored


@pytest.mark.parametrize("steps", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_over_many_steps_its_gradient_remains_exact(steps):
    both = []
    for adjoint in (dfx.RecursiveCheckpointAdjoint(), sm.ReversibleAdjoint()):
        function, arrays = compiled(steps, adjoint=adjoint)
        both.append(flat(function(arrays)))
    assert off(both[1], both[0]) < 1e-8


def test_without_a_bound_on_constant_steps_it_has_gradients():
    options = {"solver": EULER, "adjoint": sm.ReversibleAdjoint()}
    np.testing.assert_array_equal(gradient(max_steps=None, **options), gradient(**options))


def test_it_goes_through_vmap_with_members_of_unequal_length():
    adjoint, starts = sm.ReversibleAdjoint(), jnp.stack([START, 3 * START, 9 * START])
    options = {"solver": dfx.ReversibleHeun(), "adjoint": adjoint, **ADAPTIVE}
    one = lambda start, t1: jax.grad(
        lambda start: jnp.sum(solve(start, NETWORK, t1=t1, **options) ** 2)
    )(start)
    ends = jnp.array([0.5, 1.0, 2.0])
    batch = jax.jit(jax.vmap(one))(starts, ends)
    alone = jnp.stack([jax.jit(one)(*member) for member in zip(starts, ends, strict=True)])
    np.testing.assert_allclose(batch, alone, rtol=1e-10)


def test_it_goes_backwards_in_time_and_over_no_time():
    options = {"solver": dfx.ReversibleHeun(), **ADAPTIVE}
    for ends, ts in (((1.0, -0.5), [0.7, -0.5]), ((0.3, 0.3), [0.3, 0.3])):

        def value(start, adjoint, ends=ends, ts=ts):
            kind = {**options, "saveat": dfx.SaveAt(ts=ts)}
            ys = dfx.diffeqsolve(
                dfx.ODETerm(rate), t0=ends[0], t1=ends[1], y0=start, args=NETWORK, adjoint=adjoint,
                **kind,
            ).ys  # fmt: skip
            return jnp.sum(ys * jnp.arange(1.0, 7.0).reshape(2, 3))

        found = jax.jit(jax.grad(value), static_argnums=1)
        one = found(START, sm.ReversibleAdjoint())
        other = found(START, dfx.RecursiveCheckpointAdjoint())
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_it_works_in_float32():
    start, network = jax.tree.map(
        lambda a: a.astype(jnp.float32) if eqx.is_array(a) else a, (START, NETWORK)
    )

    def value(given, adjoint):
        steps = {"dt0": jnp.float32(0.02), "t1": jnp.float32(2)}
        return loss(given, solver=EULER, adjoint=adjoint, **steps)

    both = [
        eqx.filter_jit(eqx.filter_grad(value))((start, network), adjoint)
        for adjoint in (dfx.RecursiveCheckpointAdjoint(), sm.ReversibleAdjoint())
    ]
    assert {leaf.dtype for leaf in jax.tree.leaves(both[1])} == {jnp.dtype("float32")}
    assert off(flat(both[1]), flat(both[0])) < 1e-5


@pytest.mark.parametrize("solver", [dfx.ReversibleHeun(), dfx.Heun()])
def test_paths_of_noise_are_drawn_again_on_the_way_back(solver):
    W, a = sm.brownian("W"), sm.parameter("a", 0.4)
    system = sm.System(
        sm.Eq(D(x), -k * x + a * D(W)), sm.Eq(D(y), x - y), initial={x: 1, y: 0}
    )  # fmt: skip

    def value(given, adjoint):
        sol = sm.solve(
            system, t=(0, 1), values={k: given[0], a: given[1]}, saveat=[0.5, 1.0], dt0=0.05,
            solver=solver, key=jax.random.key(3), adjoint=adjoint,
        )  # fmt: skip
        return jnp.sum(sol[x + y] ** 2)

    given = jnp.array([0.5, 0.4])
    found = jax.jit(jax.grad(lambda given: value(given, "reversible")))(given)
    h = 1e-5 * jnp.eye(2)
    plain = jax.jit(lambda given: value(given, "reversible"))
    differences = [(plain(given + one) - plain(given - one)) / 2e-5 for one in h]
    np.testing.assert_allclose(found, differences, rtol=1e-7)


def test_networks_inside_a_system_are_trained_by_name():
    u = sm.unknown("u", shape=2)
    module = sm.nn.NeuralODE(u, width=8, key=jax.random.key(0))
    times, start = jnp.linspace(0, 1, 5), jnp.array([1.0, -0.5])

    @eqx.filter_jit
    def slopes(module, stepping):
        return eqx.filter_grad(lambda m: jnp.sum(m(times, start, stepping=stepping) ** 2))(module)

    steps = {"dt0": 0.05, "stepsize_controller": dfx.ConstantStepSize()}
    one = slopes(module, sm.nn.Stepping(solver=dfx.Euler(), adjoint="reversible", **steps))
    other = slopes(module, sm.nn.Stepping(solver=EULER, adjoint="checkpointed", **steps))
    assert off(flat(one), flat(other)) < 1e-12


def test_a_network_without_parameters_goes_through_the_solve_backwards():
    f = sm.neural("f", NETWORK)
    u = sm.unknown("u", shape=3)
    model = sm.compile(sm.System(sm.Eq(D(u), f(u)), initial={u: START}))

    @eqx.filter_jit
    def slopes(model, adjoint):
        end = lambda model: jnp.sum(sm.solve(model, t=(0, 1), saveat=[1.0], adjoint=adjoint).ys)
        return flat(eqx.filter_grad(end)(model).networks)

    assert off(slopes(model, "backsolve"), slopes(model, "checkpointed")) < 1e-5


def relaxation(t, y, strength):
    return -strength * (y - jnp.sin(t))


@pytest.mark.parametrize("throw", [True, False])
def test_where_a_solution_decays_beyond_rounding_the_gradient_is_refused(throw):
    adjoint = sm.ReversibleAdjoint(coupling=0.999, throw=throw)

    @jax.jit
    def slope(strength):
        value = lambda s: jnp.sum(
            solve(START, s, solver=EULER, adjoint=adjoint, t1=1.0, term=relaxation, dt0=2e-3)
        )
        return jax.grad(value)(strength)

    assert np.isfinite(slope(1.0))
    if throw:
        with pytest.raises(Exception, match="did not find back to the initial state"):
            jax.block_until_ready(slope(30.0))
    else:
        assert np.isnan(slope(30.0))


JUMPING = dfx.ClipStepSizeController(PID, jump_ts=[0.5])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"event": dfx.Event(lambda t, y, args, **_: y[0], optx.Newton(1e-5, 1e-5))}, "an event"),
        ({"saveat": dfx.SaveAt(dense=True)}, "keeps no dense output"),
        ({"saveat": dfx.SaveAt(t1=True, fn=lambda t, y, args: y[0])}, "saves states alone"),
        ({"saveat": dfx.SaveAt(subs=[dfx.SubSaveAt(t1=True)])}, "saves states alone"),
        ({"saveat": dfx.SaveAt(t1=True, solver_state=True)}, "states of solver and controller"),
        ({"dt0": 0.1, "stepsize_controller": JUMPING}, "takes no jumps"),
        ({"dt0": None, "stepsize_controller": KnotSteps(jnp.array([0.0, 1, 2]))}, "no jumps"),
        ({**ADAPTIVE, "max_steps": None}, "give max_steps="),
        ({"solver_state": START}, "takes up no earlier solve"),
        ({"solver": dfx.Kvaerno3()}, "Kvaerno3 cannot be taken back"),
    ],
)
def test_what_it_cannot_carry_is_refused_with_what_would(options, message):
    options = {"solver": dfx.Heun(), **options}
    if options["solver"] == dfx.Kvaerno3():
        options["solver"] = sm.solvers.with_working_root_finder(dfx.Kvaerno3())
        options.update(ADAPTIVE)
    with pytest.raises(sm.DeclarationError, match=f'{message}.*adjoint="checkpointed"'):
        solve(START, NETWORK, adjoint=sm.ReversibleAdjoint(), **options)


def test_paths_that_cannot_be_drawn_again_are_refused():
    path = dfx.UnsafeBrownianPath((3,), jax.random.key(0))
    terms = dfx.ControlTerm(lambda t, y, args: jnp.eye(3), path)
    with pytest.raises(sm.DeclarationError, match="UnsafeBrownianPath again: take diffrax.Virtual"):
        dfx.diffeqsolve(
            terms, dfx.Heun(), 0.0, 1.0, 0.1, START, adjoint=sm.ReversibleAdjoint()
        )  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [
        lambda t1: end(0.5, 1.0, adjoint="reversible", saveat=[1.0 * t1]),
        lambda t1: end(0.5, 1.0, adjoint="reversible", dt0=0.02 * t1),
        lambda t1: sm.solve(DECAY, t=(0, t1), adjoint="reversible", saveat=[0.5])[x][-1],
    ],
    ids=["saved times", "steps", "end"],
)
def test_gradients_by_times_are_refused_and_not_silently_zero(value):
    with pytest.raises(RuntimeError, match="no gradient by times .*checkpointed"):
        jax.grad(value)(1.0)


def test_forward_mode_is_refused_by_jax():
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jacfwd(lambda value: end(value, 1.0, adjoint="reversible"))(0.5)


def test_dense_output_is_left_away_by_default_and_refused_if_asked_for():
    sol = sm.solve(DECAY, t=(0, 1), adjoint="reversible")
    assert sol.interpolation is None
    np.testing.assert_allclose(sol[x], np.exp(-0.5 * np.linspace(0, 1, 201)), rtol=1e-5)
    with pytest.raises(sm.DeclarationError, match="keeps no dense output"):
        sm.solve(DECAY, t=(0, 1), adjoint="reversible", saveat=dfx.SaveAt(dense=True))
