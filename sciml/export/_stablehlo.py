"""A model as StableHLO, in one archive that jax alone can load."""

from __future__ import annotations

import contextlib
import importlib.resources
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.export
import numpy as np

from sciml.dsl import Model

from . import _integrate
from ._describe import description
from ._errors import ExportError
from ._observed import Quantity

README = """\
{title}: a model exported by sciml as StableHLO. Loading it needs jax and nothing else:

    import json, sys, zipfile
    import jax, jax.export
    {x64}sys.path.append("{name}.sciml")  # FlatBuffers, which jax.export reads; if not installed
    archive = zipfile.ZipFile("{name}.sciml")
    about = json.loads(archive.read("metadata.json"))
    load = lambda name: jax.export.deserialize(bytearray(archive.read(name + ".stablehlo"))).call

    p = {{q["name"]: jax.numpy.asarray(q["default"], about["dtype"]) for q in about["parameters"]}}
    {initial}
    ts = jax.numpy.linspace(0, 1, 11, dtype=about["dtype"])
    solution = load("solve")(ts[0], ts[-1], y0, p, ts, {rtol}, {atol})
    assert solution["success"], about["messages"][int(solution["status"])]

Every argument is an array (or Python float) of the type {dtype}.

{functions}

"ys" has the shape (time, state); metadata.json says where each unknown lies in a state. What a
solve did not reach is not a number, and "success" is then false. All functions can be used inside
jax.jit and differentiated once in reverse mode (jax.grad, jax.vjp), by parameters and initial
states too. For several states or sets of parameters use jax.lax.map: jax.vmap does not reach into
StableHLO.

The folder flatbuffers is a copy of Google's FlatBuffers runtime, under the Apache License 2.0,
whose text is flatbuffers/LICENSE.txt.
"""

_PLACES = "jax_traceback_in_locations_limit"


def archive(
    model: Model,
    namespace: dict[str, Any],
    name: str,
    *,
    method: str,
    platforms: Sequence[str],
    observed: Sequence[Quantity],
) -> bytes:
    """The bytes of the archive called `name`.

    `namespace` is that of the executed Python file, whose functions are lowered for `platforms`.

    Raises `ExportError` where jax cannot lower a function for one of them.
    """
    about = description(model, observed)
    arguments = _arguments(about)
    contents: dict[str, bytes] = {}
    for key, (function, needed) in _functions(about, namespace).items():
        given = [arguments[argument] for argument in needed]
        contents[f"{key}.stablehlo"] = _lowered(key, function, given, platforms)
    about["functions"] = {
        key: {"file": f"{key}.stablehlo", "arguments": needed, "differentiable": "reverse, once"}
        for key, (_, needed) in _functions(about, namespace).items()
    }
    about |= {"platforms": list(platforms), "method": method, "messages": _integrate.MESSAGES}
    contents["metadata.json"] = (json.dumps(about, indent=2, allow_nan=False) + "\n").encode()
    contents["README.txt"] = _readme(about, name).encode()
    return _zipped(contents | _flatbuffers())


def _arguments(about: dict[str, Any]) -> dict[str, Any]:
    """The shape and type of each argument; any number of times goes into `ts`."""
    dtype = np.dtype(about["dtype"])
    scalar = jax.ShapeDtypeStruct((), dtype)
    (times,) = jax.export.symbolic_shape("k")
    return {
        "t": scalar,
        "t0": scalar,
        "t1": scalar,
        "rtol": scalar,
        "atol": scalar,
        "y": jax.ShapeDtypeStruct((about["size"],), dtype),
        "y0": jax.ShapeDtypeStruct((about["size"],), dtype),
        "ts": jax.ShapeDtypeStruct((times,), dtype),
        "parameters": {
            p["name"]: jax.ShapeDtypeStruct(tuple(p["shape"]), dtype) for p in about["parameters"]
        },
    }


def _functions(
    about: dict[str, Any], namespace: dict[str, Any]
) -> dict[str, tuple[Callable, list[str]]]:
    """What the archive holds: each function, and the names of its arguments."""
    dtype = np.dtype(about["dtype"])
    found: dict[str, tuple[Callable, list[str]]] = {
        "vector_field": (namespace["vector_field"], ["t", "y", "parameters"]),
        "solve": (
            namespace["solve_arrays"],
            ["t0", "t1", "y0", "parameters", "ts", "rtol", "atol"],
        ),
    }
    if about["observed"]:
        found["observed"] = namespace["observed"], ["t", "y", "parameters"]
    if not any(state["required"] for state in about["states"]):
        found["initial_state"] = lambda p: namespace["initial_state"](p, dtype), ["parameters"]
    return found


def _lowered(
    name: str, function: Callable, arguments: Sequence[Any], platforms: Sequence[str]
) -> bytes:
    try:
        with _without_places():
            exported = jax.export.export(jax.jit(function), platforms=tuple(platforms))(*arguments)
            return bytes(exported.serialize(vjp_order=1))
    except (NotImplementedError, ValueError) as error:
        raise ExportError(
            f"jax cannot lower the function {name} for {', '.join(platforms)}: {error}; "
            'fewer platforms may do, as in platforms=("cpu",)'
        ) from error


@contextlib.contextmanager
def _without_places() -> Iterator[None]:
    """Keeps the names of source files on this machine out of what is lowered."""
    before = getattr(jax.config, _PLACES)
    jax.config.update(_PLACES, 0)
    try:
        yield
    finally:
        jax.config.update(_PLACES, before)


def _readme(about: dict[str, Any], name: str) -> str:
    double = about["dtype"] == "float64"
    computed = "initial_state" in about["functions"]
    functions = "\n".join(
        f"    {key}({', '.join(item['arguments'])})" for key, item in about["functions"].items()
    )
    return README.format(
        title=about["name"] or name,
        name=name,
        x64='jax.config.update("jax_enable_x64", True)\n    ' if double else "",
        initial='y0 = load("initial_state")(p)' if computed else "y0 = ...  # the state at ts[0]",
        rtol=1e-6 if double else 1e-4,
        atol=1e-9 if double else 1e-6,
        dtype=about["dtype"],
        functions=functions,
    )


def _flatbuffers() -> dict[str, bytes]:
    """The runtime that jax.export reads its files with, which jax does not depend on."""
    folder = importlib.resources.files("flatbuffers")
    licence = importlib.resources.files("sciml.export").joinpath("apache-2.0.txt")
    files = {
        f"flatbuffers/{item.name}": item.read_bytes()
        for item in folder.iterdir()
        if item.name.endswith(".py") and item.name != "flexbuffers.py"
    }
    return {**files, "flatbuffers/LICENSE.txt": licence.read_bytes()}


def _zipped(contents: dict[str, bytes]) -> bytes:
    """A zip archive; equal contents give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(contents):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            archive.writestr(info, contents[name], zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
