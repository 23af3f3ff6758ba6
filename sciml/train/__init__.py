"""Training: models from data."""

from ._adversarial import Adversarial as Adversarial
from ._fit import fit as fit
from ._modes import (
    Classification as Classification,
    DerivativeMatching as DerivativeMatching,
    Regression as Regression,
    Variational as Variational,
)
from ._random_field import RandomField as RandomField
from ._result import Estimate as Estimate, Fit as Fit
from ._series_fit import SeriesFit as SeriesFit
from ._signature_fit import (
    SignatureFit as SignatureFit,
    SignatureRegression as SignatureRegression,
)
from ._strategies import (
    Collocation as Collocation,
    GrowingHorizon as GrowingHorizon,
    MultipleShooting as MultipleShooting,
    TeacherForcing as TeacherForcing,
)
from ._surrogate import (
    Surrogate as Surrogate,
    SurrogateErrors as SurrogateErrors,
    surrogate as surrogate,
)
