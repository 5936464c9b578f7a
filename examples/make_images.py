"""Makes the pictures in examples/images: a clean photo, reduced, with noise and compressed.

    python examples/make_images.py
    make demo && python examples/make_images.py restored/coffee_4k.png    # and the picture of the README

The photo is `skimage.data.coffee()` (by Rachel Michetti, CC0, shipped with scikit-image).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import skimage.data
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from imaging.convert import from_numpy, to_float, to_numpy  # noqa: E402
from imaging.image import Image  # noqa: E402
from imaging.reading import read_image  # noqa: E402
from imaging.resizing import resize  # noqa: E402
from imaging.writing import write_image  # noqa: E402
from training.data.degradations import gaussian_noise  # noqa: E402

IMAGES = ROOT / "examples" / "images"
SIDE = 560


def main() -> None:
    """Write examples/images/coffee.jpg, or beside it what came of it."""
    if len(sys.argv) > 1:
        before_after(Path(sys.argv[1]))
        return
    photo = to_float(skimage.data.coffee()[:, 130:530])
    small = to_numpy(resize(from_numpy(photo), 256, 256))
    noisy = np.clip(gaussian_noise(small, np.random.default_rng(4), sigma_255=25), 0, 1)
    write_image(Image(from_numpy(noisy)), IMAGES / "coffee.jpg", overwrite=True, quality=40)


def before_after(result: Path) -> None:
    """Write examples/images/coffee_before_after.jpg: both in one size, the small one enlarged bicubically."""
    halves = [resize(read_image(file).pixels, SIDE, SIDE).clamp(0, 1) for file in (IMAGES / "coffee.jpg", result)]
    image = Image(torch.cat(halves, dim=2))
    write_image(image, IMAGES / "coffee_before_after.jpg", overwrite=True, quality=90)


if __name__ == "__main__":
    main()
