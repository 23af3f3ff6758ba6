"""Networks declared as systems of differential equations."""

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
from ._state_space import (
    LinearStateSpace as LinearStateSpace,
    linear_state_space as linear_state_space,
)
