"""Solves in Fourier's coefficients, seen on the nodes: what is saved, and the error of steps."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator
from typing import Any

import diffrax as dfx
import equinox as eqx
from jaxtyping import Array

from .stepping._waves import Waves


class OnNodes(dfx.AbstractAdaptiveStepSizeController):
    """A controller that adapts steps to errors, and sees the state, and its error, on the nodes."""

    controller: dfx.AbstractAdaptiveStepSizeController
    waves: Waves

    @property
    def rtol(self) -> Any:  # type: ignore[override]
        return self.controller.rtol

    @property
    def atol(self) -> Any:  # type: ignore[override]
        return self.controller.atol

    @property
    def norm(self) -> Any:  # type: ignore[override]
        return self.controller.norm

    def wrap(self, direction: Any) -> Any:
        return eqx.tree_at(lambda c: c.controller, self, self.controller.wrap(direction))

    def init(
        self, terms: Any, t0: Any, t1: Any, y0: Any, dt0: Any, args: Any, func: Any,
        error_order: Any,
    ) -> Any:  # fmt: skip
        def rates(terms: Any, t: Any, y: Array, args: Any) -> Array:
            return self.waves.backward(func(terms, t, self.waves.forward(y), args))

        y0 = self.waves.backward(y0)
        return self.controller.init(terms, t0, t1, y0, dt0, args, rates, error_order)

    def adapt_step_size(
        self, t0: Any, t1: Any, y0: Any, y1_candidate: Any, args: Any, y_error: Any,
        error_order: Any, controller_state: Any,
    ) -> Any:  # fmt: skip
        seen = [self.waves.backward(y) for y in (y0, y1_candidate, y_error)]
        before, behind, error = seen
        return self.controller.adapt_step_size(
            t0, t1, before, behind, args, error, error_order, controller_state
        )


class OutputOnNodes(eqx.Module):
    """Dense output of Fourier's coefficients, evaluated on the nodes."""

    output: Any
    waves: Waves

    @property
    def t0(self) -> Any:
        """Where it starts."""
        return self.output.t0

    @property
    def t1(self) -> Any:
        """Where it ends."""
        return self.output.t1

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> Array:
        """The state at a time, or how it differs between two."""
        return self.waves.backward(self.output.evaluate(t0, t1, left))


@contextlib.contextmanager
def quiet_about_complex() -> Iterator[None]:
    """Without Diffrax's warning of complex states: ours are compared with known answers."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Complex dtype support in Diffrax")
        yield


def on_nodes(controller: Any, what: dfx.SubSaveAt, waves: Waves) -> tuple[Any, dfx.SubSaveAt]:
    """The step size controller and what is saved, of a solve in coefficients."""
    if isinstance(controller, dfx.AbstractAdaptiveStepSizeController):
        controller = OnNodes(controller, waves)  # type: ignore[call-arg]
    return controller, dataclasses.replace(what, fn=lambda t, y, args: waves.backward(y))
