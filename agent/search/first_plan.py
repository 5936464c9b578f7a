"""The beginning of a search: perception of the input, and the plan from it."""

from __future__ import annotations

from collections.abc import Callable

from agent.expert_choice import unavailable_experts
from agent.perception import perceive
from agent.planning import plan
from agent.reasoners.reasoner import Reasoner
from agent.search.search_state import SearchState


def perceive_and_plan(
    search: SearchState, reasoner: Reasoner, perceived: Callable[[], object] = lambda: None
) -> None:
    """Perceive the input, unless that was done before, and plan its restoration; both go to the state.

    `perceived` is called between the two. Raises `PlanError`.
    """
    profile, size = search.state.profile, search.state.final_size
    if search.state.perception is None:
        with search.timer.section("perception"):
            perception = perceive(search.image, reasoner, search.features)
        search.change(perception=perception)
        perceived()
    with search.timer.section("planning"):
        planned = plan(search.perception, profile, search.experts.catalogue, reasoner)
        warnings = (*planned.warnings, *unavailable_experts(planned.steps, profile, search.experts))
    final = {"final_width": size[0], "final_height": size[1]} if size else {}
    search.change(plan=planned.model_copy(update={"warnings": warnings, **final}))
    begun = {"remaining_steps": planned.steps, "score": search.perception.quality}
    search.put(search.node.model_copy(update=begun))
