"""Any traceable function as Python source, by way of its jaxpr."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from sciml.dsl.codegen.text import ATOM, UNARY

from ._errors import ExportError
from ._primitives import Operand, operation, row, typed
from ._text import scalar_text, wrapped

_INLINE = 72  # characters; a value used once is written where it is used if it is no longer
_CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "checkpoint": "jaxpr",
    "remat2": "jaxpr",
}
_KNOWN = (
    "relu", "relu6", "softplus", "silu", "swish", "sigmoid", "log_sigmoid", "soft_sign", "elu",
    "selu", "celu", "gelu", "leaky_relu", "mish", "hard_tanh", "hard_sigmoid", "hard_silu",
    "squareplus", "softmax", "log_softmax", "glu",
)  # fmt: skip


class JaxprWriter:
    """Writes the equations of a jaxpr as lines of Python.

    Values of the type `dtype` get the type of the variable ``dtype`` when the code runs. `array`
    gives the text of a constant array.
    """

    def __init__(self, owner: str, dtype: Any, array: Callable[[np.ndarray], str]) -> None:
        self.owner, self.dtype, self.array = owner, np.dtype(dtype), array
        self.lines: list[str] = []
        self.indent = "    "
        self._count = 0
        self._values: dict[Any, Operand] = {}

    def body(self, jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Operand]) -> list[Operand]:
        """Writes a jaxpr; returns its results. `consts` are arrays or operands."""
        for var, value in zip(jaxpr.constvars, consts, strict=True):
            self._values[var] = value if isinstance(value, Operand) else self._constant(value)
        self._values.update(zip(jaxpr.invars, inputs, strict=True))
        uses = _uses(jaxpr)
        for var in jaxpr.invars:  # what is used twice must not be computed twice
            self._values[var] = (
                self._named(self._values[var]) if uses[var] > 1 else self._values[var]
            )
        for equation in jaxpr.eqns:
            if any(uses[var] for var in equation.outvars):
                self._equation(equation, uses)
        return [self._operand(var) for var in jaxpr.outvars]

    def dtype_text(self, dtype: Any) -> str:
        """Text of a type."""
        dtype = np.dtype(dtype)
        if dtype == self.dtype:
            return "dtype"
        return {"int64": "int", "bool": "bool"}.get(dtype.name, f'"{dtype.name}"')

    # -- values --------------------------------------------------------------------------------

    def _operand(self, var: Any) -> Operand:
        return self._constant(var.val) if isinstance(var, Literal) else self._values[var]

    def _constant(self, value: Any) -> Operand:
        if jnp.issubdtype(jnp.result_type(value), jax.dtypes.extended):
            raise self._cannot(f"an array of type {value.dtype}")
        array = np.asarray(value)
        if array.ndim == 0 and array.dtype.kind in "biuf":
            text = scalar_text(array[()])
            return Operand(text, UNARY if text[0] == "-" else ATOM, (), array.dtype, literal=True)
        return Operand(self.array(array), ATOM, array.shape, array.dtype)

    def _named(self, operand: Operand) -> Operand:
        if operand.literal or operand.text.isidentifier():
            return operand
        return Operand(self._assign(operand.text), ATOM, operand.shape, operand.dtype)

    def _assign(self, text: str) -> str:
        name = self._fresh("v")
        self._line(f"{name} = {text}")
        return name

    def _fresh(self, stem: str) -> str:
        self._count += 1
        return f"{stem}{self._count}"

    def _line(self, text: str) -> None:
        self.lines += wrapped(self.indent + text).split("\n")

    def _cannot(self, what: str) -> ExportError:
        return ExportError(
            f"{self.owner} uses {what}, which cannot be written as Python that imports jax alone; "
            'export the model with kind="stablehlo", or write that term with other functions'
        )

    # -- equations -----------------------------------------------------------------------------

    def _equation(self, equation: Any, uses: Counter) -> None:
        name, params = equation.primitive.name, equation.params
        operands = [self._operand(var) for var in equation.invars]
        known = _known_function(equation)
        if known is not None:
            given = [o.text for o in operands if not o.literal]
            results = [(f"jax.nn.{known}({', '.join(given)})", ATOM)]
        elif name in _CALLS:
            inner = params[_CALLS[name]]
            jaxpr, consts = getattr(inner, "jaxpr", inner), getattr(inner, "consts", ())
            for var, found in zip(
                equation.outvars, self.body(jaxpr, consts, operands), strict=True
            ):
                self._values[var] = self._named(found) if uses[var] > 1 else found
            return
        elif name in _CONTROL:
            texts = _CONTROL[name](self, params, operands)
            results = [(text, ATOM) for text in texts]
        elif name in ("sort", "split"):
            results = [(text, ATOM) for text in self._several(name, params, operands)]
        else:
            if name in ("lt_to", "le_to"):  # their text names each operand twice
                operands = [self._named(o) for o in operands]
            result = operation(name, params, operands, self.dtype_text)
            if result is None:
                raise self._cannot(f"the operation {name!r}")
            results = [result]
        for var, (text, level) in zip(equation.outvars, results, strict=True):
            shape, dtype = var.aval.shape, var.aval.dtype
            value = Operand(text, level, shape, dtype)
            if uses[var] and (uses[var] > 1 or len(text) > _INLINE):
                value = self._named(value)
            self._values[var] = value

    def _several(self, name: str, params: dict, operands: list[Operand]) -> list[str]:
        """Operations with several results."""
        texts = [typed(o, self.dtype_text) for o in operands]
        if name == "split":
            sizes = tuple(int(size) for size in params["sizes"])
            found = self._assign(f"lax.split({texts[0]}, {sizes}, {int(params['axis'])})")
            return [f"{found}[{i}]" for i in range(len(sizes))]
        axis, keys = int(params["dimension"]), int(params["num_keys"])
        found = self._assign(f"lax.sort(({', '.join(texts)},), dimension={axis}, num_keys={keys})")
        return [f"{found}[{i}]" for i in range(len(texts))]

    def _function(
        self, closed: Any, arguments: str, inputs: Sequence[Operand], split: int | None = None
    ) -> str:
        """Writes a nested function ``name(arguments)``; returns its name.

        It returns its results in one tuple, or in two, of which the first holds `split` of them.
        """
        name = self._fresh("inner")
        self._line(f"def {name}({arguments}):")
        outer, self.indent = self.indent, self.indent + "    "
        results = self.body(closed.jaxpr, closed.consts, inputs)
        texts = [typed(result, self.dtype_text) for result in results]
        whole = row(texts) if split is None else f"{row(texts[:split])}, {row(texts[split:])}"
        self._line(f"return {whole}")
        self.indent = outer
        return name

    def _scan(self, p: dict, operands: list[Operand]) -> list[str]:
        closed, consts, carried = p["jaxpr"], p["num_consts"], p["num_carry"]
        fixed = [self._named(o) for o in operands[:consts]]
        avals = [var.aval for var in closed.jaxpr.invars[consts:]]
        carry, item = self._fresh("carry"), self._fresh("item")
        inputs = [*fixed, *_items(carry, avals[:carried]), *_items(item, avals[carried:])]
        name = self._function(closed, f"{carry}, {item}", inputs, split=carried)
        given = [typed(o, self.dtype_text) for o in operands[consts:]]
        found = self._assign(
            f"lax.scan({name}, {row(given[:carried])}, {row(given[carried:])}, "
            f"length={int(p['length'])}, reverse={bool(p['reverse'])})"
        )
        stacked = len(closed.jaxpr.outvars) - carried
        return [f"{found}[0][{i}]" for i in range(carried)] + [
            f"{found}[1][{i}]" for i in range(stacked)
        ]

    def _while(self, p: dict, operands: list[Operand]) -> list[str]:
        n_test, n_body = p["cond_nconsts"], p["body_nconsts"]
        fixed = [self._named(o) for o in operands[: n_test + n_body]]
        avals = [var.aval for var in p["body_jaxpr"].jaxpr.invars[n_body:]]
        carry = self._fresh("carry")
        items = _items(carry, avals)
        test = self._function(p["cond_jaxpr"], carry, [*fixed[:n_test], *items])
        body = self._function(p["body_jaxpr"], carry, [*fixed[n_test:], *items])
        given = row([typed(o, self.dtype_text) for o in operands[n_test + n_body :]])
        found = self._assign(f"lax.while_loop(lambda c: {test}(c)[0], {body}, {given})")
        return [f"{found}[{i}]" for i in range(len(avals))]

    def _cond(self, p: dict, operands: list[Operand]) -> list[str]:
        which, *given = operands
        avals = [var.aval for var in p["branches"][0].jaxpr.invars]
        item = self._fresh("item")
        names = [self._function(b, item, _items(item, avals)) for b in p["branches"]]
        texts = row([typed(o, self.dtype_text) for o in given])
        found = self._assign(f"lax.switch({which.text}, {row(names)}, {texts})")
        return [f"{found}[{i}]" for i in range(len(p["branches"][0].jaxpr.outvars))]


_CONTROL = {"scan": JaxprWriter._scan, "while": JaxprWriter._while, "cond": JaxprWriter._cond}


def _items(source: str, avals: Sequence[Any]) -> list[Operand]:
    """Operands ``source[0]``, ``source[1]``, ..."""
    return [Operand(f"{source}[{i}]", ATOM, a.shape, a.dtype) for i, a in enumerate(avals)]


def _uses(jaxpr: Any) -> Counter:
    """How often each value is used, by what is needed for the results."""
    uses: Counter = Counter(var for var in jaxpr.outvars if not isinstance(var, Literal))
    for equation in reversed(jaxpr.eqns):
        if any(uses[var] for var in equation.outvars):
            uses.update(var for var in equation.invars if not isinstance(var, Literal))
    return uses


def _known_function(equation: Any) -> str | None:
    """The function of jax.nn that a call is, if it is one: their jaxprs are compared."""
    name = equation.params.get("name")
    arrays = [var for var in equation.invars if not isinstance(var, Literal)]
    if name not in _KNOWN or len(arrays) != 1:
        return None
    aval = jax.ShapeDtypeStruct(arrays[0].aval.shape, arrays[0].aval.dtype)
    candidate = jax.make_jaxpr(getattr(jax.nn, name))(aval).jaxpr
    return name if _signature(candidate.eqns) == _signature([equation]) else None


def _signature(equations: Sequence[Any]) -> list:
    """What a list of equations computes, whatever its variables are called."""
    return [
        (
            e.primitive.name,
            [str(v) if isinstance(v, Literal) else None for v in e.invars],
            [str(e.params[key]) for key in ("jaxpr", "call_jaxpr") if key in e.params],
        )
        for e in equations
    ]
