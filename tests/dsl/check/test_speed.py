"""Checks cost little beside the one walk over the expressions."""

import subprocess
import sys

import pytest
import sympy

import sciml as sm
from sciml import D
from sciml.dsl.check.match import match

# A fresh interpreter: here the checker of types wraps every function, and multiplies its time.
PROGRAM = """
import time, sympy, sciml as sm
n = 5000
x = sm.unknowns([f"x{i}" for i in range(n)])
k = sm.parameters([f"k{i}" for i in range(n)], value=1.0)
products = lambda i: [(j + 2) * x[(7 * i + j) % n] * x[(3 * i + 2 * j + 1) % n] for j in range(4)]
equations = [sm.Eq(sm.D(x[i]), sympy.Add(*products(i)) - k[i] * x[i]) for i in range(n)]
system = sm.System(*equations, initial=dict.fromkeys(x, 1.0), values=dict.fromkeys(k, 2.0))
system.survey
start = time.process_time()
sm.check(system)
print(time.process_time() - start)
"""


def chain(n):
    """n equations, each for one unknown with a parameter of its own."""
    x, k = sm.unknowns([f"x{i}" for i in range(n)]), sm.parameters([f"k{i}" for i in range(n)])
    equations = [sm.Eq(D(x[i]), -k[i] * x[i] * x[i - 1]) for i in range(n)]
    return sm.System(*equations, initial=dict.fromkeys(x, 1.0), values=dict.fromkeys(k, 2.0))


@pytest.mark.slow
def test_five_thousand_equations_are_checked_within_a_second():
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < 1.0


def test_a_sound_system_is_checked_without_another_look_at_its_expressions(monkeypatch):
    system = chain(20)
    system.survey

    def refused(self, *arguments):
        raise AssertionError("the checks walk over an expression")

    for name in ("has", "atoms", "xreplace", "subs"):
        monkeypatch.setattr(sympy.Basic, name, refused)
    monkeypatch.setattr(sympy.Basic, "free_symbols", property(refused))
    assert sm.check(system) is system


def test_every_equation_is_matched_to_its_own_rate():
    system = chain(200)
    matched = match(system)
    assert not matched.missing
    assert not matched.twice
    assert [matched.owner[e.lhs] for e in system.equations] == list(range(200))
