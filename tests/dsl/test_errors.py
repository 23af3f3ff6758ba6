"""Messages of what is refused when it is declared or simplified; the rest is in check/."""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from golden import agrees, at, cases_of, eq, message

import sciml as sm
from sciml import D
from sciml.dsl import shape_of

x, y, z = sm.unknowns("x y z")
u, v = sm.unknown("u", shape=3), sm.unknown("v", shape=2)
k = sm.parameter("k")
A = sm.parameter("A", shape=(3, 2))
mlp = sm.neural("f", eqx.nn.MLP(2, 1, 4, 1, key=jax.random.key(0)))
two = sm.neural("g", lambda a, b: a + b)

# The type checker of these tests refuses a wrong type before the message for it is reached.
unknown, parameter = inspect.unwrap(sm.unknown), inspect.unwrap(sm.parameter)


def system(*equations, **given):
    return sm.System(*equations, origin=at(1), **given)


def built(*equations, **given):
    made = object.__new__(sm.System)
    inspect.unwrap(sm.System.__init__)(made, *equations, **given)
    return made


SYMBOLS = {
    "name_with_digit": lambda: sm.unknown("2x"),
    "name_is_no_text": lambda: unknown(3),
    "name_of_time": lambda: sm.parameter("t"),
    "no_names": lambda: sm.unknowns(" "),
    "bounds_reversed": lambda: sm.parameter("k", bounds=(2, 1)),
    "bounds_of_one_number": lambda: parameter("k", bounds=3),
    "bounds_of_text": lambda: parameter("k", bounds=("low", 1)),
    "shape_of_text": lambda: unknown("x", shape="ab"),
    "shape_with_zero": lambda: sm.unknown("x", shape=(2, 0)),
    "value_of_text": lambda: sm.parameter("k", "0.3"),
    "value_of_expression": lambda: sm.parameter("k", 2 * A),
    "value_ragged": lambda: sm.parameter("k", [[1, 2], [3]]),
    "value_of_another_shape": lambda: sm.parameter("k", [1, 2], shape=3),
    "guess_of_another_shape": lambda: sm.parameter("k", guess=[1, 2], shape=3),
    "order_negative": lambda: D(x, -1),
    "order_fractional": lambda: D(x, 1.5),
    "derivative_of_text": lambda: D("x"),
    "derivative_by_text": lambda: D(x, "t"),
    "gradient_of_an_array": lambda: sm.gradient(u * x, u),
    "gradient_by_an_expression": lambda: sm.gradient(x**2, 2 * x),
    "gradient_of_a_product_of_matrices": lambda: sm.gradient(sm.total(A @ A[:2]), A),
}

ARRAYS = {
    "index_out_of_range": lambda: u[5],
    "index_of_too_many_axes": lambda: A[0, 0, 0],
    "index_of_scalar": lambda: x[0],
    "index_of_number": lambda: sm.index(2, 0),
    "index_by_symbol": lambda: u[x],
    "index_by_list": lambda: u[[0, 2]],
    "slice_by_symbol": lambda: u[:k],
    "matmul": lambda: A @ u,
    "matmul_by_scalar": lambda: A @ k,
    "matmul_from_array": lambda: np.ones((2, 2)) @ u,
    "stack": lambda: sm.stack([u, v]),
    "concatenate": lambda: sm.concatenate([u, x]),
    "total_axis": lambda: sm.total(u, axis=1),
    "roll_of_scalar": lambda: sm.roll(x, 1),
}

NETWORKS = {
    "not_callable": lambda: inspect.unwrap(sm.neural)("f", 3),
    "no_arguments": lambda: mlp(),
    "too_few_inputs": lambda: mlp(x),
    "too_many_inputs": lambda: mlp(x, y, k),
    "array_too_long": lambda: mlp(u),
    "too_few_arguments": lambda: two(x),
    "raises": lambda: sm.neural("h", lambda a: jnp.reshape(a, (7,)))(u),
    "no_array": lambda: sm.neural("h", lambda a: {"b": a})(u),
    "text": lambda: mlp(x, "y"),
    "table_of_other_length": lambda: sm.forcing("h", [0, 1], [1, 2, 3]),
    "table_not_increasing": lambda: sm.forcing("h", [0, 0], [1, 2]),
    "table_with_gaps": lambda: sm.forcing("h", [0, 1], [1, np.nan]),
    "table_kind": lambda: sm.forcing("h", [0, 1], [1, 2], kind="spline"),
}

