"""A local model in the published format, with random weights: what it babbles never ends a run."""

from __future__ import annotations

import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import skimage.data

from agent.errors import ModelError
from agent.reasoners.local_vlm import LocalModel
from agent.reasoners.model_reasoner import ModelReasoner, Question
from agent.reasoners.sheet import whole_and_detail
from agent.run import restore_file
from imaging.convert import from_numpy, to_float
from imaging.errors import Cancelled
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.reading import read_image
from imaging.writing import write_image
from profiles.schema import Profile
from toolbox.pool import ModelPool
from toolbox.tasks import Task

pytest.importorskip("transformers")

SIDE, PATCH = 28, 14
TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}"
)
PHOTO = Image(from_numpy(to_float(skimage.data.astronaut()[20:116, 150:278])))
QUESTION = Question("Be brief.", "What is wrong?", whole_and_detail(Image(PHOTO.pixels.repeat(1, 8, 8))), {})


@pytest.fixture(scope="session")
def tiny_llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llava model of 28,000 random weights, with a tokenizer that knows single bytes."""
    import torch
    import transformers as t
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    special = ["<pad>", "<s>", "</s>", "<image>"]
    words = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    vocabulary = {token: number for number, token in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    processor = t.LlavaProcessor(
        image_processor=t.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}),
        tokenizer=t.PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            pad_token="<pad>",
            bos_token="<s>",
            eos_token="</s>",
            additional_special_tokens=["<image>"],
        ),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = t.LlavaConfig(
        vision_config=t.CLIPVisionConfig(image_size=SIDE, patch_size=PATCH, **sizes),
        text_config=t.LlamaConfig(vocab_size=len(words), max_position_embeddings=16_384, **sizes),
        image_token_id=vocabulary["<image>"],
        vision_feature_layer=-1,
    )
    folder = tmp_path_factory.mktemp("models") / "tiny-llava"
    torch.manual_seed(0)
    t.LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def local(tiny_llava: Path) -> LocalModel:
    return LocalModel(str(tiny_llava), ModelPool(), seed=1994)


def test_replies_depend_on_the_seed_alone(local: LocalModel) -> None:
    replies = [replace(local, seed=seed).ask(QUESTION, ProgressToken()) for seed in (1994, 1994, 7)]
    assert replies[0] == replies[1] != replies[2]
    assert replies[0].prompt_tokens > len("Be brief. What is wrong?")
    assert replies[0].completion_tokens > 0
    assert "What is wrong" not in replies[0].text


def test_the_pictures_reach_the_model(local: LocalModel) -> None:
    blind = local.ask(replace(QUESTION, pictures=()), ProgressToken())
    assert len(QUESTION.pictures) == 2
    assert local.ask(QUESTION, ProgressToken()).prompt_tokens == blind.prompt_tokens + 2 * (SIDE // PATCH) ** 2


def test_asking_a_model_does_not_change_the_global_random_state(local: LocalModel) -> None:
    import torch

    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    local.ask(QUESTION, ProgressToken())
    assert torch.equal(torch.rand(3), wanted)


@dataclass
class Heavy:
    """Another model of the pool."""

    weight_bytes: int


def test_a_model_is_loaded_once_and_released_when_experts_need_the_memory(
    local: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = ModelPool(budget_bytes=200_000)
    model = replace(local, pool=pool)
    model.ask(QUESTION, ProgressToken())
    first = pool.hold(pool.loaded()[0], lambda: pytest.fail("is loaded again"))
    model.ask(QUESTION, ProgressToken())
    assert pool.hold(pool.loaded()[0], lambda: pytest.fail("is loaded again")) is first
    assert 50_000 < pool.weight_bytes() < 200_000
    pool.hold("expert", lambda: Heavy(150_000))
    assert pool.loaded() == ("expert",)
    assert model.ask(QUESTION, ProgressToken()).text


def test_nothing_is_fetched_from_anywhere(local: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("something was looked for in the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert local.ask(QUESTION, ProgressToken()).text
    with pytest.raises(ModelError, match="hf download"):
        replace(local, model="nobody/has-this-model").ask(QUESTION, ProgressToken())
    assert "nobody/has-this-model" in replace(local, model="nobody/has-this-model").problem()


def test_an_invalid_model_is_a_model_error(local: LocalModel, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llava", "text_config": 5}')
    for name in (str(tmp_path), str(tmp_path / "nothing"), "../../etc/passwd", ""):
        with pytest.raises(ModelError):
            replace(local, model=name).ask(QUESTION, ProgressToken())
    assert local.problem() == ""


def test_weights_that_are_pickles_are_refused(local: LocalModel, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    for file in Path(local.model).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="safetensors"):
        replace(local, model=str(tmp_path)).ask(QUESTION, ProgressToken())


class GivenUpLater(ProgressToken):
    """Cancelled when it has been looked at a few times."""

    looked = 0

    def check(self) -> None:
        self.looked += 1
        if self.looked == 5:
            self.cancel()
        super().check()


def test_cancellation_is_noticed_between_two_tokens(local: LocalModel) -> None:
    token = GivenUpLater()
    with pytest.raises(Cancelled):
        local.ask(QUESTION, token)
    assert token.looked == 5


def test_cancellation_and_the_time_limit_end_the_generation(local: LocalModel) -> None:
    token = ProgressToken()
    token.cancel()
    with pytest.raises(Cancelled):
        local.ask(QUESTION, token)
    local.ask(QUESTION, ProgressToken())
    with pytest.raises(ModelError, match="no answer within"):
        replace(local, seconds=0.0).ask(QUESTION, ProgressToken())


def test_a_run_with_a_model_that_replies_without_end_succeeds(local: LocalModel, tmp_path: Path) -> None:
    write_image(PHOTO, tmp_path / "photo.png")
    profile = Profile(
        name="test",
        perception_agent="local",
        scale_factor=2,
        restore_option=(Task.DENOISING, Task.DERAINING),
        max_expert_runs=1,
    )
    restoration = restore_file(
        tmp_path / "photo.png",
        tmp_path / "out.png",
        profile,
        runs=tmp_path / "runs",
        reasoner=ModelReasoner("local", local),
    )
    assert read_image(restoration.output).width == 256
    assert restoration.state.perception is not None
    assert restoration.state.perception.by == "rules"
    assert restoration.state.model_use.calls == 2
    assert any("the rules decide" in warning for warning in restoration.state.warnings)
