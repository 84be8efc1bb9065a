#!/usr/bin/env python3
"""Writes two tiny networks that keep the contracts of the real ones and whose answers can be told by hand.

spot_detector          a bright pixel of value v is a body of 32 x 26 mm with score v, centred on its 4 x 4 cell;
                       the mark of L5 is 2 (v - 0.55), so only values above 0.8 are marked
brightness_classifier  probability = mean of the middle slice of the patch; box = centre (31.5, 39.5), 12 x 4 patch px
"""
import pathlib

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).parent


def save(folder, nodes, constants, inputs, outputs):
    """Writes HERE/folder/model.onnx; `constants` {name: values}, `inputs` and `outputs` {name: shape}."""
    info = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    stored = [numpy_helper.from_array(numpy.array(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, folder, [info(*i) for i in inputs.items()], [info(*o) for o in outputs.items()], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8, producer_name="mlpipe")
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, HERE / folder / "model.onnx")


def f32(values):
    """Returns values as float32."""
    return numpy.array(values, dtype="float32")


node = helper.make_node
maps = ["N", 2, 96, 96]
save("spot_detector", [
    node("MaxPool", ["image"], ["score"], kernel_shape=[4, 4], strides=[4, 4]),
    node("Sub", ["score", "level"], ["above"]),
    node("Mul", ["above", "two"], ["doubled"]),
    node("Relu", ["doubled"], ["l5"]),
    node("Concat", ["score", "l5"], ["heatmap"], axis=1),
    node("Mul", ["heatmap", "zero"], ["offset"]),
    node("Add", ["offset", "body"], ["size"]),
], {"level": f32([0.55]), "two": f32([2]), "zero": f32([0]), "body": f32([32, 26]).reshape(1, 2, 1, 1)},
    {"image": ["N", 1, 384, 384]}, {"heatmap": maps, "size": maps, "offset": maps})

save("brightness_classifier", [
    node("Gather", ["patch", "middle"], ["slice"], axis=1),
    node("ReduceMean", ["slice"], ["mean"], axes=[2, 3], keepdims=0),
    node("Identity", ["mean"], ["probability"]),
    node("Mul", ["mean", "zero"], ["nothing"]),
    node("Add", ["nothing", "node"], ["box"]),
], {"middle": numpy.array([1], dtype="int64"), "zero": f32([0]), "node": f32([[31.5, 39.5, 12, 4]])},
    {"patch": ["N", 3, 64, 64]}, {"probability": ["N", 1], "box": ["N", 4]})
