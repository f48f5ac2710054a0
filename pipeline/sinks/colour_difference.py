"""How different colours look: CIEDE2000, for normal vision and as the red-green colour-blind see them."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Lab = npt.NDArray[np.float64]
"""Colours in CIE L*a*b* of the white D65; the last axis is (L*, a*, b*)."""

_TO_XYZ: Final = np.array([
    [0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041],
])  # fmt: skip
"""From linear sRGB to CIE XYZ (IEC 61966-2-1)."""

_WHITE: Final = _TO_XYZ.sum(axis=1)
"""CIE XYZ of sRGB's white, D65."""

_VISIONS: Final = (
    np.eye(3),
    np.array([
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998],
    ]),
    np.array([
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881],
    ]),
)  # fmt: skip
"""What linear sRGB looks like with normal vision, protanopia and deuteranopia (Machado, Oliveira, Fernandes 2009)."""


def seen_as_lab(colours: npt.ArrayLike) -> Lab:
    """Return how sRGB colours (0 to 255), shape (n, 3), are seen, shape (vision, n, 3).

    The visions are normal, protanopia and deuteranopia; these two are some 2 % of all men, and others with weak red
    or green see larger differences than they do.
    """
    part = np.asarray(colours, np.float64) / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)  # noqa: PLR2004 (of sRGB)
    return np.stack([_lab(np.clip(linear @ vision.T, 0, 1)) for vision in _VISIONS])


def _lab(linear: npt.NDArray[np.float64]) -> Lab:
    """Convert linear sRGB to CIE L*a*b*."""
    part = linear @ _TO_XYZ.T / _WHITE
    root = np.where(part > (6 / 29) ** 3, np.cbrt(part), part / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def ciede2000(one: Lab, other: Lab) -> npt.NDArray[np.float64]:
    """Return the difference CIEDE2000 of colours; shapes broadcast. About 1 can just be seen side by side.

    As in Sharma, Wu, Dalal: The CIEDE2000 color-difference formula, 2005, with all weights 1.
    """
    (light1, a1, b1), (light2, a2, b2) = np.moveaxis(one, -1, 0), np.moveaxis(other, -1, 0)
    mean7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    stretch = 1.5 - 0.5 * np.sqrt(mean7 / (mean7 + 25.0**7))
    a1, a2 = a1 * stretch, a2 * stretch
    chroma1, chroma2 = np.hypot(a1, b1), np.hypot(a2, b2)
    hue1, hue2 = np.arctan2(b1, a1) % (2 * np.pi), np.arctan2(b2, a2) % (2 * np.pi)
    grey = chroma1 * chroma2 == 0
    turn = np.where(grey, 0, hue2 - hue1)
    turn = np.where(np.abs(turn) > np.pi, turn - np.sign(turn) * 2 * np.pi, turn)  # the short way round
    hue = np.where(grey, hue1 + hue2, hue1 + turn / 2)
    light, chroma = (light1 + light2) / 2, (chroma1 + chroma2) / 2
    by_light = (light2 - light1) / (1 + 0.015 * (light - 50) ** 2 / np.sqrt(20 + (light - 50) ** 2))
    by_chroma = (chroma2 - chroma1) / (1 + 0.045 * chroma)
    by_hue = 2 * np.sqrt(chroma1 * chroma2) * np.sin(turn / 2) / (1 + 0.015 * chroma * _hue_weight(hue))
    squared = by_light**2 + by_chroma**2 + by_hue**2 + _rotation(chroma, hue) * by_chroma * by_hue
    return np.asarray(np.sqrt(np.maximum(squared, 0)))


def _hue_weight(hue: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Term T of CIEDE2000."""
    degree = np.pi / 180
    return np.asarray(
        1
        - 0.17 * np.cos(hue - 30 * degree)
        + 0.24 * np.cos(2 * hue)
        + 0.32 * np.cos(3 * hue + 6 * degree)
        - 0.20 * np.cos(4 * hue - 63 * degree)
    )


def _rotation(chroma: npt.NDArray[np.float64], hue: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Term R_T of CIEDE2000, for blue hues, around 275 degrees."""
    angle = np.degrees(hue) % 360
    bend = np.radians(60 * np.exp(-(((angle - 275) / 25) ** 2)))
    seventh = chroma**7
    return np.asarray(-2 * np.sqrt(seventh / (seventh + 25.0**7)) * np.sin(bend))


def differences(colours: Lab, others: Lab) -> npt.NDArray[np.float64]:
    """Return the smallest difference over all visions of n colours and m others, both seen as Lab, shape (n, m)."""
    return np.asarray(ciede2000(colours[:, :, np.newaxis], others[:, np.newaxis]).min(axis=0))


def least_difference(colours: Sequence[Any]) -> tuple[float, int, int]:
    """Return the smallest difference between two of some sRGB colours over all visions, and their positions."""
    seen = seen_as_lab(colours)
    between = differences(seen, seen)
    between[np.diag_indices_from(between)] = np.inf
    one, other = divmod(int(between.argmin()), len(between))
    return float(between[one, other]), one, other
