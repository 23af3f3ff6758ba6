"""Training: models from data."""

from ._fit import fit as fit
from ._result import Estimate as Estimate, Fit as Fit
from ._signature import signature as signature
from ._signature_fit import SignatureFit as SignatureFit, fit_signature as fit_signature
from ._strategies import (
    Collocation as Collocation,
    GrowingHorizon as GrowingHorizon,
    MultipleShooting as MultipleShooting,
    TeacherForcing as TeacherForcing,
)
