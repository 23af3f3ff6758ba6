"""Scientific machine learning for people who think in equations."""

from sciml.dsl import *
