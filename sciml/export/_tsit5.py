"""Template: one step of Tsitouras' explicit Runge-Kutta pair of orders 5(4).

Ch. Tsitouras, "Runge-Kutta pairs of order 5(4) satisfying only the first column simplifying
assumption", Computers & Mathematics with Applications 62 (2011) 770-775: the table of coefficients,
and the interpolant of order 4.
"""

import jax.numpy as jnp
from jax import lax

from ._integrate import product

# == copied ==


# Runge-Kutta 5(4) of Ch. Tsitouras, Comput. Math. Appl. 62 (2011) 770-775: nodes, stages, error
# weights, and the polynomials of the dense output (coefficients of theta, theta^2, ...).
NODES = (0.161, 0.327, 0.9, 0.9800255409045097, 1.0, 1.0)
STAGES = (
    (0.161,),
    (-0.008480655492356989, 0.335480655492357),
    (2.8971530571054935, -6.359448489975075, 4.3622954328695815),
    (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
    (
        5.86145544294642,
        -12.92096931784711,
        8.159367898576159,
        -0.071584973281401,
        -0.028269050394068383,
    ),
    (
        0.09646076681806523,
        0.01,
        0.4798896504144996,
        1.379008574103742,
        -3.290069515436081,
        2.324710524099774,
    ),
)
ERROR = (
    0.00178001105222577714,
    0.0008164344596567469,
    -0.007880878010261995,
    0.1447110071732629,
    -0.5823571654525552,
    0.45808210592918697,
    -0.015151515151515152,
)


def tsit5_step(rates, s, y, f, h):
    """The new state, its rate, the error, and the stages; `f` is the rate at the start."""
    table = jnp.asarray([(*row, *[0.0] * (7 - len(row))) for row in STAGES], y.dtype)
    nodes = jnp.asarray(NODES, y.dtype)

    def stage(i, known):  # in a loop, so that the rates are compiled once
        k, _ = known
        y1 = y + h * product(table[i], k)
        return k.at[i + 1].set(rates(s + nodes[i] * h, y1)), y1

    first = jnp.zeros((7, *y.shape), y.dtype).at[0].set(f)
    k, y1 = lax.fori_loop(0, 6, stage, (first, y))
    return y1, k[6], h * product(jnp.asarray(ERROR, y.dtype), k), k


def tsit5_interpolate(theta, y, y1, h, k):
    """The state at the fraction `theta` of a step."""
    square = theta * theta
    weights = jnp.stack(
        [
            -1.0530884977290216
            * theta
            * (theta - 1.3299890189751412)
            * (square - 1.4364028541716351 * theta + 0.7139816917074209),
            0.1017 * square * (square - 2.1966568338249754 * theta + 1.2949852507374631),
            2.490627285651253 * square * (square - 2.3853564547206166 * theta + 1.5780346820809249),
            -16.54810288924490 * square * (theta - 1.2171292729553324) * (theta - 0.616204060378),
            47.37952196281928
            * square
            * (theta - 1.2030712083723626)
            * (theta - 0.6580472926535474),
            -34.87065786149661 * square * (theta - 1.2) * (theta - 0.6666666666666667),
            2.5 * square * (theta - 1) * (theta - 0.6),
        ]
    )
    return y + h * product(weights, k)


METHOD = (tsit5_step, tsit5_interpolate, 5)
