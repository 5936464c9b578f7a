"""ONNX graphs that return a picture as it is, except where it is dark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
COUNTS = {"loops": 2**62, "works for days in one operation": 5_000_000, "grows": 2**36, "returns no pixels": 0}
"""What they do in the dark, and how often, or with how many numbers."""
BRIGHT_COUNTS = {"returns no pixels": 10_000}


def write_hostile_graph(file: Path, kind: str) -> None:
    """Write such a graph, which is of scale 1."""
    constants: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]] = {
        "dark_below": np.array(0.1, np.float32),
        "dark_count": np.array([COUNTS[kind]], np.int64),
        "bright_count": np.array([BRIGHT_COUNTS.get(kind, 1)], np.int64),
        "nothing": np.zeros(1, np.float32),
        "true": np.array(True),
        "box": np.array([[[0, 0, 1, 1]]], np.float32),
        "score": np.ones((1, 1, 1), np.float32),
        "one": np.array([1], np.int64),
        "four": np.array([4], np.int64),
        "most": np.array([2**31 - 1], np.int64),
        "overlap": np.array([1], np.float32),
        "start": np.array([0], np.int64),
        "height": np.array([2], np.int64),
    }
    nodes = [
        make_node("ReduceMean", ["picture"], ["mean"], keepdims=0),
        make_node("Less", ["mean", "dark_below"], ["is_dark"]),
        make_node("Where", ["is_dark", "dark_count", "bright_count"], ["count"]),
        *_NODES[kind](),
    ]
    graph = make_graph(
        nodes,
        "hostile",
        [make_tensor_value_info("picture", FLOAT, [1, 3, "h", "w"])],
        [make_tensor_value_info("result", FLOAT, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(make_model(graph, opset_imports=[make_opsetid("", 17)], ir_version=8), file)


def _loop() -> list[NodeProto]:
    body = make_graph(
        [make_node("Identity", ["goes_on"], ["still"]), make_node("Add", ["now", "nothing"], ["next"])],
        "body",
        [
            make_tensor_value_info("number", INT64, []),
            make_tensor_value_info("goes_on", BOOL, []),
            make_tensor_value_info("now", FLOAT, None),
        ],
        [make_tensor_value_info("still", BOOL, []), make_tensor_value_info("next", FLOAT, None)],
    )
    return [make_node("Loop", ["count", "true", "picture"], ["result"], body=body)]


def _one_operation() -> list[NodeProto]:
    """Suppression of boxes that overlap, none of which is suppressed: quadratic time, and little memory."""
    return [
        make_node("Concat", ["one", "count", "four"], ["boxes_shape"], axis=0),
        make_node("Concat", ["one", "one", "count"], ["scores_shape"], axis=0),
        make_node("Expand", ["box", "boxes_shape"], ["boxes"]),
        make_node("Expand", ["score", "scores_shape"], ["scores"]),
        make_node("NonMaxSuppression", ["boxes", "scores", "most", "overlap"], ["kept"]),
        make_node("Cast", ["kept"], ["numbers"], to=FLOAT),
        *_add_nothing_of("numbers"),
    ]


def _growth() -> list[NodeProto]:
    return [make_node("ConstantOfShape", ["count"], ["numbers"]), *_add_nothing_of("numbers")]


def _no_pixels() -> list[NodeProto]:
    return [make_node("Slice", ["picture", "start", "count", "height"], ["result"])]


def _add_nothing_of(numbers: str) -> list[NodeProto]:
    return [
        make_node("ReduceMax", [numbers], ["largest"], keepdims=0),
        make_node("Mul", ["largest", "nothing"], ["zero"]),
        make_node("Add", ["picture", "zero"], ["result"]),
    ]


_NODES = {
    "loops": _loop,
    "works for days in one operation": _one_operation,
    "grows": _growth,
    "returns no pixels": _no_pixels,
}
