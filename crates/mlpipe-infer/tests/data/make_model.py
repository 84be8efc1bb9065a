#!/usr/bin/env python3
"""Writes small/model.onnx: `image` f32 [N, 1, 4, 4] -> `sum` (3x3 neighbourhood sums), `scaled` (2 x + 1), `size` (i64 shape)."""
import pathlib

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

nodes = [
    helper.make_node("Conv", ["image", "ones"], ["sum"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    helper.make_node("Mul", ["image", "two"], ["doubled"]),
    helper.make_node("Add", ["doubled", "one"], ["scaled"]),
    helper.make_node("Shape", ["image"], ["size"]),
]
constants = {"ones": numpy.ones((1, 1, 3, 3)), "two": numpy.full(1, 2), "one": numpy.ones(1)}
image = ["N", 1, 4, 4]
graph = helper.make_graph(
    nodes,
    "small",
    [helper.make_tensor_value_info("image", TensorProto.FLOAT, image)],
    [
        helper.make_tensor_value_info("sum", TensorProto.FLOAT, image),
        helper.make_tensor_value_info("scaled", TensorProto.FLOAT, image),
        helper.make_tensor_value_info("size", TensorProto.INT64, [4]),
    ],
    [numpy_helper.from_array(value.astype("float32"), name) for name, value in constants.items()],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="mlpipe")
onnx.checker.check_model(model, full_check=True)
onnx.save(model, pathlib.Path(__file__).parent / "small" / "model.onnx")
