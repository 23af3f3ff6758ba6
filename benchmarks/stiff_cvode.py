"""CVODE as a C program would use it: SUNDIALS called without Python in between.

scikit-sundae calls a Python function for each right-hand side and Jacobian, also where numba has
compiled it: it wraps every vector in a fresh numpy array, and copies a dense or banded Jacobian out
of an ``n x n`` one. So its wheel serves as a build of SUNDIALS alone: its shared libraries are
called by ctypes, a dozen calls to set up and one to solve, and call back into machine code, numba's
`cfunc`, which reads and writes SUNDIALS's own memory.
"""

from __future__ import annotations

import ctypes
import dataclasses
from ctypes import POINTER, byref, c_double, c_int, c_long, c_void_p
from pathlib import Path
from typing import Any

import numba
import numpy as np
import sksundae
from numba import types
from stiff_rates import Task

_FOLDER = Path(sksundae.__file__).parent.parent / "scikit_sundae.libs"
_BDF, _NORMAL, _CSC, _NO_PRECONDITIONER = 2, 1, 0, 0
_MINIMUM_DEGREE = 2  # of A' + A; faster than COLAMD, its default, where the pattern is symmetric
_KRYLOV = 20  # vectors kept by GMRES before it restarts; by default 5, which takes more steps


def _library(name: str) -> ctypes.CDLL:
    (path,) = _FOLDER.glob(f"{name}-*.so.*")
    return ctypes.CDLL(str(path))


def _function(library: str, name: str, result: Any, *arguments: Any) -> Any:
    function = _library(library if library == "libgomp" else f"libsundials_{library}")[name]
    function.restype, function.argtypes = result, arguments
    return function


_p, _i, _d = c_void_p, c_int, c_double
_context = _function("core", "SUNContext_Create", _i, _i, POINTER(_p))
_quiet = _function("core", "SUNContext_ClearErrHandlers", _i, _p)
_vector = _function("nvecserial", "N_VNew_Serial", _p, _i, _p)
_values = _function("core", "N_VGetArrayPointer", _p, _p)
_dense_matrix = _function("sunmatrixdense", "SUNDenseMatrix", _p, _i, _i, _p)
_band_matrix = _function("sunmatrixband", "SUNBandMatrix", _p, _i, _i, _i, _p)
_sparse_matrix = _function("sunmatrixsparse", "SUNSparseMatrix", _p, _i, _i, _i, _i, _p)
_dense_data = _function("sunmatrixdense", "SUNDenseMatrix_Data", _p, _p)
_band_data = _function("sunmatrixband", "SUNBandMatrix_Data", _p, _p)
_band_stored = _function("sunmatrixband", "SUNBandMatrix_StoredUpperBandwidth", _i, _p)
_sparse_data = _function("sunmatrixsparse", "SUNSparseMatrix_Data", _p, _p)
_sparse_rows = _function("sunmatrixsparse", "SUNSparseMatrix_IndexValues", _p, _p)
_sparse_starts = _function("sunmatrixsparse", "SUNSparseMatrix_IndexPointers", _p, _p)
_dense_solver = _function("sunlinsoldense", "SUNLinSol_Dense", _p, _p, _p, _p)
_band_solver = _function("sunlinsolband", "SUNLinSol_Band", _p, _p, _p, _p)
_superlu = _function("sunlinsolsuperlumt", "SUNLinSol_SuperLUMT", _p, _p, _p, _i, _p)
_ordering = _function("sunlinsolsuperlumt", "SUNLinSol_SuperLUMTSetOrdering", _i, _p, _i)
_gmres = _function("sunlinsolspgmr", "SUNLinSol_SPGMR", _p, _p, _i, _i, _p)
_bicgstab = _function("sunlinsolspbcgs", "SUNLinSol_SPBCGS", _p, _p, _i, _i, _p)
_threads = _function("libgomp", "omp_set_num_threads", None, _i)
_free_solver = _function("core", "SUNLinSolFree", _i, _p)
_free_matrix = _function("core", "SUNMatDestroy", None, _p)
_free_vector = _function("core", "N_VDestroy", None, _p)
_free_context = _function("core", "SUNContext_Free", _i, POINTER(_p))
_create = _function("cvode", "CVodeCreate", _p, _i, _p)
_init = _function("cvode", "CVodeInit", _i, _p, _p, _d, _p)
_again = _function("cvode", "CVodeReInit", _i, _p, _d, _p)
_tolerances = _function("cvode", "CVodeSStolerances", _i, _p, _d, _d)
_user_data = _function("cvode", "CVodeSetUserData", _i, _p, _p)
_most_steps = _function("cvode", "CVodeSetMaxNumSteps", _i, _p, c_long)
_stop_time = _function("cvode", "CVodeSetStopTime", _i, _p, _d)
_linear = _function("cvode", "CVodeSetLinearSolver", _i, _p, _p, _p)
_jacobian = _function("cvode", "CVodeSetJacFn", _i, _p, _p)
_solve = _function("cvode", "CVode", _i, _p, _d, _p, POINTER(_d), _i)
_free = _function("cvode", "CVodeFree", None, POINTER(_p))
_count = {
    "steps": _function("cvode", "CVodeGetNumSteps", _i, _p, POINTER(c_long)),
    "rhs": _function("cvode", "CVodeGetNumRhsEvals", _i, _p, POINTER(c_long)),
    "differences": _function("cvode", "CVodeGetNumLinRhsEvals", _i, _p, POINTER(c_long)),
}

