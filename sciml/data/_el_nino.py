"""Sea surface temperatures off Peru: one long series, for forecasts."""

from __future__ import annotations

import importlib.resources

import numpy as np

from ._series import Series


def el_nino() -> Series:
    """Monthly sea surface temperatures in the region Niño 1+2, 1950 to 2010: one series, 732 times.

    The mean over 0 to 10 degrees south and 80 to 90 degrees west, channel ``temperature``, in
    degrees Celsius. Times are the middles of the months, in years. Nothing is missing.

    >>> import sciml as sm
    >>> sea = sm.data.el_nino()
    >>> sea.lengths, float(sea["temperature"][0][0]), sea.units["t"]
    (array([732]), 23.11, 'year')

    Source: NOAA, National Weather Service, Climate Prediction Center, ERSST.V3B. Licence: in the
    public domain, as a work of the government of the United States.
    """
    file = importlib.resources.files("sciml.data").joinpath("el_nino.csv")
    comment, _, *lines = file.read_text(encoding="utf-8").splitlines()
    rows = np.array([line.split(",") for line in lines], float)
    months = (np.arange(12) + 0.5) / 12
    times = (rows[:, :1] + months[None]).ravel()
    units = {"t": "year", "temperature": "degree Celsius"}
    values = rows[:, 1:].ravel()
    return Series([times], [values], "temperature", units=units, source=comment.lstrip("# "))
