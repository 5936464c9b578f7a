"""Expert cards: TOML tables that describe an expert completely, so that listing experts loads none of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from toolbox.aliases import current_keys
from toolbox.errors import BadCard
from toolbox.model_bundles import model_bundles
from toolbox.store import WeightFile
from toolbox.tasks import Task

ValueRange = Literal["unit", "symmetric", "byte"]
VALUE_RANGES: dict[ValueRange, tuple[float, float]] = {"unit": (1, 0), "symmetric": (2, -1), "byte": (255, 0)}
"""Factor and offset that convert pixels in [0, 1] to the range."""


class ExpertCard(BaseModel):
    """The keys that every card has. In a TOML file the table's name is the expert's name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    task: Task
    scale: Literal[1, 2, 4, 16] = 1
    """Output size / input size; 1 for every task but super-resolution."""
    loader: str
    """Selects the card's class: classical, spandrel, ncnn, onnx, diffusion or none."""
    preference: Literal["fidelity", "perception", "any"] = "any"
    """The profiles that use it: those that prefer fidelity, those that prefer perceptual quality, or both."""
    blind: bool = False
    """Of an enlarger: made for degraded pictures, whose noise, blur and compression it removes too."""
    standalone: bool = True
    """Whether it is a candidate by itself; otherwise it only serves as the preprocessor of another expert."""
    named_only: bool = False
    """A candidate only for profiles that name it in `experts`: made for one kind of picture, drawings for example."""
    stands_in_for: str = ""
    """The slower expert that this network replaces: on a CPU, for pictures that were enlarged before or where the
    other would take too long; anywhere, if the other cannot run, and in blends of texture with a faithful result.
    """
    about: str
    """One sentence for a person or a model that chooses an expert."""
    source: str
    """The paper, book or library of the method."""
    page: str = ""
    """The web page of the method and its weights."""
    reference: tuple[str, ...] = ()
    """Its names in 4KAgent's toolbox; empty if it is not part of it."""
    licence: str = "Apache-2.0"
    """Licence of the code, and of the weights unless `weights_licence` is given."""
    weights_licence: str = ""
    """Licence of the weights, if it differs."""
    commercial: Literal["yes", "no", "ask"] = "yes"
    """Whether both licences allow commercial use; ask: unclear, read them."""
    memory: Literal["S", "M", "L", "XL"] = "S"
    """Working memory for a 512x512 tile in float32: below 1 GB, 1 to 4, 4 to 8, above 8."""
    slow: bool = False
    """Needs many passes over the image, as diffusion does; profiles with `fast_4k` exclude it for large images."""

    @model_validator(mode="before")
    @classmethod
    def _rename_old_keys(cls, table: object) -> object:
        return current_keys(table) if isinstance(table, dict) else table

    @field_validator("name")
    @classmethod
    def _is_no_candidate(cls, name: str) -> str:
        if name == "keep_input" or name.endswith((".untouched", ".half_cleaned")):
            raise ValueError("runs give this name to candidates that are not experts")
        return name

    @model_validator(mode="after")
    def _check_scale(self) -> ExpertCard:
        if self.scale not in self.task.spec.scales:
            allowed = ", ".join(map(str, self.task.spec.scales))
            raise ValueError(f"scale = {self.scale} does not fit the task {self.task.value}, which allows {allowed}")
        return self

    @property
    def uses_tta(self) -> bool:
        """Whether the expert averages over flips of the image (self-ensemble)."""
        return False

    def without_tta(self) -> ExpertCard:
        """The same card without self-ensemble."""
        return self

    @property
    def extra_needed(self) -> str:
        """The extra of restore4k that must be installed; empty if none."""
        return ""

    @property
    def package_needed(self) -> str:
        """The Python package that must be installed; empty if none."""
        return ""

    @property
    def files(self) -> tuple[WeightFile, ...]:
        """All files that the models folder must hold."""
        return ()

    @property
    def checked_files(self) -> tuple[WeightFile, ...]:
        """The files whose size and checksum must match the published ones before the expert runs."""
        return self.files

    @property
    def licences(self) -> str:
        """The licences of code and weights, in one line."""
        return f"{self.licence}, weights {self.weights_licence}" if self.weights_licence else self.licence


