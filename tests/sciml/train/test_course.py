"""Claims about the course of a fit: its steps, their failures, and when it ends."""

import functools

import diffrax as dfx
import equinox as eqx
import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sciml as sm
from sciml import D, t
from sciml.train._data import read_data
from sciml.train._loss import build_loss
from sciml.train._objective import build_objective, look
from sciml.train._optimise import descend
from sciml.train._space import build_space

fit = functools.partial(sm.fit, key=jax.random.key(0), progress=False)
x = sm.unknown("x")
k = sm.parameter("k", 1.0)
TIMES = np.linspace(0.0, 2.0, 9)
DATA = {t: TIMES, x: 1 / (1 - 0.4 * TIMES)}  # of x' = 0.4 x^2
GROWTH = sm.System(sm.Eq(D(x), k * x**2), initial={x: 1.0}, values={k: 0.1})

compiled = []
jax.monitoring.register_event_duration_secs_listener(
    lambda name, seconds, **_: compiled.append(name) if "backend_compile" in name else None
)


def network(key, width=4):
    return sm.neural("f", eqx.nn.MLP(1, 1, width, 1, activation=jnp.tanh, key=jax.random.key(key)))


def universal(key, **options):
    return sm.System(sm.Eq(D(x), k * x * network(key)(x)), **options)


def objective_of(system, data, *, adjoint, controller, loss="normal"):
    model = sm.compile(system)
    measured = read_data(model, data)
    space, point = build_space(model, measured)
    return point, build_objective(
        model,
        measured,
        space,
        likelihood=build_loss(loss, measured, None, model.dtype),
        penalty=None,
        solver=dfx.Tsit5(),
        controller=controller,
        dt0=None,
        adjoint=adjoint,
        max_steps=64,
        key=jax.random.key(0),
    )


ADJOINTS = {
    "forward": dfx.ForwardMode(),
    "checkpoints": dfx.RecursiveCheckpointAdjoint(),
    "direct": dfx.DirectAdjoint(),
}


@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_the_slope_of_the_loss_through_a_network_is_that_of_finite_differences(adjoint):
    steps = dfx.StepTo(ts=jnp.linspace(0.0, 2.0, 21))  # the same for every point
    system = universal(3, initial={x: 1.0}, values={k: 0.5})
    point, objective = objective_of(
        system, DATA, adjoint=ADJOINTS[adjoint], controller=steps, loss="lognormal"
    )
    horizon = jnp.ones(())
    slope = jax.flatten_util.ravel_pytree(look(objective, point, horizon).slope)[0]
    flat, rebuild = jax.flatten_util.ravel_pytree(point)
    loss = eqx.filter_jit(lambda o, z: o.losses(rebuild(z), horizon)[0])
    h = 1e-5
    for i in range(flat.size):
        plus, minus = (loss(objective, flat.at[i].add(s * h)) for s in (1, -1))
        np.testing.assert_allclose(slope[i], (plus - minus) / (2 * h), rtol=1e-6, atol=1e-9)


def test_another_fit_of_the_same_form_compiles_nothing():
    def one(seed):
        system = universal(seed, initial={x: 1.0 + 0.1 * seed}, values={k: 0.5 + 0.1 * seed})
        data = {t: TIMES + seed, x: DATA[x] + 0.01 * seed}
        return fit(system, data, key=jax.random.key(seed), steps=20, polish="lm", free=["f", k, x])

    one(0)
    before = len(compiled)
    one(1)
    assert before > 0
    assert compiled[before:] == []


def test_several_starts_are_as_many_fits():
    controller = dfx.PIDController(rtol=1e-8, atol=1e-10)
    point, objective = objective_of(GROWTH, DATA, adjoint=dfx.ForwardMode(), controller=controller)
    points = jax.tree.map(lambda z: z + jnp.asarray([0.0, 1.0, 2.5, np.nan]), point)
    options = {"optimiser": optax.adam(0.05), "steps": 20, "progress": False, "patience": 8}
    together, trace = descend(objective, points, **options)
    for i in range(4):
        one = jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], points)
        alone, course = descend(objective, one, **options)
        np.testing.assert_allclose(together.loss[i], alone.loss[0], rtol=1e-6)
        np.testing.assert_allclose(
            together.point["parameters"]["k"][i], alone.point["parameters"]["k"][0], rtol=1e-6
        )
        steps = len(course.losses)
        np.testing.assert_allclose(trace.losses[:steps, i], course.losses[:, 0], rtol=1e-5)
    assert np.isinf(together.loss[3])


def test_the_best_of_several_starts_is_returned():
    alone = fit(GROWTH, DATA, steps=5, polish=None)
    several = fit(GROWTH, DATA, steps=5, polish=None, starts=4, spread=2.0)
    assert several.losses.shape == (5, 4)
    assert several.start_losses.shape == (4,)
    assert several.loss == np.nanmin(several.start_losses) <= alone.loss
    np.testing.assert_allclose(several.start_losses[0], alone.loss, rtol=1e-4)


