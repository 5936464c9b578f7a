"""A card says all there is to know of an expert without loading it; cards are TOML tables."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from toolbox.store import WeightFile
from toolbox.tasks import Task


class ExpertCard(BaseModel):
    """One expert. In the TOML file the table's name is the expert's name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    task: Task
    scale: Literal[1, 2, 4] = 1
    """Output size over input size; 1 for every task but super-resolution."""
    preference: Literal["fidelity", "perception", "any"] = "any"
    """Which profiles ask for it: truth to the input, pleasing detail, or both."""
    loader: Literal["classical", "spandrel", "none"]
    """none: no kept-up library loads it; `why` and `instead` say more."""
    function: str | None = None
    """classical: `module:function` of type (H, W, 3) float32 array in [0, 1], Control -> the same kind of array."""
    weights: str | None = None
    """spandrel: file name in toolbox/weights/, for what is embedded."""
    file: WeightFile | None = None
    """spandrel: the file that the models folder must hold, for what is downloaded or your own."""
    architecture: str | None = None
    """spandrel: the architecture's id that the file must turn out to be."""
    about: str
    """One sentence for a person or a model that must choose."""
    source: str
    """Paper, book or library that the method comes from."""
    page: str = ""
    """Where the method and its weights are published."""
    licence: str = "Apache-2.0"
    """Licence of code and weights together, the stricter one."""
    commercial: Literal["yes", "no", "ask"] = "yes"
    """Whether that allows commercial use; ask: read it, or ask a lawyer."""
    extra: str = ""
    """What must be installed beside restore4k, as in `pip install 'restore4k[extra]'`."""
    memory: Literal["S", "M", "L", "XL"] = "S"
    """Working memory of a 512x512 tile in float32: below 1 GB, 1 to 4, 4 to 8, above."""
    slow: bool = False
    """Many passes over the picture, as diffusion makes them; profiles with `fast_4k` leave it out of large ones."""
    value_range: Literal["unit", "symmetric"] = "unit"
    """What the network itself takes and gives: [0, 1], or [-1, 1] where spandrel does not map it."""
    options: dict[str, float] = {}
    """Keyword arguments of the network itself, for example FBCNN's qf_input."""
    why: str = ""
    """none: why it cannot run here."""
    instead: tuple[str, ...] = ()
    """none: names of the experts that do its work here."""
    halo: int = Field(default=32, ge=0, le=512)
    """spandrel: context in input pixels that a tile needs around it (the receptive field, or near it)."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """spandrel: the lowest precision in which the result still holds (through autocast)."""

    @model_validator(mode="after")
    def _complete(self) -> ExpertCard:
        needed = {"classical": ("function",), "spandrel": ("weights", "file"), "none": ("why",)}[self.loader]
        if not any(getattr(self, key) for key in needed):
            raise ValueError(f"loader = {self.loader!r} needs the key {' or '.join(map(repr, needed))}")
        if (self.scale == 1) == (self.task is Task.SUPER_RESOLUTION):
            raise ValueError(f"scale = {self.scale} does not fit the task {self.task.value}")
        return self
