"""Linear algebra of matrices whose pattern is known: how they are stored, factored, solved with."""

from ._block_jacobi import BlockJacobi as BlockJacobi
from ._block_tridiagonal import BlockTridiagonal as BlockTridiagonal
from ._choose import choose_structure as choose_structure
from ._dense import Dense as Dense
from ._diagonal import Diagonal as Diagonal
from ._klu import KLU as KLU
from ._krylov import Krylov as Krylov
from ._lineax import StructuredSolver as StructuredSolver
from ._mass import shifted as shifted
from ._sparse import SparseLU as SparseLU
from ._structure import AbstractStructure as AbstractStructure, linear_solve as linear_solve
from ._superlu import SuperLU as SuperLU
from ._transposed import Transposed as Transposed, transposed as transposed
from ._unrolled import Unrolled as Unrolled
