"""Which reasoner a profile gets, and what is said where it is not set up."""

from __future__ import annotations

from typing import Any

import pytest

from agent.reasoners.factory import choose_reasoner
from agent.reasoners.reasoner import RULES
from profiles.schema import Profile
from toolbox.pool import ModelPool

PUBLISHED = ["llama_vision", "depictqa", "gpt4v", "vlmagent"]


def profile(perception_agent: str, **keys: Any) -> Profile:
    return Profile.model_validate({"name": "test", "perception_agent": perception_agent, **keys})


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Without any model."""
    for name in ("LLM_URL", "LLM_MODEL", "LLM_KEY", "LLM_SECONDS", "LLM_PRICE_IN", "LLM_PRICE_OUT", "VLM"):
        monkeypatch.delenv(f"RESTORE4K_{name}", raising=False)
    return monkeypatch


@pytest.mark.parametrize("wanted", ["endpoint", *PUBLISHED])
def test_a_profile_that_asks_for_a_model_gets_the_endpoint(environment: pytest.MonkeyPatch, wanted: str) -> None:
    environment.setenv("RESTORE4K_LLM_URL", "http://localhost:1/v1")
    environment.setenv("RESTORE4K_LLM_MODEL", "some-model")
    reasoner, warning = choose_reasoner(profile(wanted), ModelPool())
    assert (reasoner.name, warning) == ("endpoint", "")
    assert choose_reasoner(profile("rules"), ModelPool()) == (RULES, "")


@pytest.mark.parametrize("wanted", ["local", *PUBLISHED])
def test_a_local_model_takes_the_place_of_a_missing_endpoint(environment: pytest.MonkeyPatch, wanted: str) -> None:
    pytest.importorskip("transformers")
    environment.setenv("RESTORE4K_VLM", "owner/name")
    assert choose_reasoner(profile(wanted), ModelPool())[0].name == "local"


@pytest.mark.parametrize("wanted", ["endpoint", "local", *PUBLISHED])
def test_without_a_model_the_rules_perceive_and_say_what_to_set(environment: pytest.MonkeyPatch, wanted: str) -> None:
    reasoner, warning = choose_reasoner(profile(wanted), ModelPool())
    assert reasoner is RULES
    assert wanted in warning
    assert ("RESTORE4K_LLM_URL" in warning) == (wanted != "local")
    assert ("RESTORE4K_VLM" in warning) == (wanted != "endpoint")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("URL", "localhost:11434"),
        ("URL", "file:///etc/passwd"),
        ("URL", "http://user:secret@host/v1"),
        ("URL", "http://[::1"),
        ("MODEL", " "),
        ("KEY", "sk-secret\nsecond-line"),
        ("KEY", "sk-\tsecret"),
        ("KEY", "sk-secret-\u00fc"),
        ("SECONDS", "soon"),
        ("PRICE_IN", "-1"),
        ("PRICE_OUT", "nan"),
    ],
)
def test_an_invalid_setting_is_reported_without_secrets(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv("RESTORE4K_LLM_URL", "http://localhost:1/v1")
    environment.setenv("RESTORE4K_LLM_MODEL", "some-model")
    environment.setenv(f"RESTORE4K_LLM_{name}", value)
    reasoner, warning = choose_reasoner(profile("endpoint"), ModelPool())
    assert reasoner is RULES
    assert f"RESTORE4K_LLM_{name}" in warning
    assert "secret" not in warning