_v = types.voidptr
_RATES = types.int32(types.double, _v, _v, _v)
_JACOBIAN = types.int32(types.double, _v, _v, _v, _v, _v, _v, _v)


@numba.extending.intrinsic
def _pointer(context: Any, address: Any) -> Any:
    """The address that a ctypes function returned, as a pointer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.uint64), generate


@numba.njit
def _doubles(address, length):
    return numba.carray(_pointer(address), length, np.float64)


@numba.njit
def _integers(address, length):
    return numba.carray(_pointer(address), length, np.int32)


def rates_callback(task: Task) -> Any:
    """The right-hand side as SUNDIALS wants it."""
    rates, size = task.rates, task.size

    def callback(t, y, out, data):
        rates(t, _doubles(_values(y), size), _doubles(_values(out), size))
        return 0

    return numba.cfunc(_RATES, error_model="numpy")(callback)


def jacobian_callback(task: Task, linear: str, stored: int) -> Any:
    """The Jacobian, written into SUNDIALS's matrix; the user's data are the places, and for a
    sparse matrix the pattern after them, which SUNDIALS has cleared."""
    jacobian, size, entries = task.jacobian, task.size, len(task.indices)
    if linear == "sparse":

        def callback(t, y, f, matrix, data, t1, t2, t3):
            numbers = numba.carray(data, 2 * entries + size + 1, np.int32)
            _integers(_sparse_rows(matrix), entries)[:] = numbers[entries : 2 * entries]
            _integers(_sparse_starts(matrix), size + 1)[:] = numbers[2 * entries :]
            out = _doubles(_sparse_data(matrix), entries)
            jacobian(t, _doubles(_values(y), size), out, numbers)
            return 0
    else:
        where = _dense_data if linear == "dense" else _band_data
        length = size * (size if linear == "dense" else stored + task.band + 1)

        def callback(t, y, f, matrix, data, t1, t2, t3):
            numbers = numba.carray(data, entries, np.int32)
            out = _doubles(where(matrix), length)
            jacobian(t, _doubles(_values(y), size), out, numbers)
            return 0

    return numba.cfunc(_JACOBIAN, error_model="numpy")(callback)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The final state, and what it took; `y` is None where the solver gave up."""

    y: np.ndarray | None
    steps: int
    rhs: int


