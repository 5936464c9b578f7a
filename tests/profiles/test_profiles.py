"""The predefined profiles match the published ones, runs follow them, and users' files are validated."""

from __future__ import annotations

from pathlib import Path

import pytest

from profiles.errors import ProfileError, UnknownProfile
from profiles.loading import load_profile, predefined_profiles
from toolbox.tasks import Task

SR = (Task.SUPER_RESOLUTION,)

PUBLISHED = {
    # name: perception agent, to 4K, scale, tasks, faces, brightening, preference
    "Gen4K-P": ("depictqa", True, None, None, True, False, "perception"),
    "Gen4K-F": ("depictqa", True, None, None, True, False, "fidelity"),
    "Aer4K-P": ("llama_vision", True, None, None, False, False, "perception"),
    "Aer4K-F": ("llama_vision", True, None, None, False, False, "fidelity"),
    "ExpSR-s4-P": ("llama_vision", False, 4, SR, False, False, "perception"),
    "ExpSR-s4-F": ("llama_vision", False, 4, SR, False, False, "fidelity"),
    "ExpSR-s2-F": ("llama_vision", False, 2, SR, False, False, "fidelity"),
    "ExpSR-s8-F": ("llama_vision", False, 8, SR, False, False, "fidelity"),
    "GenSR-s4-P": ("depictqa", False, 4, None, False, False, "perception"),
    "AerSR-s4-P": ("llama_vision", False, 4, None, False, False, "perception"),
    "AerSR-s4-F": ("llama_vision", False, 4, None, False, False, "fidelity"),
    "GenMIR-P": ("depictqa", False, 4, None, False, True, "perception"),
    "ExpSRFR-s4-P": ("llama_vision", False, 4, SR, True, False, "perception"),
    "GenSRFR-s4-P": ("depictqa", False, 4, None, True, False, "perception"),
    "FastGen4K-P": ("llama_vision", True, None, None, True, False, "perception"),
    "OldP4K-P": ("llama_vision", True, None, None, True, False, "perception"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_profile_has_the_values_of_the_paper(name: str) -> None:
    profile = load_profile(name)
    assert (
        profile.perception_agent,
        profile.upscale_4k,
        profile.scale_factor,
        profile.restore_option,
        profile.face_restore,
        profile.brightening == "always",
        profile.restore_preference,
    ) == PUBLISHED[name]
    assert profile.brightening in ("always", "never")


def test_all_later_published_profiles_and_the_default_exist() -> None:
    assert load_profile("FastGen4K-P").fast_4k
    assert load_profile("OldP4K-P").old_photo_restoration
    assert load_profile("default").brightening == "auto"
    own = {"default", "document", "anime", "medical-safe", "aerial", "interactive"}
    assert set(PUBLISHED) | own == set(predefined_profiles())


def test_the_reference_implementation_s_spelling_of_a_name_is_accepted() -> None:
    assert load_profile("FastGen4K_P").name == "FastGen4K-P"


def test_a_user_s_file_may_use_the_published_spelling_of_tasks(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('restore_option = "super-resolution+motion deblurring"\nscale_factor = 2\n')
    profile = load_profile(file)
    assert profile.name == "mine"
    assert profile.restore_option == (Task.SUPER_RESOLUTION, Task.MOTION_DEBLURRING)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("scale_factor = 3", "scale_factor"),
        ("upscale4k = true", "did you mean 'upscale_4k'"),
        ('restore_option = "denoise"', "restore_option"),
        ('plan = ["denoising"]\nrestore_option = "denoising"', "cannot both be given"),
        ("fidelity_weight = 1.5", "fidelity_weight"),
        ("long_side = ", "not TOML"),
    ],
)
def test_a_wrong_key_is_named_with_its_file(tmp_path: Path, toml: str, message: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(toml)
    with pytest.raises(ProfileError, match=r"mine\.toml") as caught:
        load_profile(file)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["Gen4K-Q", "nowhere/mine.toml"])
def test_an_unknown_profile_is_an_error(name: str) -> None:
    with pytest.raises(UnknownProfile):
        load_profile(name)


def test_the_error_for_an_unknown_profile_suggests_a_similar_name() -> None:
    with pytest.raises(UnknownProfile, match="Gen4K-P"):
        load_profile("Gen4K-Q")


def test_the_interactive_profile_has_a_time_limit_and_the_medical_one_a_strict_preference() -> None:
    assert load_profile("interactive").max_seconds == 10
    assert load_profile("medical-safe").strict_preference