def test_a_fit_that_diverges_says_so_and_holds_the_best_state():
    """Beyond k = 0.5 the solution blows up within the times of the data."""
    fitted = fit(GROWTH, DATA, steps=30, optimiser=optax.sgd(1e4), polish=None)
    assert fitted.diverged
    assert any("30 steps" not in n and "no finite loss" in n for n in fitted.notes)
    assert fitted.notes[0] in str(fitted)
    assert np.isfinite(fitted.loss)
    assert fitted.loss == np.nanmin(np.where(np.isfinite(fitted.losses), fitted.losses, np.nan))


def test_after_failures_the_steps_become_small_enough():
    """Started close to the pole, with steps that overshoot it at first."""
    fitted = fit(GROWTH, DATA, steps=60, optimiser=optax.sgd(10.0), polish=None)
    assert fitted.diverged
    np.testing.assert_allclose(fitted[k], 0.4, rtol=0.05)


def test_a_fit_that_gets_worse_says_so():
    fitted = fit(GROWTH, DATA, steps=20, optimiser=optax.sgd(-0.01), polish=None)
    assert fitted.diverged
    assert any("ended worse than they began" in note for note in fitted.notes)
    np.testing.assert_allclose(fitted[k], 0.1, rtol=1e-12)


def test_a_start_that_cannot_be_solved_is_refused_with_its_reason():
    with pytest.raises(sm.FitError, match=r"at the start, the solve stopped.*\bx\b") as caught:
        fit(GROWTH.replace(values={k: 5.0}), DATA)
    assert "GrowingHorizon()" in str(caught.value)


def test_a_loss_that_is_not_finite_is_refused_with_its_reason():
    gaps = {**DATA, x: [np.nan, *DATA[x][1:]]}
    with pytest.raises(sm.FitError, match="use jnp.nanmean: missing entries are NaN"):
        fit(GROWTH, gaps, loss=lambda p, m: jnp.mean((p["x"] - m["x"]) ** 2))


def test_any_optimiser_and_schedule_of_optax_will_do():
    schedule = optax.piecewise_constant_schedule(0.3, {20: 0.1})
    optimiser = optax.chain(optax.adam(schedule), optax.contrib.reduce_on_plateau(patience=3))
    fitted = fit(GROWTH, DATA, steps=40, optimiser=optimiser, polish=None)
    np.testing.assert_allclose(fitted[k], 0.4, rtol=0.02)


def test_the_model_returned_is_that_of_the_best_validation_loss():
    """Later times follow k = 0.3: the fit passes there on its way to k = 0.4."""
    late = 1 / (1 - 0.3 * TIMES)
    system = GROWTH.replace(values={k: 0.2})
    options = {"steps": 400, "learning_rate": 0.05, "patience": 15, "polish": None}
    fitted = fit(system, DATA, validation={t: TIMES, x: late}, **options)
    np.testing.assert_allclose(fitted[k], 0.3, atol=0.01)
    assert fitted.validation_loss == np.min(fitted.validation_losses)
    assert fitted.loss > np.min(fitted.losses)
    best = int(np.argmin(fitted.validation_losses))
    assert best + 15 < len(fitted.losses) <= best + 15 + 10
    assert any("stopped early" in note for note in fitted.notes)


def test_a_held_out_end_is_not_trained_on():
    spoilt = np.where(TIMES > 1.5, 100.0, DATA[x])
    fitted = fit(GROWTH, {t: TIMES, x: spoilt}, validation=0.3, noise=1.0, steps=100)
    assert np.isfinite(fitted.validation_loss)
    np.testing.assert_allclose(fitted[k], 0.4, rtol=0.05)


def test_the_progress_bar_shows_steps_and_loss_or_nothing(capsys):
    fit(GROWTH, DATA, steps=20, polish=None, progress=True)
    shown = capsys.readouterr().err
    assert "20/20" in shown
    assert "loss" in shown
    fit(GROWTH, DATA, steps=20, polish=None)
    assert capsys.readouterr().err == ""


def test_single_precision_stays_single():
    model = sm.compile(universal(0, values={k: 0.5}), dtype=jnp.float32)
    fitted = fit(model, {t: TIMES, x: np.array(DATA[x])}, steps=20, polish="lm")
    leaves = jax.tree.leaves(eqx.filter(fitted.model, eqx.is_inexact_array))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.float32)}
    assert fitted.loss < fitted.losses[0]
    assert np.isfinite(fitted.solve()[x]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"starts": 0}, "starts is 1 or more, not 0"),
        ({"steps": -1}, "steps is 0 or more, not -1"),
        ({"patience": 0}, "patience is 1 step or more"),
        ({"learning_rate": 0.0}, "learning_rate is positive"),
        ({"polish": "newton"}, 'polish is "auto", "lm", "bfgs" or None'),
        ({"polish": "lm", "loss": "poisson"}, 'needs a loss that is a sum of squares: use "bfgs"'),
        ({"pretrain": "spline"}, "pretrain is Collocation"),
        ({"adjoint": "sideways"}, "adjoint is one of Diffrax's"),
        ({"stepsize_controller": dfx.ConstantStepSize()}, "needs the step: give dt0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    data = {t: TIMES, x: np.round(DATA[x])}
    with pytest.raises(sm.DeclarationError, match=message):
        fit(GROWTH, data, **options)
