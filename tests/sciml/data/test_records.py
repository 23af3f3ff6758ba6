"""The data sets that come with the package are those that were published."""

import hashlib
import importlib.resources

import numpy as np
import pytest

import sciml as sm

FOLDER = importlib.resources.files("sciml.data")


@pytest.fixture(scope="module")
def vowels():
    return sm.data.japanese_vowels()


def test_the_vowels_are_bit_for_bit_those_of_two_other_packages(vowels):
    # Of the numbers read from the text files in sktime 1.2.0 and aeon 1.6.0, which agree.
    every = np.concatenate([values for part in vowels for values in part.values])
    assert every.shape == (9961, 12)
    assert hashlib.sha256(every.astype("<f8").tobytes()).hexdigest() == (
        "ca43c43ffb87230ce889ee8b3418f39aff1aef95fdbfdb00460ac0864ab17b43"
    )


def test_speakers_and_lengths_are_as_the_repository_describes_them(vowels):
    training, testing = vowels
    # The description at the UCI repository, data set 128.
    assert np.bincount(training.targets).tolist() == [30] * 9
    assert np.bincount(testing.targets).tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]
    lengths = np.concatenate([training.lengths, testing.lengths])
    assert (lengths.min(), lengths.max()) == (7, 29)
    assert training.classes == testing.classes == tuple(range(1, 10))
    assert training.times[0][1] == 6.4
    assert training.units == {"t": "ms"}
    assert "CC BY 4.0" in training.source


def test_the_nearest_mean_tells_most_speakers_apart(vowels):
    training, testing = vowels
    scale = sm.data.Scaling.fit(training)
    seen, new = (
        np.stack([one.mean(axis=0) for one in scale.apply(part).values]) for part in vowels
    )
    centres = np.stack([seen[training.targets == speaker].mean(axis=0) for speaker in range(9)])
    guesses = np.argmin(np.sum((new[:, None] - centres) ** 2, axis=-1), axis=1)
    assert np.mean(guesses == testing.targets) > 0.9  # by chance 0.11


def test_the_sea_temperatures_are_those_that_were_published():
    file = FOLDER.joinpath("el_nino.csv").read_bytes()
    assert (
        hashlib.sha256(file).hexdigest()
        == "2ec5227e83258606c6b6cd454755036bfb1cc0a81354373c2f1355da1d494f51"
    )
    sea = sm.data.el_nino()
    (temperature,), (times,) = sea["temperature"], sea.times
    assert temperature.shape == times.shape == (61 * 12,)
    np.testing.assert_allclose(np.diff(times), 1 / 12, rtol=1e-9)
    np.testing.assert_allclose(times[0], 1950 + 1 / 24)
    assert (temperature[0], temperature[-1]) == (23.11, 22.07)
    assert "public domain" in sea.source


def test_the_two_strongest_events_stand_out_of_the_seasons():
    (temperature,) = sm.data.el_nino()["temperature"]
    years = temperature.reshape(61, 12)
    warm = np.max(years - years.mean(axis=0), axis=1)
    # Those of 1982-83 and 1997-98, as every account of El Niño has them.
    assert sorted(1950 + np.argsort(warm)[-4:]) == [1982, 1983, 1997, 1998]


def test_the_files_are_small():
    sizes = {name: len(FOLDER.joinpath(name).read_bytes()) for name in ("el_nino.csv",)}
    sizes["japanese_vowels.npz"] = len(FOLDER.joinpath("japanese_vowels.npz").read_bytes())
    assert max(sizes.values()) < 300_000
