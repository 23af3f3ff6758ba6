"""Claims about what is estimated: bounds hold by transformation, and names mean what they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml as sm
from sciml import D, t
from sciml.train._data import read_data
from sciml.train._space import build_space, coordinate

KINDS = {
    "free": (None, -7.0),
    "above": ((2.0, np.inf), 2.5),
    "below": ((-np.inf, 2.0), -1e6),
    "between": ((0.0, 1e6), 3.0),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_coordinate_starts_where_it_is_told(kind):
    bounds, start = KINDS[kind]
    made, z = coordinate(bounds, np.array([start, start + 0.1]), 0.0, np.float64)
    assert made.kind == kind
    np.testing.assert_allclose(made.value(z), [start, start + 0.1], rtol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_no_step_leaves_the_bounds(kind):
    bounds, start = KINDS[kind]
    made, z = coordinate(bounds, np.array(start), 0.0, np.float64)
    lower, upper = bounds or (-np.inf, np.inf)
    values = jax.vmap(made.value)(z + jnp.linspace(-50, 50, 11))
    assert np.all((values >= lower) & (values <= upper))
    assert np.all(np.diff(values) * (-1 if kind == "below" else 1) >= 0)


@pytest.mark.parametrize(
    ("bounds", "start"),
    [((2.0, np.inf), 2.0), ((-np.inf, 2.0), 2.0), ((0.0, 1.0), 0.0), ((0.0, 1.0), 1.0)],
)
def test_a_start_on_a_bound_is_moved_inside_where_there_is_a_slope(bounds, start):
    made, z = coordinate(bounds, np.array(start), 0.0, np.float64)
    assert bounds[0] < made.value(z) < bounds[1]
    assert abs(float(made.value(z)) - start) <= 2.1e-3
    assert jax.grad(made.value)(z) != 0


def test_a_small_start_inside_its_bounds_stays():
    made, z = coordinate((0.0, np.inf), np.array(1e-9), 0.0, np.float64)
    np.testing.assert_allclose(made.value(z), 1e-9, rtol=1e-12)


def test_elements_of_an_array_have_their_own_scale():
    made, z = coordinate(None, np.array([1e-3, 0.0, 1e3]), 0.0, np.float64)
    np.testing.assert_allclose(made.value(z + 1) - made.value(z), [1e-3, 1.0, 1e3])


x, y = sm.unknowns("x y", bounds=(0, None))
a, b = sm.parameters("a b")
g = sm.parameter("g", guess=2.0)
f = sm.neural("f", lambda v: -v)
w = sm.forcing("w", [0, 1], [0.0, 1.0])
TIMES = np.linspace(0, 1, 5)


@pytest.fixture(scope="module")
def model():
    return sm.compile(
        sm.System(
            sm.Eq(D(x), -a * x + b + f(y) + w(t)),
            sm.Eq(D(y), g * x),
            initial={x: 1, y: a},
            values={a: 0.5, b: 2 * a},
        )
    )


def space_of(model, *, data=None, **options):
    data = {t: TIMES, x: np.exp(-TIMES)} if data is None else data
    return build_space(model, read_data(model, data), **options)


def test_by_default_parameters_are_free_and_given_initial_values_are_not(model):
    space, point = space_of(model)
    assert set(space.parameters) == {"a", "g"}  # b follows from a
    assert not space.initial
    assert float(space.parameters["g"].value(point["parameters"]["g"])) == 2.0


def test_a_missing_initial_value_starts_at_the_first_measurement():
    system = sm.System(sm.Eq(D(x), -a * x), values={a: 1})
    data = {t: TIMES, x: [np.nan, 5.0, 4.0, 3.0, 2.0]}
    space, point = space_of(sm.compile(system), data=[data, {t: TIMES, x: 7 - TIMES}])
    np.testing.assert_allclose(space.initial["x"].value(point["initial"]["x"]), [5, 7])
    np.testing.assert_allclose(space.assemble(point, sm.compile(system), 1).state(), [7])


def test_initial_values_may_differ_between_trajectories(model):
    space, point = space_of(
        model, data=[{t: TIMES, x: TIMES}] * 2, initial=[{x: 3.0}, {"x": 4.0}], free=[g]
    )
    assert not space.initial
    np.testing.assert_array_equal(space.assemble(point, model, 0).initial_value(x), 3)
    np.testing.assert_array_equal(space.assemble(point, model, 1).initial_value(x), 4)


def test_an_initial_value_that_is_given_and_free_starts_there(model):
    space, point = space_of(model, initial={x: 3.0}, free=[x, "g", g])
    assert (list(space.initial), list(space.parameters)) == (["x"], ["g"])
    np.testing.assert_allclose(space.initial["x"].value(point["initial"]["x"]), [3.0])


REFUSED = {
    "a misspelt name": ({"free": ["aa"]}, "aa is not a parameter.*did you mean a?"),
    "an unrelated name": ({"free": ["network"]}, "the system has a, g, f, w, x, y"),
    "a dependent parameter": ({"free": [b]}, r"b is the expression 2\*a of others"),
    "a dependent initial value": ({"free": y}, "y is the expression a of others"),
    "a known input": ({"free": [w]}, "w is a known input"),
    "an initial value of a parameter": ({"initial": {a: 1.0}}, "a is a parameter"),
    "an initial value of nothing": ({"initial": {"z": 1.0}}, "z is no unknown"),
    "an initial value twice over": ({"initial": {y: 1.0}}, "is an expression of the system"),
    "a list too long": ({"initial": [{x: 1}, {x: 2}]}, "2 entries for 1 trajectories"),
    "a bare number": ({"initial": 1.0}, "initial is a mapping"),
    "a missing number": ({"initial": {x: np.nan}}, "values of x must be finite"),
    "a vector": ({"initial": {x: [1.0, 2.0]}}, "declared with shape"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_estimated_is_refused(model, case):
    options, message = REFUSED[case]
    with pytest.raises(sm.DeclarationError, match=message):
        space_of(model, **options)


def test_initial_values_of_some_trajectories_only_are_refused(model):
    with pytest.raises(sm.DeclarationError, match="x is given for some trajectories only"):
        space_of(model, data=[{t: TIMES, x: TIMES}] * 2, initial=[{x: 1}, {}])


@pytest.mark.parametrize(
    ("system", "data", "message"),
    [
        (sm.System(sm.Eq(D(x), -x), initial={x: 1}), x, "nothing to estimate"),
        (sm.System(sm.Eq(D(x), -f(x)), initial={x: 1}), x, "nothing to estimate"),
        (sm.System(sm.Eq(D(x), -a * x), initial={x: 1}), x, "a has no value to start from"),
        (
            sm.System(sm.Eq(D(x), -y), sm.Eq(D(y), a * x), initial={x: 1}, values={a: 1}),
            x,
            "initial value of y is neither given nor measured: give it",
        ),
    ],
)
def test_what_has_nothing_to_start_from_is_refused(system, data, message):
    with pytest.raises(sm.FitError, match=message):
        space_of(sm.compile(system), data={t: TIMES, data: TIMES})


def test_a_fixed_parameter_needs_a_value():
    system = sm.System(sm.Eq(D(x), -a * x + b), initial={x: 1}, values={a: 1})
    with pytest.raises(sm.FitError, match="b has no value and is not estimated"):
        space_of(sm.compile(system), free=[a])


def test_a_start_outside_the_bounds_is_refused():
    rate = sm.parameter("rate", bounds=(0, 1))
    model = sm.compile(sm.System(sm.Eq(D(x), -rate * x), initial={x: 1}, values={rate: 0.5}))
    with pytest.raises(sm.DeclarationError, match="rate starts at 2.0, outside its bounds"):
        space_of(model.replace(values={rate: 2.0}))