class TiledCard(ExpertCard):
    """The keys of experts that can run tile by tile."""

    tile: int = Field(default=384, ge=16, le=4096)
    """Side of a tile in input pixels, without its halo."""
    halo: int = Field(default=32, ge=0, le=512)
    """Context around a tile in input pixels: about the receptive field."""
    multiple_of: int = Field(default=1, ge=1, le=512)
    """Tile offsets are multiples of this (windowed attention) and of what the architecture requires."""


class ClassicalCard(TiledCard):
    """A function of this package or of another distribution."""

    loader: Literal["classical"] = "classical"
    function: str = Field(min_length=1)
    """`module:function`, which takes an (H, W, 3) float32 array in [0, 1] and a ProgressToken; see `extent`."""
    extent: Literal["whole", "reduced", "local"] = "whole"
    """The part of the image that the function needs at once.

    whole: all of it; the function returns the restored array. reduced: the same, but the function changes tones and
    no detail, so that for a large image its result on a reduced copy is upsampled. local: the function measures the
    image, which it must not modify, and returns a function that restores a tile and depends on at most `halo` - 8
    pixels of context.
    """


class SpandrelCard(TiledCard):
    """A network whose weight file spandrel recognises."""

    loader: Literal["spandrel", "ncnn"] = "spandrel"
    """ncnn: the weights are in ncnn's format, a .param file with its .bin file beside it."""
    weights: str | None = None
    """File name in toolbox/weights/, for embedded weights."""
    packaged: str = Field(default="", pattern=r"^([a-z0-9_]+(/[A-Za-z0-9_.+-]+)+)?$")
    """Path of weights that an installed Python package contains; begins with the name of the package."""
    file: WeightFile | None = None
    """File in the models folder, for downloaded weights and custom models."""
    architecture: str | None = None
    """spandrel's id of the architecture; a file of another architecture is refused."""
    preprocessor: str | None = None
    """Name of the classical expert whose output the network takes as input."""
    self_ensemble: Literal[1, 2, 4] = 1
    """Number of flips of a small image over which the outputs are averaged (self-ensemble): none, both axes, each
    axis. Not for generative networks, because averaging blurs their details.
    """
    dtype: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 if the network keeps its quality in mixed precision."""
    network_scale: int | None = Field(default=None, ge=2, le=16)
    """Scale of the network if it differs from `scale`: its output is resized."""
    value_range: ValueRange = "unit"
    """Range of the network's input and output: [0, 1], or [-1, 1] or [0, 255] where spandrel does not convert it."""
    options: dict[str, float] = {}
    """Keyword arguments of the network, for example FBCNN's qf_input."""
    extra: Literal["", "extra-arches"] = ""
    """The extra of restore4k that contains the architecture."""
    teraflop: float = Field(default=0.0, ge=0)
    """Computation per megapixel of input, in 10^12 operations; 0: negligible."""

    @model_validator(mode="after")
    def _check_weights(self) -> SpandrelCard:
        if not self.weights and not self.packaged and not self.file:
            raise ValueError(f"loader = {self.loader!r} needs the key 'weights', 'packaged' or 'file'")
        return self

    @property
    def uses_tta(self) -> bool:
        """Whether the expert averages over flips of the image (self-ensemble)."""
        return self.self_ensemble > 1

    def without_tta(self) -> SpandrelCard:
        """The same card without self-ensemble."""
        return self.model_copy(update={"self_ensemble": 1})

    @property
    def extra_needed(self) -> str:
        """The extra of restore4k that must be installed; empty if none."""
        return self.extra

    @property
    def files(self) -> tuple[WeightFile, ...]:
        """All files that the models folder must hold."""
        if self.file and self.loader == "ncnn":
            return (self.file, WeightFile(name=f"{self.file.name.removesuffix('.param')}.bin"))
        return (self.file,) if self.file else ()

    @property
    def package_needed(self) -> str:
        """The Python package that must be installed; empty if none."""
        return self.packaged.partition("/")[0]


