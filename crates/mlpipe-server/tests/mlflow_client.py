"""What people do with MLflow's client, against the server at the URL given; run by mlflow_client.rs."""

import os
import sys
import tempfile

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "1"

import mlflow
import numpy as np
import onnx
from mlflow import MlflowClient
from onnx import TensorProto, helper
from sklearn.linear_model import LogisticRegression

url = sys.argv[1]
mlflow.set_tracking_uri(url)
client = MlflowClient()
experiment_id = mlflow.create_experiment("client")
mlflow.set_experiment(experiment_id=experiment_id)


def onnx_model():
    """y = x + x"""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "twice", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


with mlflow.start_run(run_name="onnx") as run:
    mlflow.log_params({"lr": 0.1})
    for step in range(5):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    info = mlflow.onnx.log_model(onnx_model(), name="twice", registered_model_name="twice", pip_requirements=["onnxruntime"])
loaded = mlflow.models.get_model_info(info.model_uri)
assert loaded.run_id == run.info.run_id, loaded.run_id
assert set(loaded.flavors) == {"onnx", "python_function"}, loaded.flavors
onnx.checker.check_model(mlflow.onnx.load_model(f"runs:/{run.info.run_id}/twice"))

mlflow.sklearn.autolog()
features = np.array([[0.0, 0], [1, 1], [2, 2], [3, 3]])
with mlflow.start_run(run_name="autolog") as autologged:
    LogisticRegression(C=0.5).fit(features, np.array([0, 0, 1, 1]))
mlflow.sklearn.autolog(disable=True)
data = client.get_run(autologged.info.run_id).data
assert data.params["C"] == "0.5", data.params
assert "training_score" in data.metrics, data.metrics
assert data.tags["estimator_name"] == "LogisticRegression", data.tags
assert client.get_run(autologged.info.run_id).outputs.model_outputs, "autolog logs a model"

frame = mlflow.search_runs([experiment_id], "params.lr = '0.1'", order_by=["metrics.loss ASC"])
assert list(frame["run_id"]) == [run.info.run_id], frame
assert [metric.value for metric in client.get_metric_history(run.info.run_id, "loss")] == [1 / (k + 1) for k in range(5)]

with tempfile.TemporaryDirectory() as folder:
    path = mlflow.artifacts.download_artifacts("models:/twice/1", dst_path=folder)
    assert "MLmodel" in os.listdir(path), os.listdir(path)
    client.log_text(run.info.run_id, "hällo", "notes/ünï.txt")
    text = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/notes/ünï.txt")
    assert text == "hällo", text

# Files above the client's limit go up in parts, a client's own choice of sizes.
os.environ["MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE"] = str(5 << 20)
os.environ["MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE"] = str(5 << 20)
with tempfile.TemporaryDirectory() as folder:
    content = os.urandom(12 << 20)
    with open(os.path.join(folder, "big.bin"), "wb") as file:
        file.write(content)
    client.log_artifact(run.info.run_id, os.path.join(folder, "big.bin"), "large")
    path = client.download_artifacts(run.info.run_id, "large/big.bin", folder)
    assert open(path, "rb").read() == content

client.set_registered_model_alias("twice", "champion", "1")
assert client.get_model_version_by_alias("twice", "champion").run_id == run.info.run_id
client.set_model_version_tag("twice", "1", "reader", "A")
client.transition_model_version_stage("twice", "1", "Production", archive_existing_versions=True)
version = client.get_model_version("twice", "1")
assert (version.current_stage, version.aliases, version.tags["reader"]) == ("Production", ["champion"], "A"), version
assert [v.version for v in client.search_model_versions("name = 'twice'")] in (["1"], [1])
copied = client.copy_model_version("models:/twice@champion", "copy")
assert str(copied.version) == "1", copied
print("ok")
