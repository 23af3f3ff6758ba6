"""The main job, end to end: hare and lynx, fitted, learned and forecast by four kinds of model."""

from ._compare import (
    CONTENDERS as CONTENDERS,
    Budget as Budget,
    Contender as Contender,
)
from ._run import demo as demo