class Cvode:
    """CVODE on one task, set up once: BDF of orders 1 to 5, as it is by default.

    `linear` is dense, band, sparse (SuperLU_MT on one thread, which is what the wheel has: no KLU),
    gmres or bicgstab (both without a preconditioner, products by differences of the right-hand
    side, which cost as much as this Jacobian's). The Jacobian is analytic otherwise.
    """

    def __init__(self, task: Task, linear: str) -> None:
        self.task, self.context = task, c_void_p()
        _context(0, byref(self.context))
        _quiet(self.context)
        self.vector = _vector(task.size, self.context)
        address = ctypes.cast(_values(self.vector), POINTER(c_double))
        self.state = np.ctypeslib.as_array(address, (task.size,))
        self.state[:] = task.start
        self.memory = c_void_p(_create(_BDF, self.context))
        self.rates = rates_callback(task)
        _check(_init(self.memory, self.rates.address, 0.0, self.vector))
        _check(_tolerances(self.memory, 1e-6, 1e-6))
        _check(_most_steps(self.memory, 10**6))
        self._attach(linear)

    def _attach(self, linear: str) -> None:
        task, vector, context = self.task, self.vector, self.context
        if linear in ("gmres", "bicgstab"):
            make = _gmres if linear == "gmres" else _bicgstab
            self.matrix = None
            self.solver = make(vector, _NO_PRECONDITIONER, _KRYLOV, context)
            _check(_linear(self.memory, self.solver, None))
            return
        size, band, stored = task.size, task.band, 0
        if linear == "dense":
            self.matrix = _dense_matrix(size, size, context)
            self.solver = _dense_solver(vector, self.matrix, context)
        elif linear == "band":
            self.matrix = _band_matrix(size, band, band, context)
            self.solver, stored = (
                _band_solver(vector, self.matrix, context), _band_stored(self.matrix),
            )  # fmt: skip
        else:
            self.matrix = _sparse_matrix(size, size, len(task.indices), _CSC, context)
            self.solver = _superlu(vector, self.matrix, 1, context)
            _threads(1)  # else one for each core, 300 times slower where another process has it
            if not band:
                _ordering(self.solver, _MINIMUM_DEGREE)
        place = task.place("sundials band" if linear == "band" else linear, stored)
        self.places = np.concatenate([place, task.indices, task.indptr]).astype(np.int32)
        self.jacobian = jacobian_callback(task, linear, stored)
        _check(_user_data(self.memory, self.places.ctypes.data))
        _check(_linear(self.memory, self.solver, self.matrix))
        _check(_jacobian(self.memory, self.jacobian.address))

    def __call__(self, rtol: float, atol: float, stops: tuple[float, ...] = ()) -> Outcome:
        """Solves from the start to the end; or to each of these times, beginning anew at it."""
        reached = c_double()
        self.state[:] = self.task.start
        for stop in stops or (self.task.end,):
            _check(_again(self.memory, reached.value, self.vector))
            _check(_tolerances(self.memory, rtol, atol))
            if stops:
                _check(_stop_time(self.memory, stop))
            flag = _solve(self.memory, stop, self.vector, byref(reached), _NORMAL)
        counts = {}
        for name, ask in _count.items():
            number = c_long()
            ask(self.memory, byref(number))
            counts[name] = number.value
        rhs = counts["rhs"] + counts["differences"]
        return Outcome(self.state.copy() if flag >= 0 else None, counts["steps"], rhs)

    def close(self) -> None:
        """Frees what SUNDIALS holds."""
        del self.state
        _free(byref(self.memory))
        _free_solver(self.solver)
        if self.matrix:
            _free_matrix(self.matrix)
        _free_vector(self.vector)
        _free_context(byref(self.context))


def _check(flag: int) -> None:
    if flag < 0:
        raise RuntimeError(f"SUNDIALS says {flag}")
