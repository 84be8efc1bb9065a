"""Writes a trained network as an MLflow model folder: model.onnx and MLmodel.

MLmodel is written as text here so that training needs no MLflow; the fields are those of `mlflow.onnx.save_model`, but for
the time of writing: the same weights give the same files. MODEL_CARD.md beside them is written by hand.
"""
import hashlib
import json
from dataclasses import dataclass

import numpy as np
import torch
import yaml

OPSET = 13
LICENCE = "research use only"
MODEL_VERSION = "2"


@dataclass(frozen=True)
class Contract:
    """What a model promises: tensors as (name, shape with -1 for the batch) and metadata for the pipeline."""

    inputs: list
    outputs: list
    metadata: dict


VERTEBRAE = Contract(
    inputs=[("image", [-1, 1, 384, 384])],
    outputs=[("heatmap", [-1, 2, 96, 96]), ("size", [-1, 2, 96, 96]), ("offset", [-1, 2, 96, 96]),
             ("sacrum", [-1, 1, 96, 96])],
    metadata={
        "task": "vertebra-detection", "version": MODEL_VERSION, "licence": LICENCE,
        "input_spacing_mm": 1.0, "input_percentiles": [1, 99], "canvas": [384, 384], "stride": 4,
        "score_threshold": 0.45,
        "heatmap_channels": ["vertebral body centre", "L5 body centre"],
        "sacrum_channels": ["S1 body centre"],
    })

SCHMORL = Contract(
    inputs=[("patch", [-1, 3, 64, 64])],
    outputs=[("probability", [-1, 1]), ("box", [-1, 4])],
    metadata={
        "task": "schmorl-node-classification", "version": MODEL_VERSION, "licence": LICENCE,
        "input_percentiles": [1, 99], "patch_px": 64, "patch_spacing_mm": 0.75, "slices": 3,
        "threshold": 0.5, "aggregate": "mean_top2",
        "box_format": "centre x, centre y, width, height in patch pixels",
    })


def _tensor_schema(tensors):
    """Returns the JSON text MLflow stores for named float32 tensors."""
    return json.dumps([
        {"name": name, "type": "tensor", "tensor-spec": {"dtype": "float32", "shape": shape}}
        for name, shape in tensors])


def mlmodel(contract, weights):
    """Returns the content of the MLmodel file; `weights` are the bytes of model.onnx."""
    flavours = {
        "onnx": {"code": None, "data": "model.onnx", "onnx_session_options": None,
                 "providers": ["CPUExecutionProvider"]},
        "python_function": {"data": "model.onnx", "loader_module": "mlflow.onnx", "python_version": "3.11.2"},
    }
    return {
        "flavors": flavours,
        "metadata": contract.metadata,
        "mlflow_version": "3.17.2",
        "model_size_bytes": len(weights),
        "model_uuid": hashlib.sha256(weights).hexdigest()[:32],
        "signature": {"inputs": _tensor_schema(contract.inputs), "outputs": _tensor_schema(contract.outputs),
                      "params": None},
    }


def greatest_difference(network, contract, model_file):
    """Returns the largest |torch - ONNX Runtime| over all outputs on random input, or None without ONNX Runtime."""
    try:
        import onnxruntime
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(str(model_file), providers=["CPUExecutionProvider"])
    name, shape = contract.inputs[0]
    example = np.random.default_rng(0).random([2, *shape[1:]], dtype=np.float32)
    with torch.no_grad():
        expected = [output.numpy() for output in network(torch.from_numpy(example))]
    found = session.run([output for output, _ in contract.outputs], {name: example})
    return float(max(np.abs(a - b).max() for a, b in zip(expected, found)))


def write_model(network, contract, folder):
    """Writes the model folder."""
    folder.mkdir(parents=True, exist_ok=True)
    network.eval()
    model_file = folder / "model.onnx"
    name, shape = contract.inputs[0]
    outputs = [output for output, _ in contract.outputs]
    torch.onnx.export(
        network, torch.rand(1, *shape[1:]), str(model_file), opset_version=OPSET, input_names=[name],
        output_names=outputs, dynamic_axes={tensor: {0: "batch"} for tensor in [name, *outputs]})
    weights = model_file.read_bytes()
    (folder / "MLmodel").write_text(yaml.safe_dump(mlmodel(contract, weights), sort_keys=True))
    print(f"wrote {model_file.name}: {len(weights)} bytes; largest difference torch - ONNX Runtime: "
          f"{greatest_difference(network, contract, model_file)}")
