"""A model as one Python file that imports nothing but jax."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from sciml.dsl import Model
from sciml.dsl._show import number, table_text
from sciml.dsl.codegen.program import Function

from . import _integrate, _rodas4, _template, _tsit5
from ._describe import description, version
from ._networks import NetworkCode, helper_code, network_code
from ._observed import Quantity, quantities
from ._text import entry, paragraph, wrapped

METHODS: Mapping[str, ModuleType] = {"tsit5": _tsit5, "rodas4": _rodas4}
PUBLIC = ("vector_field", "observed", "initial_state", "unpack", "solve")
_SLOPES = "derivative|tangent|cotangent"  # of networks
_SHOWN = 200  # equations and symbols listed in the docstring


def python_source(
    model: Model,
    name: str,
    *,
    method: str,
    max_steps: int,
    terms: bool = True,
    observed: Sequence[Quantity] | None = None,
) -> str:
    """The text of the Python file called `name`; `observed` are its quantities, if not the model's.

    Without `terms`, the neural and forcing terms are left out: ``NETWORKS`` is to be filled in.

    Raises `ExportError` for a term that cannot be written.
    """
    observed = quantities(model) if observed is None else observed
    about = description(model, observed)
    functions = _functions(model, observed)
    tables: list[np.ndarray] = []
    code = [_renumbered(function, tables) for function in functions]
    networks: dict[str, NetworkCode] = {}
    if terms:
        networks = network_code(model, functions, lambda array: _stored(tables, array))
    code += [network.source for network in networks.values()]
    helpers = helper_code("\n".join(code), model.dtype, lambda array: _stored(tables, array))
    code += [helpers] if helpers else []
    text = "\n".join(code)
    data = _data(tables, networks)
    used = [name for name in ("linalg", "special") if re.search(rf"(?<![\w.]){name}\.", text)]
    extra = f"from jax.scipy import {', '.join(used)}\n" if used else ""
    parts = [
        f'"""{_docstring(about, name)}"""\n',
        f"import jax\nimport jax.numpy as jnp\nfrom jax import lax\n{extra}",
        _settings(about, max_steps),
        _copied(_template, "copied"),
        *(_wrapped(source) for source in code),
        _copied(_template, "call") if re.search(rf"\b(call|call_each|{_SLOPES})\(", text) else "",
        _copied(_template, "derivative") if re.search(rf"\b({_SLOPES})\(", text) else "",
        _copied(_integrate, "copied"),
        _copied(METHODS[method], "copied"),
        _copied(_template, "packed") if "packed(" in data else "",
        data,
    ]
    return _joined(parts)


def _functions(model: Model, quantities: Sequence[Quantity]) -> list[Function]:
    """The generated functions: rates, observed quantities, initial values."""
    program = model.program
    observed = [quantity.array for quantity in quantities]
    given = program.initial_expressions
    computed = [given[s.name] for s in program.states if s.name in given]
    return [
        program.function("rates", "Rates of the state.", program.rates, state=True),
        program.function("observables", "Observed quantities.", observed, state=False),
        program.function("initials", "Initial values of parameters.", computed, state=False),
    ]


def _renumbered(function: Function, tables: list[np.ndarray]) -> str:
    """Source in which tables are numbered as in the file, and those of indices are arrays."""
    places = [_stored(tables, table) for table in function.tables]

    def replaced(found: re.Match) -> str:
        place = places[int(found[2])]
        if found[1]:
            return f"{found[1]}tables[{place}]"
        return f'jnp.asarray(tables[{place}], "{tables[place].dtype}")'

    return re.sub(r"(jnp\.asarray\()?\btables\[(\d+)\]", replaced, function.source)


def _stored(tables: list[np.ndarray], array: np.ndarray) -> int:
    """The place of an array in `tables`."""
    array = np.asarray(array)
    for place, table in enumerate(tables):
        if table.dtype == array.dtype and np.array_equal(table, array):
            return place
    tables.append(array)
    return len(tables) - 1


# -- text ------------------------------------------------------------------------------------------


def _settings(about: dict[str, Any], max_steps: int) -> str:
    """Names, shapes and defaults."""
    states = {s["name"]: f"({s['first']}, {tuple(s['shape'])})" for s in about["states"]}
    shapes = {p["name"]: str(tuple(p["shape"])) for p in about["parameters"]}
    computed = tuple(s["name"] for s in about["states"] if s["computed"])
    initial = {s["name"]: None if s["computed"] else s["initial"] for s in about["states"]}
    grid = ["# The nodes of each coordinate.", _defaults("GRID", about["grid"])]
    names = sorted([*PUBLIC, "GRID"]) if about["grid"] else sorted(PUBLIC)
    public = ", ".join(f'"{name}"' for name in names)
    lines = [
        f"__all__ = [{public}]",
        "",
        "# Each unknown: where it begins in the state vector, and its shape.",
        _mapping("STATES", states),
        "# Values at the start; None where there is none, or where it is computed.",
        _defaults("INITIAL", initial),
        wrapped(f"COMPUTED = {_names(computed)}"),
        "# Defaults of the parameters; None where there is none.",
        _defaults("PARAMETERS", {p["name"]: p["default"] for p in about["parameters"]}),
        _mapping("SHAPES", shapes),
        wrapped(f"OBSERVED = {_names([o['name'] for o in about['observed']])}"),
        *(grid if about["grid"] else ()),
        f"MAX_STEPS = {max_steps}",
    ]
    return "\n".join(lines)


def _names(names: Sequence[str]) -> str:
    return f"({', '.join(repr_text(n) for n in names)}{',' * (len(names) == 1)})"


def repr_text(text: str) -> str:
    """A string in double quotes."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _mapping(name: str, items: Mapping[str, str], indent: str = "") -> str:
    if not items:
        return f"{indent}{name} = {{}}"
    lines = [f"{indent}    {repr_text(key)}: {text}," for key, text in items.items()]
    return "\n".join([f"{indent}{name} = {{", *lines, f"{indent}}}"])


