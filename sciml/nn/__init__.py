"""Neural differential equations, each a declared system and a module; operator networks."""

from ._augmented import (
    AugmentedNeuralODE as AugmentedNeuralODE,
    augmented_neural_ode as augmented_neural_ode,
)
from ._deep_operator import DeepONet as DeepONet, DeepOperator as DeepOperator
from ._flow import ContinuousFlow as ContinuousFlow, continuous_flow as continuous_flow
from ._fourier_operator import (
    FNO as FNO,
    FourierOperator as FourierOperator,
    spectral_convolution as spectral_convolution,
)
from ._hamiltonian import Hamiltonian as Hamiltonian, hamiltonian as hamiltonian
from ._lagrangian import Lagrangian as Lagrangian, lagrangian as lagrangian
from ._latent_ode import LatentODE as LatentODE, latent_ode as latent_ode
from ._latent_sde import LatentSDE as LatentSDE, latent_sde as latent_sde
from ._legendre import (
    LegendreMemory as LegendreMemory,
    hippo_legs as hippo_legs,
    legendre_memory as legendre_memory,
)
from ._liquid import (
    LiquidTimeConstant as LiquidTimeConstant,
    liquid_time_constant as liquid_time_constant,
)
from ._long_memory import (
    LongExpressiveMemory as LongExpressiveMemory,
    long_expressive_memory as long_expressive_memory,
)
from ._neural_cde import NeuralCDE as NeuralCDE, neural_cde as neural_cde
from ._neural_ode import NeuralODE as NeuralODE, neural_ode as neural_ode
from ._neural_sde import NeuralSDE as NeuralSDE, neural_sde as neural_sde
from ._places import Places as Places
from ._readout import Readout as Readout
from ._sde_gan import SDEGAN as SDEGAN
from ._sde_gan_halves import (
    sde_gan_discriminator as sde_gan_discriminator,
    sde_gan_generator as sde_gan_generator,
)
from ._second_order import (
    SecondOrderNeuralODE as SecondOrderNeuralODE,
    second_order_neural_ode as second_order_neural_ode,
)
from ._stable_sde import StableSDE as StableSDE, stable_sde as stable_sde
from ._state_space import (
    LinearStateSpace as LinearStateSpace,
    linear_state_space as linear_state_space,
)
from ._stepping import Stepping as Stepping
