"""Template: one step of the Rosenbrock method RODAS, for stiff models.

E. Hairer and G. Wanner, "Solving Ordinary Differential Equations II", 2nd ed., Springer 1996,
section IV.7 (equation 7.25: the form without products by the Jacobian) and the coefficients of
RODAS: order 4(3), six stages, L-stable, stiffly accurate, dense output of order 3. The Jacobian is
dense, and is found by automatic differentiation.
"""

import jax
import jax.numpy as jnp
from jax import lax

from ._integrate import product

# == copied ==


# RODAS, of order 4(3): E. Hairer & G. Wanner, Solving Ordinary Differential Equations II, 2nd ed.
# (1996), section IV.7; in the form u_i of equation (7.25). Row i of STAGES and of COUPLING belongs
# to stage i + 2, the rows of DENSE to the dense output.
GAMMA = 0.25
NODES = (0.386, 0.21, 0.63, 1.0, 1.0)
SLOPES = (0.25, -0.1043, 0.1035, -0.03620000000000023, 0.0, 0.0)
STAGES = (
    (1.544,),
    (0.9466785280815826, 0.2557011698983284),
    (3.314825187068521, 2.896124015972201, 0.9986419139977817),
    (1.221224509226641, 6.019134481288629, 12.53708332932087, -0.687886036105895),
    (1.221224509226641, 6.019134481288629, 12.53708332932087, -0.687886036105895, 1.0),
)
COUPLING = (
    (-5.6688,),
    (-2.430093356833875, -0.2063599157091915),
    (-0.1073529058151375, -9.594562251023355, -20.47028614809616),
    (7.496443313967647, -10.24680431464352, -33.99990352819905, 11.70890893206160),
    (
        8.083246795921522,
        -7.981132988064893,
        -31.52159432874371,
        16.31930543123136,
        -6.058818238834054,
    ),
)
DENSE = (
    (
        10.12623508344586,
        -7.487995877610167,
        -34.80091861555747,
        -7.992771707568823,
        1.025137723295662,
    ),
    (
        -0.6762803392801253,
        6.087714651680015,
        16.43084320892478,
        24.76722511418386,
        -6.594389125716872,
    ),
)


def rodas4_step(rates, s, y, f, h):
    """The new state, its rate, the error, and the dense output; `f` is the rate at the start."""
    jacobian = jax.jacfwd(rates, 1)(s, y)
    _, slope = jax.jvp(lambda s: rates(s, y), (s,), (jnp.ones_like(s),))
    identity = jnp.eye(y.shape[0], dtype=y.dtype)
    factors = jax.scipy.linalg.lu_factor(identity / (h * GAMMA) - jacobian)

    def array(rows, width):
        return jnp.asarray([(*row, *[0.0] * (width - len(row))) for row in rows], y.dtype)

    table, coupling = array(STAGES, 6), array(COUPLING, 6)
    nodes, slopes = jnp.asarray(NODES, y.dtype), jnp.asarray(SLOPES, y.dtype)

    def stage(i, known):  # in a loop, so that the rates are compiled once
        u, _ = known
        y1 = y + product(table[i], u)
        right = rates(s + nodes[i] * h, y1) + h * slopes[i + 1] * slope
        right = right + product(coupling[i], u) / h
        return u.at[i + 1].set(jax.scipy.linalg.lu_solve(factors, right)), y1

    u0 = jax.scipy.linalg.lu_solve(factors, f + h * slopes[0] * slope)
    u, y1 = lax.fori_loop(0, 5, stage, (jnp.zeros((6, *y.shape), y.dtype).at[0].set(u0), y))
    y1 = y1 + u[5]
    return y1, rates(s + h, y1), u[5], product(array(DENSE, 6), u)


def rodas4_interpolate(theta, y, y1, h, dense):
    """The state at the fraction `theta` of a step."""
    rest = 1 - theta
    return y * rest + theta * (y1 + rest * (dense[0] + theta * dense[1]))


METHOD = (rodas4_step, rodas4_interpolate, 4)
