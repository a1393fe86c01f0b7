"""Frames of HDR video (PQ and HLG, ITU-R BT.2100) as sRGB.

Light is measured against diffuse white at 203 cd/m2 (ITU-R BT.2408): up to `_KNEE` of it colours stay what they are;
what is brighter is compressed towards white with its hue kept.
"""

from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8, UInt16

_PQ, _HLG = 16, 18
"""Transfer characteristics of ITU-T H.273."""
_WHITE_CD_M2 = 203.0
_HLG_PEAK_CD_M2, _HLG_GAMMA = 1000.0, 1.2
_KNEE = 0.8
_BT2020_LUMA = np.array((0.2627, 0.6780, 0.0593), np.float32)
_BT709_FROM_BT2020 = np.array(
    ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187)), np.float32
)


def is_hdr(frame: Any) -> bool:
    """Whether a decoded frame's values are those of PQ or HLG."""
    return frame.color_trc in (_PQ, _HLG)


def sdr_image(frame: Any, width: int, height: int) -> UInt8[np.ndarray, "height width 3"]:
    """A PQ or HLG frame, resized, as sRGB."""
    signal = frame.to_ndarray(format="rgb48le", width=width, height=height, interpolation="BICUBIC")
    return srgb_from_signal(signal, hlg=frame.color_trc == _HLG)


def srgb_from_signal(signal: UInt16[np.ndarray, "height width 3"], *, hlg: bool) -> UInt8[np.ndarray, "height width 3"]:
    """RGB values of PQ or HLG with the primaries of BT.2020, 65535 the largest, as sRGB."""
    levels = np.linspace(0, 1, 1 << 16)
    light = (_scene_light(levels) if hlg else _pq_light(levels)).astype(np.float32)[signal]
    if hlg:
        luma = light @ _BT2020_LUMA
        light *= (np.maximum(luma, 1e-6) ** (_HLG_GAMMA - 1) * (_HLG_PEAK_CD_M2 / _WHITE_CD_M2))[..., None]
    light = np.maximum(light @ _BT709_FROM_BT2020.T, 0)
    brightest = light.max(-1, keepdims=True)
    light *= _compressed(brightest) / np.maximum(brightest, 1e-6)
    return (_srgb(light) * 255 + 0.5).astype(np.uint8)


def _pq_light(signal: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084, relative to diffuse white."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = signal ** (1 / m2)
    return (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1) * (10_000 / _WHITE_CD_M2)


def _scene_light(signal: np.ndarray) -> np.ndarray:
    """The inverse of HLG's transfer function, in [0, 1]."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)


def _compressed(light: Float32[np.ndarray, "height width 1"]) -> Float32[np.ndarray, "height width 1"]:
    """The light itself up to the knee, then ever less of it, never above 1."""
    room = 1 - _KNEE
    return np.where(light <= _KNEE, light, 1 - room * np.exp(-np.maximum(light - _KNEE, 0) / room))


def _srgb(light: Float32[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "height width 3"]:
    """The transfer function of IEC 61966-2-1."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-6) ** (1 / 2.4) - 0.055)
