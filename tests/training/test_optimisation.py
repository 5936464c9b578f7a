"""The averaged weights and the learning rate that all trainings share."""

from __future__ import annotations

import pytest
import torch

from training.optimisation import LOWEST, averaged_model, cosine_schedule


def test_the_average_follows_weights_that_stay() -> None:
    network = torch.nn.Linear(2, 1)
    average = averaged_model(network, decay=0.9)
    torch.nn.init.constant_(network.weight, 3.0)
    for _ in range(100):
        average.update_parameters(network)
    assert torch.allclose(average.module.weight, network.weight, atol=1e-3)


def test_a_resumed_average_continues_with_its_update_count() -> None:
    network = torch.nn.Linear(1, 1)
    fresh, later = averaged_model(network, decay=0.999), averaged_model(network, decay=0.999, step=1000)
    before = network.weight.item()
    torch.nn.init.constant_(network.weight, before + 1)
    for average in (fresh, later):
        average.update_parameters(network)
    assert fresh.module.weight.item() - before == pytest.approx(9 / 11)
    assert later.module.weight.item() - before == pytest.approx(9 / 1011, rel=1e-2)


@pytest.mark.parametrize("resumed_at", [0, 30, 99])
def test_the_rate_rises_and_falls_with_the_progress_and_not_with_how_often_it_was_resumed(resumed_at: int) -> None:
    def rates(step: int) -> list[float]:
        optimiser = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        schedule = cosine_schedule(optimiser, 0.5, warm_up=10, progress_at=lambda done: done / 100, step=step)
        found = []
        for _ in range(step, 101):
            found.append(optimiser.param_groups[0]["lr"])
            optimiser.step()
            schedule.step()
        return found

    whole = rates(0)
    assert rates(resumed_at) == pytest.approx(whole[resumed_at:])
    assert whole[:10] == sorted(whole[:10])
    assert whole[10:] == sorted(whole[10:], reverse=True)
    assert whole[-1] == pytest.approx(0.5 * LOWEST)
