"""Chooses the reasoner that a profile names, if it is configured."""

from __future__ import annotations

from dataclasses import replace

from agent.errors import ModelError
from agent.reasoners import endpoint, local_vlm
from agent.reasoners.endpoint import Endpoint
from agent.reasoners.local_vlm import LocalModel
from agent.reasoners.model_reasoner import ChatModel, ModelReasoner
from agent.reasoners.reasoner import RULES, Reasoner
from profiles.schema import Profile
from toolbox.pool import ModelPool

HOW_TO_SET = {"endpoint": endpoint.HOW_TO_SET, "local": local_vlm.HOW_TO_SET}
SHARE_OF_TIME = 0.25
"""Share of a profile's `max_seconds` that one question may take; two of them precede the first expert."""


def choose_reasoner(profile: Profile, pool: ModelPool) -> tuple[Reasoner, str]:
    """The reasoner, and a warning if it is not the one that the profile names.

    4KAgent's names (llama_vision, depictqa, gpt4v, vlmagent) stand for the endpoint if it is configured, otherwise
    for the local model. Without either the rules are used.
    """
    wanted = profile.perception_agent
    if wanted == "rules":
        return RULES, ""
    advice = []
    for kind, how_to_set in HOW_TO_SET.items():
        if wanted in HOW_TO_SET and kind != wanted:
            continue
        try:
            if (chat := _chat(kind, profile, pool)) is not None:
                return ModelReasoner(kind, chat), ""
            advice.append(how_to_set)
        except ModelError as error:
            advice.append(str(error))
    return RULES, f"the reasoner {wanted} is not set up here, the built-in rules replace it: {'; or '.join(advice)}"


def _chat(kind: str, profile: Profile, pool: ModelPool) -> ChatModel | None:
    found = Endpoint.from_environment() if kind == "endpoint" else LocalModel.from_environment(pool)
    if found is None:
        return None
    seconds = min(found.seconds, SHARE_OF_TIME * (profile.max_seconds or float("inf")))
    return replace(found, seconds=seconds, seed=profile.perception_seed)
