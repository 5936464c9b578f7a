"""What the estimator's network sees of a picture, computed once for all who ask: estimator, content, likeness."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from iqa.seen import Seen

if TYPE_CHECKING:
    from torch import Tensor

    from iqa.sight import Shipped

NETWORK = "degradations.safetensors"
KEPT = 4
"""Pictures whose sighting is remembered."""


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """Answers of the network, and what they are made of."""

    whole: Tensor
    """(kinds, levels) logits of reaching each level of each degradation."""
    local: Tensor
    """(pieces, kinds, levels): the same of every piece."""
    description: Tensor
    """(f,): features of the small whole, the mean of those of the pieces, and the evidence."""


@lru_cache(KEPT)
def sighting(seen: Seen) -> Sighting:
    """What the network says of a picture that has been looked at."""
    import torch

    from iqa.sight import compressed

    shipped = estimator()
    network, pieces = shipped.network, seen.pieces
    with torch.inference_mode():
        row = torch.tensor([compressed(seen.evidence, shipped.evidence)])
        details, scene = network.details(pieces.near[None]), network.scene(pieces.whole[None])
        whole, local = network.answer(details, scene, row)
        kinds = len(shipped.outputs)
        return Sighting(
            whole.reshape(kinds, -1),
            local.reshape(local.shape[1], kinds, -1),
            network.describe(details, scene, row)[0],
        )


def estimator() -> Shipped:
    """The network that ships (`python -m training.fit_estimator`)."""
    from iqa.sight import load_sight

    return load_sight(NETWORK, 3)
