"""The schema of profiles: every parameter of 4KAgent's profiles, and our additions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from toolbox.aliases import current_expert
from toolbox.tasks import Task


def _tone_choice(value: object) -> object:
    """Accept 4KAgent's true and false as "always" and "never"."""
    return {True: "always", False: "never"}[value] if isinstance(value, bool) else value


ToneChoice = Annotated[Literal["auto", "always", "never"], BeforeValidator(_tone_choice)]


class Profile(BaseModel):
    """The configuration of a restoration. A profile is named after its file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=80)
    about: str = Field(default="", description="When to choose this profile, in one sentence.")

    perception_agent: Literal["rules", "endpoint", "local", "llama_vision", "depictqa", "gpt4v", "vlmagent"] = Field(
        default="rules",
        description=(
            "The reasoner that perceives the image, orders the tasks and breaks ties: the built-in rules, an "
            "OpenAI-compatible endpoint or a local model. 4KAgent's names select the endpoint, or else the local "
            "model. A reasoner that is not set up is replaced by the rules, with a warning."
        ),
    )
    perception_seed: int = Field(default=1994, ge=0, description="Seed of a vision-language model's sampling.")
    reflection: Literal["hpsv2", "hpsv2+metric"] = Field(
        default="hpsv2+metric", description="The metrics of the quality score, as far as they are installed."
    )

    upscale_4k: bool = Field(default=True, description="Resize the result so that its longer side is `long_side`.")
    scale_factor: Literal[2, 4, 8, 16] | None = Field(
        default=None, description="Exact scale of the result; overrides `upscale_4k`."
    )
    require_sr_size: int = Field(
        default=300,
        ge=0,
        description="If neither of the two above is set, images whose longer side is below this are upscaled by 4x.",
    )
    long_side: int = Field(default=4096, ge=64, le=16384, description="Longer side of the result for `upscale_4k`.")

    restore_option: tuple[Task, ...] | None = Field(
        default=None,
        description="Run these tasks, whatever perception finds; null: run the tasks that perception finds.",
    )
    plan: tuple[Task, ...] | None = Field(
        default=None, description="Run exactly these tasks in this order (4KAgent's User_Define_Plan)."
    )
    experts: tuple[str, ...] = Field(
        default=(),
        description="Experts that are the only candidates for their tasks; an enlarger also as `NAME.untouched` or "
        "`NAME.half_cleaned`, on the photo before cleaning or its mean with the cleaned one.",
    )
    face_restore: bool = Field(
        default=False, description="Restore low-quality faces by face experts, also in addition to `restore_option`."
    )
    brightening: ToneChoice = Field(
        default="never",
        description="Brighten `always` where the image is found dark, only with a clear expected gain (`auto`), or "
        "`never`.",
    )
    dehazing: ToneChoice = Field(
        default="auto",
        description="Dehaze `always` where haze is found, only with a clear expected gain (`auto`), or `never`.",
    )
    old_photo_restoration: bool = Field(default=False, description="The photo is old: repair scratches and tones.")

    restore_preference: Literal["fidelity", "perception"] = Field(
        default="fidelity", description="Prefer experts with high fidelity, or with high perceptual quality."
    )
    detail: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Texture of enlargements. 0: experts with high fidelity; 1: experts with high perceptual "
        "quality, which generate texture; between: the best results of both, blended; null: as `restore_preference`.",
    )
    grain: float = Field(
        default=0, ge=0, le=1, description="Strength of film grain that is added to the result; 0: none."
    )
    strict_preference: bool = Field(
        default=False, description="Skip a step that only experts of the other preference could run."
    )
    fidelity_weight: float = Field(
        default=0.5, ge=0, le=1, description="Weight of consistency with the step's input in a candidate's score."
    )
    least_consistency: float = Field(
        default=0,
        ge=0,
        le=1,
        description="Reject candidates whose consistency with the step's input is lower.",
    )
    keep_input: bool = Field(
        default=True, description="The unmodified input is a candidate (never in super-resolution)."
    )
    fast_4k: bool = Field(default=False, description="Exclude slow (diffusion) experts for large images.")
    fast_4k_side_threshold: int = Field(default=1024, ge=0, description="Longer side from which `fast_4k` applies.")
    exhaustive: bool = Field(
        default=False,
        description="Run every expert on the whole image; else only the best one or two after prescreening on crops.",
    )

    rollback: bool = Field(default=True, description="Roll back a failed step and try another order.")
    rollback_below: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="A step whose best score is lower has failed, even if it is better than its input.",
    )
    max_expert_runs: int | None = Field(
        default=None, ge=1, description="Stop after N expert runs and return the best result."
    )
    max_seconds: float | None = Field(
        default=None,
        gt=0,
        description="Time limit: start no further step, stop a running one if a candidate is available, and return "
        "the best result.",
    )

    non_commercial: bool = Field(
        default=False, description="Also use installed experts whose licence forbids commercial use."
    )

    @field_validator("restore_option", "plan", mode="before")
    @classmethod
    def _named_tasks(cls, value: object) -> object:
        """Accept 4KAgent's form "a+b", and task names with spaces or hyphens."""
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
            raise ValueError("plan and restore_option cannot both be given; plan also sets the order")
        return self

    def allows(self, task: Task) -> bool:
        """Whether the switch for `task` is on; True for tasks without a switch."""
        switches = {
            Task.BRIGHTENING: self.brightening != "never",
            Task.DEHAZING: self.dehazing != "never",
            Task.FACE_RESTORATION: self.face_restore,
            Task.OLD_PHOTO_RESTORATION: self.old_photo_restoration,
        }
        return switches.get(task, True)

    @property
    def wants_texture(self) -> bool:
        """Whether enlargements may generate texture."""
        return self.restore_preference == "perception" if self.detail is None else self.detail > 0

    @property
    def blended_detail(self) -> float | None:
        """The share of the textured result in blended enlargements; None without blending."""
        return self.detail if self.detail is not None and 0 < self.detail < 1 else None

    @property
    def favours_texture(self) -> bool:
        """Whether enlargements may take minutes for texture, rather than blend a little of it into a faithful one."""
        return self.wants_texture and (self.blended_detail is None or self.restore_preference == "perception")

    @property
    def known_as(self) -> str:
        """Name and description in one line."""
        return f"{self.name}: {self.about}" if self.about else self.name
