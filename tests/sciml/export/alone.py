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

    def total(p):
        return jnp.sum(jnp.sin(model.vector_field(case["t"], y, p)))

    found = {
        "vector_field": model.vector_field(case["t"], y, p),
        "observed": model.observed(case["t"], y, p),
        "initial_state": model.initial_state(p),
        "gradient": jax.grad(total)(p),
        "solution": model.solve(ts[0], ts[-1], y, p, ts, 1e-9, 1e-9),
    }
    if case["sensitivities"]:

        def ends(p, y):
            return jnp.sum(model.solve(ts[0], ts[-1], y, p, ts, 1e-9, 1e-9)["ys"][-1])

        found["sensitivities"] = jax.jit(jax.grad(ends, (0, 1)))(p, y)
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