class OnnxCard(TiledCard):
    """An exported graph in an ONNX file."""

    loader: Literal["onnx"] = "onnx"
    file: WeightFile
    """The graph in the models folder."""
    data: WeightFile | None = None
    """Its weights in the models folder, if they are in a file of their own."""
    network_scale: int | None = Field(default=None, ge=2, le=16)
    """Scale of the graph if it differs from `scale`: its output is resized."""
    value_range: ValueRange = "unit"
    """Range of the graph's input and output: [0, 1], [-1, 1] or [0, 255]."""
    why: str = ""
    """Why the network must be exported."""
    alternatives: tuple[str, ...] = ()
    """Experts for the same task that run without an export."""

    @property
    def extra_needed(self) -> str:
        """The extra of restore4k that must be installed."""
        return self.loader

    @property
    def files(self) -> tuple[WeightFile, ...]:
        """All files that the models folder must hold."""
        return (self.file, self.data) if self.data else (self.file,)


class DiffusionCard(TiledCard):
    """A diffusion model, loaded by diffusers."""

    loader: Literal["diffusion"] = "diffusion"
    architecture: Literal["OSEDiff", "PiSA-SR", "StableDiffusionUpscale"]
    """The method."""
    bundle: str
    """The base model: a name in model_bundles.toml."""
    file: WeightFile | None = None
    """The LoRA weights in the models folder, for methods that fine-tune the base model."""
    dtype: Literal["float32", "float16"] = "float32"
    """float16 if the model keeps its quality in half precision on a GPU."""
    options: dict[str, float] = {}
    """Keyword arguments of the pipeline."""

    @model_validator(mode="after")
    def _check_bundle(self) -> DiffusionCard:
        if self.bundle not in model_bundles():
            raise ValueError(f"bundle = {self.bundle!r} is none of {', '.join(model_bundles())}")
        return self

    @property
    def extra_needed(self) -> str:
        """The extra of restore4k that must be installed."""
        return self.loader

    @property
    def files(self) -> tuple[WeightFile, ...]:
        """All files that the models folder must hold: its own file, then those of the base model."""
        return ((self.file,) if self.file else ()) + model_bundles()[self.bundle].files

    @property
    def checked_files(self) -> tuple[WeightFile, ...]:
        """Its own file; the base model may be another copy, in another precision for example."""
        return (self.file,) if self.file else ()


class UnavailableCard(ExpertCard):
    """An expert of 4KAgent that no maintained library can load."""

    loader: Literal["none"] = "none"
    why: str = Field(min_length=1)
    """Why it cannot run."""
    alternatives: tuple[str, ...] = ()
    """Experts for the same task that can run."""


_ADAPTER: TypeAdapter[ExpertCard] = TypeAdapter(
    Annotated[
        ClassicalCard | SpandrelCard | OnnxCard | DiffusionCard | UnavailableCard, Field(discriminator="loader")
    ]
)


def read_card(name: str, table: Mapping[str, Any]) -> ExpertCard:
    """The card of the TOML table `name`, of the class that its `loader` selects. Raises `BadCard`."""
    if "name" in table:
        raise BadCard(f"card {name!r}, key 'name': the name of the table is the name of the expert", "remove the key")
    try:
        return _ADAPTER.validate_python({"name": name, **table})
    except ValidationError as error:
        raise BadCard(f"card {name!r}, {'; '.join(map(_describe, error.errors()))}") from error


def _describe(error: Mapping[str, Any]) -> str:
    """One pydantic error as text; the first part of its location is the loader."""
    if error["type"].startswith("union_tag"):
        return f"key 'loader': {error['msg']}"
    loader, *path = error["loc"]
    key, value = ".".join(map(str, path)), error["input"]
    if error["type"] == "extra_forbidden":
        return f"key {key!r}: unknown for loader {loader!r}"
    if error["type"] == "missing":
        return f"key {key!r}: required for loader {loader!r}"
    return f"key {key!r}: {error['msg']} (got {value!r})" if key else error["msg"].removeprefix("Value error, ")
