"""Time of ``import sciml`` over that of importing what it stands on."""

from __future__ import annotations

import subprocess
import sys

from .timing import Row, pairs, ratio

DEPENDENCIES = (
    "import jax, jax.numpy, jax.scipy.special, equinox, diffrax, optimistix, lineax, sympy, "
    "sympy.physics.mechanics, optax, tqdm, scipy.sparse.csgraph, scipy.interpolate"
)


def run() -> list[Row]:
    """The row of this figure."""

    def start(code: str) -> None:
        subprocess.run([sys.executable, "-c", code], check=True)

    times = pairs(lambda: start("import sciml"), lambda: start(DEPENDENCIES), count=7)
    return [Row("import sciml over importing its dependencies", "<= 1.2", ratio(times))]
