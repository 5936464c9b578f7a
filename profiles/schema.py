"""What a profile may say. Every parameter of 4KAgent's profiles is here, and those that we add."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from toolbox.aliases import current_expert
from toolbox.tasks import Task


class Profile(BaseModel):
    """How an image is to be restored. The file's name is the profile's name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=80)
    about: str = Field(default="", description="When to choose this profile, in one sentence.")

    perception_agent: Literal["rules", "endpoint", "local", "llama_vision", "depictqa", "gpt4v", "vlmagent"] = Field(
        default="rules",
        description=(
            "Who looks at the image, orders the work and breaks ties: the rules, an OpenAI-compatible endpoint or a "
            "local model. 4KAgent's names mean the endpoint, or else the local model. What is not set up is replaced "
            "by the rules, with a warning."
        ),
    )
    perception_seed: int = Field(default=1994, ge=0, description="Seed of a vision-language model's sampling.")
    reflection: Literal["hpsv2", "hpsv2+metric"] = Field(
        default="hpsv2+metric", description="What the quality score is made of, as far as it is installed."
    )

    upscale_4k: bool = Field(default=True, description="Bring the longer side to `long_side`.")
    scale_factor: Literal[2, 4, 8, 16] | None = Field(
        default=None, description="Enlarge exactly so many times; outranks `upscale_4k`."
    )
    require_sr_size: int = Field(
        default=300, ge=0, description="Without the two above, an image whose longer side is smaller is enlarged 4x."
    )
    long_side: int = Field(default=4096, ge=64, le=16384, description="Longer side of the result of `upscale_4k`.")

    restore_option: tuple[Task, ...] | None = Field(
        default=None, description="Do these tasks, whatever is found; null: what perception finds."
    )
    plan: tuple[Task, ...] | None = Field(
        default=None, description="Do exactly these tasks in exactly this order (4KAgent's User_Define_Plan)."
    )
    experts: tuple[str, ...] = Field(
        default=(), description="Experts that do their tasks without competition, whatever the scores say."
    )
    face_restore: bool = Field(
        default=False, description="Restore faces that need it by face experts, beside `restore_option` too."
    )
    brightening: bool = Field(default=False, description="Allow the brightening task.")
    old_photo_restoration: bool = Field(default=False, description="The photo is old: see to scratches and tones.")

    restore_preference: Literal["fidelity", "perception"] = Field(
        default="fidelity", description="Experts true to the input, or experts that please the eye."
    )
    strict_preference: bool = Field(
        default=False, description="Leave a step out rather than do it by experts of the other preference."
    )
    fidelity_weight: float = Field(
        default=0.5, ge=0, le=1, description="Share of consistency with the step's input in a candidate's score."
    )
    least_consistency: float = Field(
        default=0,
        ge=0,
        le=1,
        description="A result that explains the step's input less than this is out, whatever it scores.",
    )
    keep_input: bool = Field(default=True, description="Doing nothing is a candidate (never in super-resolution).")
    fast_4k: bool = Field(
        default=False, description="Leave slow (diffusion) experts out where the image is already large."
    )
    fast_4k_side_threshold: int = Field(default=1024, ge=0, description="Longer side from which `fast_4k` counts.")
    exhaustive: bool = Field(
        default=False,
        description="Run every expert on the whole image; otherwise the best one or two, prescreened on crops.",
    )

    rollback: bool = Field(default=True, description="Undo a step that fails and try another order.")
    rollback_below: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="A step whose best score is lower has failed, even if it beats its input.",
    )
    max_expert_runs: int | None = Field(default=None, ge=1, description="Stop after so many, with the best so far.")
    max_seconds: float | None = Field(
        default=None,
        gt=0,
        description="After so long begin nothing more, stop what runs where there is something to go on with, and "
        "finish the best so far.",
    )

    non_commercial: bool = Field(
        default=False, description="Also use experts whose licence forbids commercial use, where installed."
    )

    @field_validator("restore_option", "plan", mode="before")
    @classmethod
    def _named_tasks(cls, value: object) -> object:
        """Accept 4KAgent's "a+b" and its spelling with blanks or hyphens."""
        if isinstance(value, str):
            value = [part for part in value.split("+") if part.strip()]
        if isinstance(value, list):
            return [
                part.strip().lower().replace("-", "_").replace(" ", "_") if isinstance(part, str) else part
                for part in value
            ]
        return value

    @field_validator("experts")
    @classmethod
    def _current_experts(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(current_expert, names))

    @model_validator(mode="after")
    def _one_way_to_choose_tasks(self) -> Profile:
        if self.plan is not None and self.restore_option is not None:
            raise ValueError("plan and restore_option cannot both be given; plan also says the order")
        return self

    def allows(self, task: Task) -> bool:
        """Whether the switch for `task` is on; True for tasks without a switch."""
        switches = {
            Task.BRIGHTENING: self.brightening,
            Task.FACE_RESTORATION: self.face_restore,
            Task.OLD_PHOTO_RESTORATION: self.old_photo_restoration,
        }
        return switches.get(task, True)

    @property
    def known_as(self) -> str:
        """Name and purpose in one line."""
        return f"{self.name}: {self.about}" if self.about else self.name
