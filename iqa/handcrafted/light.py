"""Features of light and colour: brightness, contrast, saturation and haze."""

from __future__ import annotations

import numpy as np

from imaging.colour import luma
from iqa.handcrafted.inputs import MeasurementInputs

DARK_WINDOW = 1 / 20
"""Side of the window of the dark channel, as a fraction of the thumbnail's long side."""


def light(inputs: MeasurementInputs) -> dict[str, float]:
    """Brightness, contrast, saturation and haze, all in [0, 1].

    Haze raises the dark channel (He, Sun, Tang 2009) towards the airlight, and desaturates bright regions (the colour
    attenuation prior of Zhu, Mai, Shao 2015). `local_contrast` is the mean standard deviation in small windows.
    """
    import cv2

    rgb = inputs.thumbnail
    grey = luma(rgb)
    value, darkest = rgb.max(axis=2), rgb.min(axis=2)
    window = max(3, round(max(grey.shape) * DARK_WINDOW))
    dark_channel = cv2.erode(darkest, np.ones((window, window), np.uint8))
    mean = cv2.blur(grey, (window, window))
    deviation = np.sqrt(np.maximum(cv2.blur(grey * grey, (window, window)) - mean * mean, 0))
    airlight = float(np.percentile(dark_channel, 99))
    low, quarter, middle, high, highest = np.percentile(value, [5, 25, 50, 90, 99])
    return {
        "luminance_mean": float(grey.mean()),
        "luminance_percentile_5": float(low),
        "luminance_percentile_25": float(quarter),
        "luminance_percentile_50": float(middle),
        "luminance_percentile_90": float(high),
        "luminance_percentile_99": float(highest),
        "dark_channel_mean": float(dark_channel.mean()),
        "dark_channel_percentile_10": float(np.percentile(dark_channel, 10)),
        "airlight": airlight,
        "dark_channel_over_airlight": float(np.mean(np.minimum(dark_channel / max(airlight, 0.05), 1))),
        "saturation_mean": float(np.mean((value - darkest) / np.maximum(value, 0.02))),
        "value_less_saturation": float(np.mean(value - (value - darkest) / np.maximum(value, 0.02))),
        "local_contrast": float(deviation.mean()),
        "local_contrast_relative": float(deviation.mean() / max(float(grey.std()), 0.01)),
    }