EQUATIONS = {
    "text": lambda: eq(2, D(x), "k * x"),
    "relation": lambda: eq(2, D(x), x > 1),
    "none": lambda: eq(2, None, x),
    "list_of_expressions": lambda: eq(2, D(u), [x, 1, 2]),
    "list_of_text": lambda: eq(2, D(u), [1, "a", 2]),
    "evaluated": lambda: system(D(x) == x),
    "evaluated_by_sympy": lambda: system(sympy.Eq(D(x), D(x))),
    "not_an_equation": lambda: system(D(x) + x),
    "initial_is_a_list": lambda: built(eq(2, D(x), x), initial=[1]),
    "initial_of_a_number": lambda: system(eq(2, D(x), x), initial={1: 2}),
    "observed_is_no_expression": lambda: system(eq(2, D(x), x), observed={y: {}}),
    "observed_is_text": lambda: system(eq(2, D(x), x), observed={"y": "2*x"}),
    "replace_of_nothing": lambda: system(eq(2, D(x), x)).replace(parameters={}),
    "two_initial_values": lambda: (
        system(eq(2, D(x), x), initial={x: 1}) + system(eq(3, D(y), y), initial={x: 2})
    ),
}

SIMPLIFY = {
    "nonlinear": lambda: system(eq(2, D(x) ** 2, x)),
    "inside_a_network": lambda: system(eq(2, D(x), mlp(x, D(x)))),
    "nonlinear_in_one_of_two": lambda: system(eq(2, D(y), 1), eq(3, D(x) ** 3 + D(y), 1)),
    "two_nonlinear": lambda: system(eq(2, sympy.sin(D(x)), x), eq(3, sympy.exp(D(y)), y)),
    "nonlinear_together": lambda: system(eq(2, D(x) * D(y), 1), eq(3, D(x) + D(y), x)),
    "circle": lambda: system(eq(2, D(x), z), eq(3, z, y), eq(4, y, 2 * z)),
    "constraint": lambda: system(eq(2, D(x), x), eq(3, x**2, 1)),
    "combination_that_moves": lambda: system(eq(2, D(x) - x * D(y), 1), eq(3, x * D(y) - D(x), y)),
    "constraint_on_a_combination": lambda: system(eq(2, D(x) - D(y), -x), eq(3, D(y) - D(x), y)),
    "observed_rate_that_is_open": lambda: system(
        eq(2, D(x) - D(y), -x), eq(3, D(y) - D(x), -y), observed={z: D(x) + D(y)}
    ),
    "combination_beside_noise": lambda: system(
        eq(2, D(x) - D(y), -x), eq(3, D(y) - D(x), D(sm.brownian("W")) - y)
    ),
}

CASES = {
    **{f"symbols_{name}": case for name, case in SYMBOLS.items()},
    **{f"arrays_{name}": case for name, case in ARRAYS.items()},
    **{f"networks_{name}": case for name, case in NETWORKS.items()},
    **{f"equations_{name}": case for name, case in EQUATIONS.items()},
    **{f"simplify_{name}": lambda c=case: sm.simplify(c()) for name, case in SIMPLIFY.items()},
}


@pytest.mark.parametrize("case", CASES)
def test_the_message_is_the_golden_one(case):
    agrees(case, message(CASES[case]))


@pytest.mark.parametrize("family", ["symbols", "arrays", "networks", "equations", "simplify"])
def test_every_golden_file_has_its_case(family):
    assert cases_of(family) == {case for case in CASES if case.startswith(f"{family}_")}


def five_mistakes():
    prey, predator = sm.unknowns("prey predator")
    growth = sm.parameter("growth", bounds=(0, 1))
    return sm.System(
        eq(3, D(prey), growth * prey - sympy.Symbol("grow") * prey * predator),
        eq(4, D(u), u + v),
        eq(5, D(v), -v),
        initial={prey: float("nan"), D(prey): 1},
        values={growth: 2},
        name="lotka",
        origin=at(2),
    )


def test_all_mistakes_of_a_system_are_reported_at_once():
    agrees("several_mistakes", message(lambda: sm.check(five_mistakes())))
    with pytest.raises(sm.ModelError) as caught:
        sm.check(five_mistakes())
    assert [fault.summary for fault in caught.value.faults] == [
        "grow is not declared: it is a plain sympy symbol.",
        "The unknown predator has no equation.",
        "The shapes in u + v do not broadcast.",
        "The initial value of prey is not finite.",
        "D(prey) takes no initial value: the equations determine it.",
        "The value of growth is outside its bounds.",
    ]
    assert cases_of("several") == {"several_mistakes"}


def test_compiling_checks():
    with pytest.raises(sm.ModelError, match="6 faults in system 'lotka'"):
        sm.compile(five_mistakes())


def test_a_model_error_is_a_value_error_and_every_fault_is_data():
    with pytest.raises(ValueError, match="1 fault") as caught:
        sm.check(sm.System(eq(7, D(x), sympy.Symbol("q"))))
    (fault,) = caught.value.faults
    assert (fault.equation, fault.where, fault.culprit) == ("D(x) = q", "model.py:7", "q")


def test_expressions_of_one_array_sort_whatever_their_indices():
    assert shape_of(u[0] + u[1:]) == (2,)
    assert shape_of(u[0] * u[-1] + u[:, None]) == (3, 1)


def test_parameters_of_one_name_and_other_metadata_can_be_joined():
    pairs = [(None, (0, 1)), ((0, 1), (0, 2))]
    for one, other in pairs:
        both = sm.parameter("q", bounds=one) + sm.parameter("q", 2.0, bounds=other)
        assert len(both.args) == 2