def _defaults(name: str, items: Mapping[str, Any]) -> str:
    if not items:
        return f"{name} = {{}}"
    lines = []
    for key, value in items.items():
        prefix = f"    {repr_text(key)}: "
        lines.append(f"{prefix}None," if value is None else entry(prefix, value))
    return "\n".join([f"{name} = {{", *lines, "}"])


def _data(tables: list[np.ndarray], networks: Mapping[str, NetworkCode]) -> str:
    """The tables, the networks and their weights."""
    lines = ["tables = (", *(entry("    ", table) for table in tables), ")"]
    lines = lines if tables else ["tables = ()"]
    lines.append(_mapping("NETWORKS", {name: f"network_{name}" for name in networks}))
    if not networks:
        return "\n".join([*lines, "WEIGHTS = {}"])
    lines.append("WEIGHTS = {")
    for name, network in networks.items():
        if not network.weights:
            lines.append(f'    "{name}": {{}},')
            continue
        lines.append(f'    "{name}": {{')
        lines += [entry(f'        "{key}": ', value) for key, value in network.weights.items()]
        lines.append("    },")
    return "\n".join([*lines, "}"])


def _wrapped(source: str) -> str:
    return "\n".join(wrapped(line) for line in source.split("\n"))


def _copied(module: ModuleType, section: str) -> str:
    """A section of a template: from its marker to the next."""
    parts = re.split(r"^# == (\w+) ==$", inspect.getsource(module), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[section]


def _joined(parts: Sequence[str]) -> str:
    """Parts with two empty lines between them, as between functions."""
    head, imports, *rest = [part.strip("\n") for part in parts if part.strip()]
    return "\n\n".join([head, imports]) + "\n\n" + "\n\n\n".join(rest) + "\n"


def _docstring(about: dict[str, Any], name: str) -> str:
    title = about["name"] or name
    count = f"{about['size']} unknowns with {len(about['parameters'])} parameters"
    observed = [f"{o['name']} := {o['expression']}" for o in about["observed"]]
    equations = [*about["equations"], *about["conditions"], *observed]
    lines = [f"{title}: a differential equation in {count}.", "", "Equations"]
    lines += ["    " + equation for equation in equations[:_SHOWN]]
    lines += [f"    ... and {len(equations) - _SHOWN} more"] if len(equations) > _SHOWN else []
    rows = _rows(about)
    table = table_text(("symbol", "kind", "default", "unit", "description"), rows[:_SHOWN])
    lines += ["", "Symbols", *("    " + line for line in table.split("\n"))]
    lines += [f"    ... and {len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else []
    first = about["states"][0]["name"]
    lines += [
        "",
        "Use",
        f"    import {name}",
        f"    solution = {name}.solve(0.0, 1.0)",
        '    assert solution["success"], solution["status"]',
        f'    {name}.unpack(solution["ys"])["{first}"]',
        "",
        "It needs jax and nothing else, and computes in the floating-point type of the state; for",
        'double precision, first jax.config.update("jax_enable_x64", True).',
        f"Written by sciml {version()}.",
    ]
    return "\n".join(paragraph(line) for line in lines) + "\n"


def _rows(about: dict[str, Any]) -> list[list[str]]:
    rows = []
    for kind, items, field in (
        ("unknown", about["states"], "initial"),
        ("parameter", about["parameters"], "default"),
    ):
        for item in items:
            value = item[field]
            shown = "required" if value is None else value
            shown = shown if isinstance(shown, str) else number(np.asarray(shown))
            rows.append([item["name"], kind, shown, item["unit"] or "", item["description"]])
    for item in about["networks"]:
        rows.append([item["name"], "network", f"{item['weights']} weights", "", item["kind"]])
    return rows
