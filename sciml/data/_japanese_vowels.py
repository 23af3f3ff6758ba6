"""Utterances of nine speakers: short series of unequal length, to tell the speakers apart."""

from __future__ import annotations

import importlib.resources
import io

import numpy as np

from ._series import Series

_TRAINING = 270  # utterances; the others are for testing
_FRAME = 6.4  # ms from one frame to the next
_SOURCE = (
    "Kudo, Toyama and Shimbo, Japanese Vowels (1999), UCI Machine Learning Repository, "
    "doi 10.24432/C5NS47, CC BY 4.0"
)


def japanese_vowels() -> tuple[Series, Series]:
    """Nine men say the vowels /ae/, 270 times for training and 370 for testing: who is speaking.

    Each utterance is a series of 7 to 29 frames, 6.4 ms apart, of 12 coefficients ``c1`` to ``c12``
    of the cepstrum (linear prediction of degree 12, frames of 25.6 ms). Labels are the speakers, 1
    to 9. Both parts are as they were published; nothing is missing.

    >>> import sciml as sm
    >>> training, testing = sm.data.japanese_vowels()
    >>> len(training), len(testing), training.labels[0], float(training[0]["c1"][0][0])
    (270, 370, 1, 1.860936)

    Source: Kudo, Toyama and Shimbo, Multidimensional curve classification using passing-through
    regions, Pattern Recognition Letters 20 (1999) 1103-1111; UCI Machine Learning Repository, doi
    10.24432/C5NS47. Licence: CC BY 4.0. The numbers are unchanged; they were packed into one file.
    """
    packed = importlib.resources.files("sciml.data").joinpath("japanese_vowels.npz").read_bytes()
    with np.load(io.BytesIO(packed), allow_pickle=False) as file:
        lengths, speakers = file["lengths"], file["speakers"]
        # The first, second, third and fourth bytes of integers in millionths, channel by channel:
        # digits of like size side by side take less space when compressed.
        millionths = np.ascontiguousarray(file["bytes"].T).view("<i4").reshape(12, -1)
    values = np.split(millionths.T / 1e6, np.cumsum(lengths)[:-1])
    ends = ((0, _TRAINING), (_TRAINING, len(lengths)))
    training, testing = (_part(values[a:b], speakers[a:b].tolist()) for a, b in ends)
    return training, testing


def _part(values: list[np.ndarray], speakers: list[int]) -> Series:
    channels = [f"c{number}" for number in range(1, 13)]
    times = [_FRAME * np.arange(len(one)) for one in values]
    return Series(times, values, channels, labels=speakers, units={"t": "ms"}, source=_SOURCE)
