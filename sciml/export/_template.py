"""Template: what an exported file offers, around the model x' = -k x.

What lies below the marker is copied; what lies above it is generated for each model.
"""

import jax
import jax.numpy as jnp

from ._integrate import MESSAGES as MESSAGES, integrate, trajectory
from ._tsit5 import METHOD

STATES = {"x": (0, ())}
INITIAL = {"x": 1.0}
COMPUTED = ()
PARAMETERS = {"k": 0.5}
SHAPES = {"k": ()}
OBSERVED = ("y",)
MAX_STEPS = 4096
WEIGHTS = {}
NETWORKS = {}


def rates_constants(p, dtype):
    return (p["k"],)


def rates(t, state, constants, networks):
    return -constants[0] * state


def observables_constants(p, dtype):
    return ()


def observables(t, state, constants, networks):
    return (2 * state[0],)


def initials_constants(p, dtype):
    return ()


def initials(t, state, constants, networks):
    return ()


# == copied ==


def vector_field(t, y, parameters=None):
    """Rates of the state vector `y` at the time `t`.

    `parameters` is a dictionary by name; what is left out has its default. Everything is computed
    in the floating-point type of `y`.
    """
    y = state_vector(y)
    constants = rates_constants(resolve(parameters, y.dtype), y.dtype)
    return rates(jnp.asarray(t, y.dtype), y, constants, bound(weights(y.dtype)))


def observed(t, y, parameters=None):
    """The observed quantities at the time `t`, in the state `y`: a dictionary by name."""
    y = state_vector(y)
    constants = observables_constants(resolve(parameters, y.dtype), y.dtype)
    values = observables(jnp.asarray(t, y.dtype), y, constants, bound(weights(y.dtype)))
    return {name: jnp.asarray(v, y.dtype) for name, v in zip(OBSERVED, values, strict=True)}


def initial_state(parameters=None, dtype=float):
    """The state vector at the start; some of it may be computed from the parameters."""
    missing = [name for name in STATES if INITIAL[name] is None and name not in COMPUTED]
    if missing:
        raise ValueError(f"the model has no initial value of {', '.join(missing)}: give y0")
    p = resolve(parameters, dtype)
    given = [flat(0.0 if name in COMPUTED else INITIAL[name], STATES[name][1]) for name in STATES]
    y = jnp.asarray([number for numbers in given for number in numbers], dtype)
    values = initials(
        jnp.zeros((), y.dtype), y, initials_constants(p, y.dtype), bound(weights(dtype))
    )
    for name, value in zip(COMPUTED, values, strict=True):
        first, shape = STATES[name]
        value = jnp.broadcast_to(jnp.asarray(value, y.dtype), shape)
        y = y.at[first : first + size_of(shape)].set(jnp.ravel(value))
    return y


def flat(value, shape):
    """The elements of nested tuples of a shape; a single number stands for all of them."""
    if isinstance(value, float):
        return [value] * size_of(shape)
    value = value.tolist() if isinstance(value, memoryview) else value
    return [number for item in value for number in flat(item, shape[1:])]


def unpack(y):
    """The parts of a state vector, or of a whole trajectory of them, by name."""
    return {
        name: jnp.reshape(y[..., first : first + size_of(shape)], (*y.shape[:-1], *shape))
        for name, (first, shape) in STATES.items()
    }


def solve(t0, t1, y0=None, parameters=None, ts=None, rtol=1e-6, atol=1e-9, derivatives="reverse"):
    """Integrates the model from `t0` to `t1`, with `y0` the state at `t0`.

    Arguments: `y0`, by default the model's own; `parameters`, a dictionary by name, in which what
    is left out has its default; `ts`, times between t0 and t1 in any order (by default 101 of
    them); the tolerances `rtol` and `atol` of each step. For jax.jvp and jax.jacfwd, give
    derivatives="forward"; for jax.grad and jax.vjp, leave it as it is.

    Returns a dictionary: "ys", of shape (time, state), not a number where the solve did not get;
    "success", true if every state was computed; "status", the number of a message in MESSAGES;
    "steps", how many were tried. Always look at "success". The derivatives of a solve that failed
    are not numbers.
    """
    if derivatives not in ("reverse", "forward"):
        raise ValueError(f'derivatives are "reverse" or "forward", not {derivatives!r}')
    y0 = state_vector(initial_state(parameters) if y0 is None else y0)
    p = resolve(parameters, y0.dtype)
    ts = jnp.linspace(t0, t1, 101) if ts is None else ts
    t0, t1, ts, rtol, atol = (jnp.asarray(value, y0.dtype) for value in (t0, t1, ts, rtol, atol))
    return solve_arrays(t0, t1, y0, p, ts, rtol, atol, derivatives)


def solve_arrays(t0, t1, y0, parameters, ts, rtol, atol, derivatives="reverse"):
    """`solve`, of arrays of one type."""
    constants = rates_constants(parameters, y0.dtype)
    args = jax.tree.map(lambda c: c if is_smooth(c) else None, constants)
    rest = jax.tree.map(lambda c: None if is_smooth(c) else c, constants)
    fixed = (rest, weights(y0.dtype))
    given = (field, METHOD, MAX_STEPS, t0, t1, y0, args, fixed, ts, rtol, atol)
    return trajectory(*given) if derivatives == "reverse" else integrate(*given)[0]


solve_arrays = jax.jit(solve_arrays, static_argnums=7)


