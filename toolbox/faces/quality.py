"""Face image quality by a published network, if its file was downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from imaging.convert import FloatArray
from toolbox.errors import WeightsError
from toolbox.faces.identity import recogniser_crop
from toolbox.faces.models import EDIFFIQA, path_of
from toolbox.faces.opencv_log import errors_only
from toolbox.store import ModelStore


@dataclass(frozen=True, slots=True)
class FaceQuality:
    """eDifFIQA-T (Babnik et al. 2024): suitability of a face for recognition."""

    network: Any
    file: Path
    name: str = "eDifFIQA-T"

    def __call__(self, crop: FloatArray) -> float:
        """The quality of an aligned crop (512, 512, 3) in [0, 1], clipped to 0..1."""
        small = recogniser_crop(crop) * 2 - 1
        try:
            self.network.setInput(np.ascontiguousarray(small.transpose(2, 0, 1)[None]))
            answer = self.network.forward()
        except cv2.error as error:
            raise WeightsError(f"{self.file} cannot be run as eDifFIQA: {error.err}", "download it again") from error
        return float(np.clip(np.ravel(answer)[0], 0, 1))


def load_face_quality(store: ModelStore | None = None) -> FaceQuality | None:
    """The network; None if its file was not downloaded. Raises `WeightsError` if OpenCV cannot read it."""
    file = path_of(EDIFFIQA, store or ModelStore())
    if file is None:
        return None
    try:
        with errors_only():
            return FaceQuality(cv2.dnn.readNetFromONNX(str(file)), file)
    except cv2.error as error:
        raise WeightsError(f"{file} cannot be run as eDifFIQA: {error.err}", "download it again") from error
