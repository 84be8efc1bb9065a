//! Runs a model on the embedded `rten`: pure Rust, always there, two to four times slower than ONNX Runtime.

use std::path::Path;
use std::sync::Arc;

use ndarray::{ArrayD, ArrayViewD, IxDyn};
use rten::{Dimension, Model, ModelOptions, NodeId, RunOptions, ThreadPool, ValueOrView, ValueType, ValueView};
use rten_tensor::prelude::*;
use rten_tensor::{Tensor, TensorView};

use crate::signature::{TensorSignature, Tensors};

/// Name and version of the embedded runtime; the version is that of the workspace's dependency.
pub const NAME: &str = "rten 0.27.0";

/// An `rten` model; messages of its errors are rten's.
pub(crate) struct RtenSession {
    model: Model,
    pool: Arc<ThreadPool>,
    pub(crate) tensors: Tensors,
}

impl RtenSession {
    /// Loads an ONNX file for `threads` threads.
    pub(crate) fn open(path: &Path, threads: usize) -> Result<RtenSession, String> {
        let mut options = ModelOptions::with_all_ops();
        options.prepack_weights(true);
        let model = options.load_file(path).map_err(|error| error.to_string())?;
        let list = |nodes: &[NodeId]| nodes.iter().map(|node| signature(&model, *node)).collect();
        let tensors = Tensors { inputs: list(model.input_ids()), outputs: list(model.output_ids()) };
        if tensors.outputs.is_empty() {
            return Err("it has no graph".to_owned());
        }
        Ok(RtenSession { model, pool: Arc::new(ThreadPool::with_num_threads(threads)), tensors })
    }

    /// Runs the model on checked inputs; returns its `f32` outputs.
    pub(crate) fn run(&self, inputs: &[(&str, ArrayViewD<'_, f32>)]) -> Result<Vec<(String, ArrayD<f32>)>, String> {
        let arrays: Vec<_> = inputs.iter().map(|(_, array)| array.as_standard_layout()).collect();
        let mut values: Vec<(NodeId, ValueOrView<'_>)> = Vec::with_capacity(inputs.len());
        for ((name, _), array) in inputs.iter().zip(&arrays) {
            let data = array.as_slice().ok_or("an input is not contiguous")?;
            let view = TensorView::try_from_data(array.shape(), data).map_err(|error| error.to_string())?;
            values.push((self.model.node_id(name).map_err(|error| error.to_string())?, ValueView::from(view).into()));
        }
        let options = RunOptions::default().with_thread_pool(Some(self.pool.clone()));
        let outputs =
            self.model.run(values, self.model.output_ids(), Some(options)).map_err(|error| error.to_string())?;
        let names = self.tensors.outputs.iter().map(|output| output.name.clone());
        names.zip(outputs).filter_map(|(name, value)| Some((name, value.into_tensor::<f32>()?))).map(to_array).collect()
    }
}

fn to_array((name, tensor): (String, Tensor<f32>)) -> Result<(String, ArrayD<f32>), String> {
    let shape = tensor.shape().to_vec();
    let array = ArrayD::from_shape_vec(IxDyn(&shape), tensor.into_data()).map_err(|error| error.to_string())?;
    Ok((name, array))
}

fn signature(model: &Model, node: NodeId) -> TensorSignature {
    let info = model.node_info(node);
    let size = |dimension: Dimension| match dimension {
        Dimension::Fixed(size) => Some(size),
        Dimension::Symbolic(_) => None,
    };
    TensorSignature {
        name: info.as_ref().and_then(|info| info.name()).unwrap_or_default().to_owned(),
        dtype: info.as_ref().and_then(|info| info.dtype()).map(type_name),
        shape: info.and_then(|info| info.shape()).unwrap_or_default().into_iter().map(size).collect(),
    }
}

fn type_name(dtype: ValueType) -> String {
    match dtype {
        ValueType::Tensor(element) => element.to_string(),
        other => other.to_string(),
    }
}
