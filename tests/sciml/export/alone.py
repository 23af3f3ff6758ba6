"""Runs exported models where only jax is installed, and prints what they give as JSON.

Usage: python -S -P alone.py FOLDER, with models.json in it; PYTHONPATH holds jax.
"""

import importlib
import json
import sys
import zipfile
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp

ABSENT = (
    "sympy",
    "equinox",
    "diffrax",
    "lineax",
    "optimistix",
    "jaxtyping",
    "sciml",
    "flatbuffers",
)


def is_absent(name):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        return True
    return False


found = [name for name in ABSENT if not is_absent(name)]
assert not found, f"this is not a bare environment: {found}"

jax.config.update("jax_enable_x64", True)
folder = Path(sys.argv[1])
sys.path.insert(0, str(folder))


class Python:
    """The functions of the Python file."""

    def __init__(self, name):
        module = importlib.import_module(name)
        self.vector_field, self.observed = module.vector_field, module.observed
        self.initial_state = module.initial_state
        self.solve = module.solve


class StableHLO:
    """The functions of the archive, loaded as its README says."""

    def __init__(self, name):
        path = str(folder / f"{name}.sciml")
        sys.path.append(path)
        archive = zipfile.ZipFile(path)
        self.about = json.loads(archive.read("metadata.json"))

        def load(name):
            data = bytearray(archive.read(f"{name}.stablehlo"))
            return jax.export.deserialize(data).call

        self.vector_field, self.solve = load("vector_field"), load("solve")
        self.initial_state = load("initial_state")
        self.observed = load("observed") if self.about["observed"] else lambda t, y, p: {}


def listed(tree):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf).tolist(), tree)


def results(model, case):
    """Everything that the tests look at."""
    p = {name: jnp.asarray(value, float) for name, value in case["parameters"].items()}
    y = jnp.asarray(case["y"])
    ts = jnp.asarray(case["ts"])

    @jax.jit
    def instant(time, y, p):
        rates = model.vector_field(time, y, p)
        slope = jax.grad(lambda p: jnp.sum(jnp.sin(model.vector_field(time, y, p))))(p)
        return rates, slope, model.observed(time, y, p), model.initial_state(p)

    def solve(p, y):
        return model.solve(ts[0], ts[-1], y, p, ts, 1e-9, 1e-9)

    keys = ("vector_field", "gradient", "observed", "initial_state")
    found = dict(zip(keys, instant(jnp.asarray(case["t"]), y, p), strict=True))
    if case["solve"]:
        found["solution"] = solve(p, y)
    if case["sensitivities"]:
        ends = jax.grad(lambda p, y: jnp.sum(solve(p, y)["ys"][-1]), (0, 1))
        found["sensitivities"] = jax.jit(ends)(p, y)
    return listed(found)


cases = json.loads((folder / "models.json").read_text())
print(
    json.dumps(
        {
            name: {kind.__name__: results(kind(name), case) for kind in (Python, StableHLO)}
            for name, case in cases.items()
        }
    )
)
