"""A card says all there is to know of an expert without loading it; cards are TOML tables."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from toolbox.aliases import CARD_KEYS
from toolbox.model_bundles import model_bundles
from toolbox.store import WeightFile
from toolbox.tasks import Task

NEEDED = {
    "classical": ("function",),
    "spandrel": ("weights", "file"),
    "onnx": ("file",),
    "diffusion": ("bundle",),
    "none": ("why",),
}
"""Of these keys a loader needs one."""


class ExpertCard(BaseModel):
    """One expert. In the TOML file the table's name is the expert's name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    task: Task
    scale: Literal[1, 2, 4, 16] = 1
    """Output size over input size; 1 for every task but super-resolution."""
    preference: Literal["fidelity", "perception", "any"] = "any"
    """Which profiles ask for it: truth to the input, pleasing detail, or both."""
    loader: Literal["classical", "spandrel", "onnx", "diffusion", "none"]
    """onnx: an exported graph; diffusion: by diffusers; none: nothing that is kept up loads it, as `why` says."""
    function: str | None = None
    """classical: `module:function` of type (H, W, 3) float32 array in [0, 1], ProgressToken -> what `extent` says."""
    extent: Literal["whole", "reduced", "local"] = "whole"
    """classical: how much of a picture the function must see at once.

    whole: all of it; gives the restored array. reduced: the same, but it changes tones by place and not detail, so
    that a small copy of a large picture is enough. local: it only measures the picture, which it must not write to,
    and gives a function from a tile to what it becomes, which looks no further than `halo` less 8 pixels.
    """
    preprocessor: str | None = None
    """spandrel: name of the classical expert whose output the network takes as input."""
    standalone: bool = True
    """Whether it is a candidate by itself; otherwise it is only the preprocessor of others."""
    weights: str | None = None
    """spandrel: file name in toolbox/weights/, for what is embedded."""
    file: WeightFile | None = None
    """The file of its own that the models folder must hold, for what is downloaded or your own."""
    bundle: str | None = None
    """diffusion: the model of several files (a name in model_bundles.toml) that it is, or that its file changes."""
    architecture: str | None = None
    """spandrel: the architecture's id that the file must turn out to be; diffusion: which method it is."""
    about: str
    """One sentence for a person or a model that must choose."""
    source: str
    """What to cite: paper, book or library that the method comes from."""
    page: str = ""
    """Where the method and its weights are published."""
    reference: tuple[str, ...] = ()
    """Names of this tool in 4KAgent's toolbox; empty where it is not part of it."""
    licence: str = "Apache-2.0"
    """Licence of the code, and of the weights where `weights_licence` says nothing else."""
    weights_licence: str = ""
    """Licence of the weights, where it is another one."""
    commercial: Literal["yes", "no", "ask"] = "yes"
    """Whether both allow commercial use; ask: read them, or ask a lawyer."""
    extra: Literal["", "extra-arches", "onnx", "diffusion"] = ""
    """What must be installed beside restore4k, as in `pip install 'restore4k[extra]'`; the loaders onnx and diffusion
    need theirs always."""
    memory: Literal["S", "M", "L", "XL"] = "S"
    """Working memory of a 512x512 tile in float32: below 1 GB, 1 to 4, 4 to 8, above."""
    slow: bool = False
    """Many passes over the picture, as diffusion makes them; profiles with `fast_4k` leave it out of large ones."""
    value_range: Literal["unit", "symmetric"] = "unit"
    """What the network itself takes and gives: [0, 1], or [-1, 1] where spandrel does not map it."""
    options: dict[str, float] = {}
    """Keyword arguments of the network or pipeline itself, for example FBCNN's qf_input."""
    why: str = ""
    """none: why it cannot run here; onnx: why it must be exported."""
    alternatives: tuple[str, ...] = ()
    """none, onnx: names of the nearest experts for the same task that can be had without export."""
    tile: int = Field(default=384, ge=16, le=4096)
    """Networks, local functions: side in input pixels of what one tile adds to the picture; its halo comes on top."""
    halo: int = Field(default=32, ge=0, le=512)
    """The same: context in input pixels that a tile needs around it (the receptive field, or near it)."""
    multiple_of: int = Field(default=1, ge=1, le=512)
    """The same: the grid on which tiles begin, beside what the architecture demands; windowed attention has one."""
    self_ensemble: Literal[1, 2, 4] = 1
    """spandrel: the number of flips of a small picture (none, both ways, each way) over which the network's output is
    averaged (self-ensemble). Not for generative networks, whose detail would be averaged away.
    """
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """The lowest precision in which the result still holds: bfloat16 for spandrel, through autocast; float16 for
    diffusion, on a GPU."""

    @model_validator(mode="before")
    @classmethod
    def _old_keys(cls, table: object) -> object:
        return {CARD_KEYS.get(key, key): value for key, value in table.items()} if isinstance(table, dict) else table

    @model_validator(mode="after")
    def _complete(self) -> ExpertCard:
        needed = NEEDED[self.loader]
        if not any(getattr(self, key) for key in needed):
            raise ValueError(f"loader = {self.loader!r} needs the key {' or '.join(map(repr, needed))}")
        if self.bundle and self.bundle not in model_bundles():
            raise ValueError(f"bundle = {self.bundle!r} is none of {', '.join(model_bundles())}")
        if (self.scale == 1) == (self.task is Task.SUPER_RESOLUTION):
            raise ValueError(f"scale = {self.scale} does not fit the task {self.task.value}")
        return self

    @property
    def needs(self) -> str:
        """The extra without which it cannot run; empty where there is none."""
        return self.loader if self.loader in ("onnx", "diffusion") else self.extra

    @property
    def files(self) -> tuple[WeightFile, ...]:
        """All that the models folder must hold: the file of its own, then those of its folder."""
        own = (self.file,) if self.file else ()
        return own + (model_bundles()[self.bundle].files if self.bundle else ())

    @property
    def licences(self) -> str:
        """Of code and weights, in one line."""
        return f"{self.licence}, weights {self.weights_licence}" if self.weights_licence else self.licence
