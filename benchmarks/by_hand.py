"""The vector fields of three problems, as a good user of Diffrax would write them by hand."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np


def lotka_volterra(t, y, args):
    a, b, c = args
    prey, predator = y
    return jnp.stack([a * prey - b * prey * predator, -c * predator + prey * predator])


MASSES = np.arange(1.0, 8.0)


def pleiades(t, y, args):
    """Positions x, y and velocities of seven bodies, in arrays of seven."""
    x, z, vx, vz = jnp.reshape(y, (4, 7))
    dx, dz = x[None, :] - x[:, None], z[None, :] - z[:, None]
    cube = (dx**2 + dz**2 + jnp.eye(7)) ** 1.5
    return jnp.concatenate([vx, vz, (dx / cube) @ MASSES, (dz / cube) @ MASSES])


def pleiades_scalar(t, y, args):
    """The same body by body, the distance of each pair computed once."""
    x, z, vx, vz = y[0:7], y[7:14], y[14:21], y[21:28]
    x, z = [x[i] for i in range(7)], [z[i] for i in range(7)]
    ax, az = [[] for _ in range(7)], [[] for _ in range(7)]
    for i in range(7):
        for j in range(i + 1, 7):
            dx, dz = x[j] - x[i], z[j] - z[i]
            square = dx**2 + dz**2
            cube = square * jnp.sqrt(square)
            ax[i].append(MASSES[j] * dx / cube)
            ax[j].append(-MASSES[i] * dx / cube)
            az[i].append(MASSES[j] * dz / cube)
            az[j].append(-MASSES[i] * dz / cube)
    forces = jnp.stack([sum(terms) for terms in (*ax, *az)])
    return jnp.concatenate([vx, vz, forces])


POLLU_RATES = (
    0.35, 26.6, 1.23e4, 8.6e-4, 8.2e-4, 1.5e4, 1.3e-4, 2.4e4, 1.65e4, 9e3, 0.022, 1.2e4, 1.88,
    1.63e4, 4.8e6, 3.5e-4, 0.0175, 1e8, 4.44e11, 1240, 2.1, 5.78, 0.0474, 1780, 3.12,
)  # fmt: skip


def pollu(t, y, args):
    """Air pollution, 20 species and 25 reactions."""
    k = POLLU_RATES
    (y1, y2, y3, y4, y5, y6, y7, _, y9, y10, y11, _, y13, y14, _, y16, y17, _, y19, y20) = y
    r1, r2, r3, r4, r5 = k[0] * y1, k[1] * y2 * y4, k[2] * y5 * y2, k[3] * y7, k[4] * y7
    r6, r7, r8, r9 = k[5] * y7 * y6, k[6] * y9, k[7] * y9 * y6, k[8] * y11 * y2
    r10, r11, r12, r13 = k[9] * y11 * y1, k[10] * y13, k[11] * y10 * y2, k[12] * y14
    r14, r15, r16, r17 = k[13] * y1 * y6, k[14] * y3, k[15] * y4, k[16] * y4
    r18, r19, r20, r21 = k[17] * y16, k[18] * y16, k[19] * y17 * y6, k[20] * y19
    r22, r23, r24, r25 = k[21] * y19, k[22] * y1 * y4, k[23] * y19 * y1, k[24] * y20
    return jnp.stack(
        [
            -r1 - r10 - r14 - r23 - r24 + r2 + r3 + r9 + r11 + r12 + r22 + r25,
            -r2 - r3 - r9 - r12 + r1 + r21,
            -r15 + r1 + r17 + r19 + r22,
            -r2 - r16 - r17 - r23 + r15,
            -r3 + 2 * r4 + r6 + r7 + r13 + r20,
            -r6 - r8 - r14 - r20 + r3 + 2 * r18,
            -r4 - r5 - r6 + r13,
            r4 + r5 + r6 + r7,
            -r7 - r8,
            -r12 + r7 + r9,
            -r9 - r10 + r8 + r11,
            r9,
            -r11 + r10,
            -r13 + r12,
            r14,
            -r18 - r19 + r16,
            -r20,
            r20,
            -r21 - r22 - r24 + r23 + r25,
            -r25 + r24,
        ]
    )