def field(t, y, args, fixed):
    """The rates, of constants in two parts: those with a derivative, and those without."""
    rest, arrays = fixed
    constants = jax.tree.map(
        lambda a, b: b if a is None else a, args, rest, is_leaf=lambda a: a is None
    )
    return rates(t, y, constants, bound(arrays))


def is_smooth(value):
    """Whether a constant has derivatives: it is neither a condition nor an index."""
    return jnp.issubdtype(jnp.result_type(value), jnp.floating)


def state_vector(y):
    """A state as a floating-point vector of the right length."""
    y = jnp.asarray(y)
    size = sum(size_of(shape) for _, shape in STATES.values())
    if y.shape != (size,):
        raise ValueError(
            f"a state is a vector of {size} numbers ({', '.join(STATES)}), not of shape {y.shape}"
        )
    return y if jnp.issubdtype(y.dtype, jnp.floating) else y.astype(float)


def resolve(parameters, dtype):
    """Every parameter as an array: those given, and the defaults of the others."""
    given = {} if parameters is None else parameters
    if unknown := sorted(set(given) - set(PARAMETERS)):
        raise ValueError(
            f"no parameter {', '.join(unknown)}: the model has {', '.join(PARAMETERS)}"
        )
    values = {**PARAMETERS, **given}
    if missing := [name for name, value in values.items() if value is None]:
        raise ValueError(f"the model has no value of {', '.join(missing)}: give it in parameters")
    arrays = {name: jnp.asarray(value, dtype) for name, value in values.items()}
    for name, array in arrays.items():
        if array.shape not in ((), SHAPES[name]):
            raise ValueError(f"{name} has the shape {SHAPES[name]}, not {array.shape}")
    return {
        name: array if array.shape == SHAPES[name] else jnp.broadcast_to(array, SHAPES[name])
        for name, array in arrays.items()
    }


def weights(dtype):
    """The arrays of every network."""
    return {
        network: {name: jnp.asarray(value, dtype) for name, value in arrays.items()}
        for network, arrays in WEIGHTS.items()
    }


def bound(arrays):
    """The networks as functions of their inputs alone."""

    def bind(code, own):
        return lambda *inputs: code(own, *inputs)

    return {name: bind(code, arrays[name]) for name, code in NETWORKS.items()}


def size_of(shape):
    """Number of elements of an array."""
    size = 1
    for n in shape:
        size *= n
    return size


# == call ==


def call(network, convention, pointwise, *inputs):
    """A network applied to its inputs as they are ("apart"), or to all of them in one "vector"."""
    if pointwise:
        inputs = jnp.broadcast_arrays(*inputs)
        return jnp.reshape(call_each(network, convention, *inputs), inputs[0].shape)
    if convention == "apart":
        return network(*inputs)
    return network(jnp.concatenate([jnp.ravel(x) for x in inputs]))


def call_each(network, convention, *inputs):
    """The outputs of a network at each of several points, one after the other in one vector."""
    inputs = [jnp.ravel(x) for x in jnp.broadcast_arrays(*inputs)]
    dtype = jnp.result_type(*inputs)
    outputs = jax.vmap(lambda *point: call(network, convention, False, *point))
    return jnp.ravel(outputs(*(x.astype(dtype) for x in inputs)))


# == derivative ==


def derivative(network, convention, pointwise, shape, order, *inputs):
    """All derivatives of a network's output, of one order, by all n elements of its inputs."""
    if pointwise:
        inputs = jnp.broadcast_arrays(*inputs)
        points = (jnp.ravel(x) for x in inputs)
        each = jax.vmap(lambda *point: derivative(network, convention, False, (), order, *point))
        found = each(*points)
        return jnp.reshape(found, (*shape, *found.shape[1:]))
    function, point = flattened(network, convention, shape, inputs)
    return differentiated(function, shape, order, point.size)(point)


def tangent(network, convention, shape, order, which, *inputs):
    """The rate of such derivatives as one of the inputs moves in the direction given last."""
    *inputs, direction = inputs
    function, point = flattened(network, convention, shape, inputs)
    pieces = [jnp.zeros(x.size, point.dtype) for x in inputs]
    pieces[which] = jnp.ravel(direction)
    moving = differentiated(function, shape, order, point.size)
    return jax.jvp(moving, (point,), (jnp.concatenate(pieces),))[1]


def cotangent(network, convention, shape, *inputs):
    """The derivative of the output's product with the vector given last."""
    *inputs, weights = inputs
    function, point = flattened(network, convention, shape, inputs)
    return jax.vjp(function, point)[1](weights)[0]


def flattened(network, convention, shape, inputs):
    """A network as a function of all its inputs in one vector, and that vector."""

    def function(point):
        pieces, start = [], 0
        for x in inputs:
            pieces.append(jnp.reshape(point[start : start + x.size], x.shape))
            start += x.size
        return jnp.reshape(call(network, convention, False, *pieces), shape)

    return function, jnp.concatenate([jnp.ravel(x) for x in inputs])


def differentiated(function, shape, order, size):
    """The derivative of some order: in reverse mode where that is cheaper, then forward."""
    for level in range(order):
        if level == 0 and size_of(shape) < size:
            function = jax.jacrev(function)
        else:
            function = jax.jacfwd(function)
    return function


# == packed ==


def packed(code, shape, text):
    """An array out of its bytes in hexadecimal; `code` is its type, as in the module struct."""
    return memoryview(bytes.fromhex(text)).cast(code, shape)
