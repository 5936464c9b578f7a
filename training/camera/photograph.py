"""Takes one photograph of a clean picture: scene, lens, sensor, processing and storage, in the order of the light."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from imaging.convert import FloatArray
from training.camera import media, optics, scene, storage
from training.camera.colour import ColourPipeline
from training.camera.conditions import Conditions
from training.camera.processing import Processing
from training.camera.sensor import Sensor

MID_GREY = 0.18
"""Linear light of middle grey."""
GAMMA_SLOPE = 1.6
"""Approximate factor of noise at mid-grey from linear to display values, white balance included."""


@dataclass(frozen=True, slots=True)
class Photograph:
    """One photograph with its references, all (H, W, 3) float32 sRGB in [0, 1] of the clean picture's size."""

    picture: FloatArray
    """The stored picture."""
    without_noise: FloatArray
    """The same without noise, grain, noise reduction and compression: blur, haze and darkness are still there."""
    reference: FloatArray
    """Sharp, clear and as bright as intended, with the camera's own rendering."""
    conditions: Conditions


def photograph(clean: FloatArray, conditions: Conditions, rng: np.random.Generator) -> Photograph:
    """Photograph a clean picture (H, W, 3) under these conditions; everything else is drawn from `rng`."""
    height, width = clean.shape[:2]
    camera, sensor = ColourPipeline.draw(rng), Sensor.draw(rng, conditions.iso)
    processing = _processing(conditions, sensor, rng)
    subject = _resized(clean, *_sensor_size(height, width, conditions.sensor_scale))

    meant = camera.unprocess(subject) * np.float32(2**conditions.exposure_stops)
    if conditions.blur_px and conditions.blur_is_meant:
        meant = optics.shallow_focus(meant, conditions.blur_px * conditions.sensor_scale, rng)
    light = meant
    if conditions.haze:
        light = scene.add_haze(meant, subject, conditions.haze, rng)
        meant = light if conditions.haze_is_meant else meant
    if conditions.rain:
        light = scene.add_rain(light, rng)
    light = _through_the_lens(light, subject, conditions, rng) * np.float32(2**conditions.underexposed_stops)

    def finish(linear: FloatArray, smooth: bool) -> FloatArray:
        display = camera.render(camera.balance(linear))
        processed = processing.apply(display) if smooth else processing.sharpen(display)
        return coloured(_resized(processed, height, width), conditions)

    without_noise = finish(sensor.expose(light, None), smooth=False)
    picture = finish(sensor.expose(light, rng), smooth=True)
    picture = _stored(_on_its_medium(picture, conditions, rng), conditions, rng)
    return Photograph(picture, without_noise, finish(np.minimum(meant, 1), smooth=False), conditions)


def _processing(conditions: Conditions, sensor: Sensor, rng: np.random.Generator) -> Processing:
    if not conditions.camera_processing:
        return Processing(0, 0, 0, 1, 0, 1)
    return Processing.draw(rng, GAMMA_SLOPE * float(np.sqrt(sensor.shot * MID_GREY + sensor.read)))


def _sensor_size(height: int, width: int, scale: float) -> tuple[int, int]:
    """Height and width of the sensor's image, both even."""
    return max(8, round(height * scale / 2) * 2), max(8, round(width * scale / 2) * 2)


def _resized(pixels: FloatArray, height: int, width: int) -> FloatArray:
    if pixels.shape[:2] == (height, width):
        return pixels
    method = cv2.INTER_AREA if height < pixels.shape[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=method).clip(0, 1), np.float32)


def _through_the_lens(
    light: FloatArray, subject: FloatArray, conditions: Conditions, rng: np.random.Generator
) -> FloatArray:
    scale = conditions.sensor_scale
    if conditions.motion_px:
        light = scene.brighten_light_sources(light, subject, float(rng.uniform(1, 6)))
        light, _ = optics.motion_blur(light, conditions.motion_px * scale, rng)
    if conditions.blur_px and not conditions.blur_is_meant:
        light, _ = optics.lens_blur(light, conditions.blur_px * scale, rng)
    if conditions.chromatic_aberration_px:
        angle = float(rng.uniform(0, 2 * np.pi))
        light = optics.lateral_chromatic_aberration(light, conditions.chromatic_aberration_px * scale, angle)
    return light


def coloured(srgb: FloatArray, conditions: Conditions) -> FloatArray:
    """The picture in colour, grey (R = G = B), or toned like an old print."""
    if conditions.colour == "colour":
        return srgb
    grey = cv2.cvtColor(srgb, cv2.COLOR_RGB2GRAY)[:, :, None]
    tint = np.array([1.0, 0.92, 0.78] if conditions.colour == "toned" else [1, 1, 1], np.float32)
    return np.asarray(grey**tint if conditions.colour == "grey" else 1 - (1 - grey * tint) * 0.97, np.float32)


def _on_its_medium(srgb: FloatArray, conditions: Conditions, rng: np.random.Generator) -> FloatArray:
    if conditions.medium == "film":
        srgb = media.film_grain(srgb, conditions.grain, rng)
    elif conditions.medium == "print":
        srgb = media.paper(srgb, conditions.grain, rng)
    elif conditions.medium == "half_tone":
        srgb = media.half_tone(srgb, float(rng.uniform(2.5, 5)), rng)
    return media.dust(srgb, rng) if conditions.dust else srgb


def _stored(srgb: FloatArray, conditions: Conditions, rng: np.random.Generator) -> FloatArray:
    if conditions.sent_on:
        srgb, _ = storage.sent_on(srgb, rng)
    if conditions.jpeg_quality is not None:
        return storage.jpeg(srgb, conditions.jpeg_quality, conditions.subsampling)
    return np.asarray(np.rint(srgb * 255) / 255, np.float32)
