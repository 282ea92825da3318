"""Measures how loud a sound is (ITU-R BS.1770) and brings it to a level."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from composer.noise import RATE, Array

_BLOCK, _HOP = 0.4, 0.1  # seconds
_ABSOLUTE, _RELATIVE = -70.0, -10.0
_OFFSET = -0.691
CEILING = 10 ** (-1 / 20)
"""The highest sample of a normalised sound: 1 dB below full scale."""
_STEP = 32  # samples for each value of the limiter's gain
# The number of values for which the gain stays low on each side of a peak, and over which it then rises again.
_REACH = 40


@lru_cache(maxsize=4)
def _weighting(size: int) -> Array:
    """The gain of each frequency, like the ear's: BS.1770's shelf and high-pass filters, with De Man's coefficients."""
    place = np.tan(np.linspace(0, np.pi / 2, size // 2 + 1, endpoint=False)) * 1j
    high = 10 ** (3.999843853973347 / 20)
    turn = place / np.tan(np.pi * 1681.974450955533 / RATE)
    shelf = (high * turn**2 + high**0.4996667741545416 * turn / 0.7071752369554196 + 1) / (
        turn**2 + turn / 0.7071752369554196 + 1
    )
    turn = place / np.tan(np.pi * 38.13547087602444 / RATE)
    # The standard's high pass has a gain of slightly more than 1 far above its corner.
    rumble = 1.0075 * turn**2 / (turn**2 + turn / 0.5003270373238773 + 1)
    gain: Array = np.abs(shelf * rumble)
    return gain.astype(np.float32)


def loudness(sound: Array) -> float:
    """The loudness in LUFS of a sound (channels, samples). Silent parts do not count; -inf if all of it is silent."""
    size = 1 << (sound.shape[-1] - 1).bit_length()
    weighted = np.fft.irfft(np.fft.rfft(sound, size) * _weighting(size), size)[..., : sound.shape[-1]]
    block, hop = int(_BLOCK * RATE), int(_HOP * RATE)
    total = np.concatenate([[0.0], np.cumsum(np.sum(weighted**2, axis=0, dtype=np.float64))])
    starts = np.arange(0, max(1, sound.shape[-1] - block + 1), hop)
    power = (total[np.minimum(starts + block, sound.shape[-1])] - total[starts]) / block
    with np.errstate(divide="ignore"):
        level = _OFFSET + 10 * np.log10(power)
        if not (heard := level > _ABSOLUTE).any():
            return float("-inf")
        gate = _OFFSET + 10 * np.log10(power[heard].mean()) + _RELATIVE
        return float(_OFFSET + 10 * np.log10(power[heard & (level > gate)].mean()))


def raised(sound: Array, level: float) -> Array:
    """The sound, scaled to a loudness in LUFS. Silence stays as it is."""
    now = loudness(sound)
    return sound * np.float32(10 ** ((level - now) / 20)) if np.isfinite(now) else sound


def limited(sound: Array) -> Array:
    """Limit every peak to the ceiling. The gain is reduced before a peak, and rises again after the peak."""
    size = sound.shape[-1]
    blocks = -(-size // _STEP)
    peaks = np.abs(np.pad(sound, ((0, 0), (0, blocks * _STEP - size)))).reshape(sound.shape[0], blocks, _STEP)
    wanted = np.minimum(1, CEILING / np.maximum(peaks.max(axis=(0, 2)), 1e-9))
    around = np.pad(wanted, 2 * _REACH, constant_values=1.0)
    least = np.lib.stride_tricks.sliding_window_view(around, 2 * _REACH + 1).min(axis=1)
    window = np.hanning(2 * _REACH + 1)
    gain = np.convolve(least, window / window.sum(), mode="valid")
    place = np.arange(size) / _STEP - 0.5
    return sound * np.interp(place, np.arange(blocks), gain).astype(np.float32)


def normalised(sound: Array, strategy: str) -> Array:
    """Bring a mix to the level of a normalization strategy of the real model. No sample exceeds the ceiling."""
    match strategy:
        case "peak":
            return sound * np.float32(CEILING / max(1e-9, float(np.abs(sound).max())))
        case "rms":
            level = float(np.sqrt(np.mean(sound**2, dtype=np.float64)))
            return limited(sound * np.float32(10 ** (-18 / 20) / max(1e-9, level)))
        case "loudness":
            return limited(raised(sound, -14.0))
        case _:
            return np.clip(sound, -CEILING, CEILING)
