"""Claims about standard errors: they are those of linear least squares, and not given in vain."""

import jax.numpy as jnp
import numpy as np
import pytest

from sciml.train._objective import Look
from sciml.train._uncertainty import standard_errors

RNG = np.random.default_rng(0)
POINT = {
    "parameters": {"a": jnp.asarray(1.0), "b": jnp.asarray(2.0)},
    "initial": {"x": jnp.asarray([0.5])},
    "networks": {},
}
# columns in the order of the raveled point: x(t0), a, b
DESIGN = RNG.normal(size=(12, 3)) * np.array([1.0, 1e4, 1e-4])
RESIDUALS = RNG.normal(size=12)


def errors_of(design, *, known_noise=False, count=12):
    residuals, jacobian = jnp.asarray(RESIDUALS[: len(design)]), jnp.asarray(design)
    nothing = jnp.zeros(())
    seen = Look(nothing, nothing, None, nothing, residuals, jacobian)
    return standard_errors(POINT, seen, count=count, known_noise=known_noise)


def flat(errors):
    return np.array([errors["initial"]["x"][0], *errors["parameters"].values()])


@pytest.mark.parametrize("known_noise", [False, True])
def test_errors_are_those_of_linear_least_squares_at_any_scale(known_noise):
    errors, note = errors_of(DESIGN, known_noise=known_noise)
    variance = 1.0 if known_noise else RESIDUALS @ RESIDUALS / (12 - 3)
    expected = np.sqrt(variance * np.diag(np.linalg.inv(DESIGN.T @ DESIGN)))
    np.testing.assert_allclose(flat(errors), expected, rtol=1e-6)
    assert note == ""


def test_what_the_data_say_nothing_about_has_no_error_and_costs_no_freedom():
    idle = DESIGN * np.array([1, 1, 0])
    errors, _ = errors_of(idle)
    used = DESIGN[:, :2]
    variance = RESIDUALS @ RESIDUALS / (12 - 2)
    expected = np.sqrt(variance * np.diag(np.linalg.inv(used.T @ used)))
    np.testing.assert_allclose(flat(errors)[:2], expected, rtol=1e-6)
    assert np.isnan(flat(errors)[2])


def test_quantities_that_cannot_be_told_apart_are_named():
    twins = DESIGN.copy()
    twins[:, 2] = 1e-8 * twins[:, 1]
    errors, note = errors_of(twins)
    assert np.all(np.isnan(flat(errors)))
    assert "the data cannot tell a, b apart" in note


@pytest.mark.parametrize(("rows", "count"), [(2, 2), (3, 3), (12, 3)])
def test_too_few_measurements_give_no_errors(rows, count):
    errors, note = errors_of(DESIGN[:rows], count=count)
    assert np.all(np.isnan(flat(errors)))
    assert "no more measurements than free numbers" in note
