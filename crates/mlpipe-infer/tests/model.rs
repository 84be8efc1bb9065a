//! Opens and runs a small model whose answers are known by construction, on both backends.

use std::path::{Path, PathBuf};

use mlpipe_infer::{BackendChoice, Error, Model, find_runtime_library};
use ndarray::{Array4, ArrayD};

fn small_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/small")
}

/// The backends that this machine has.
#[expect(clippy::print_stderr, reason = "a skipped check must be visible")]
fn backends() -> Vec<BackendChoice> {
    if find_runtime_library().is_some() {
        return vec![BackendChoice::Rten, BackendChoice::OnnxRuntime];
    }
    eprintln!("skipped on ONNX Runtime: no library was found; set ORT_DYLIB_PATH");
    vec![BackendChoice::Rten]
}

fn open(backend: BackendChoice) -> Model {
    Model::open(&small_model(), backend, 1).expect("the model opens")
}

fn ramp(count: usize) -> ArrayD<f32> {
    let values = (0..count * 16).map(|value| value as f32).collect();
    Array4::from_shape_vec((count, 1, 4, 4), values).expect("the shape fits").into_dyn()
}

/// A copy of the model directory with another ONNX file.
fn broken_model(bytes: &[u8]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    std::fs::copy(small_model().join("MLmodel"), directory.path().join("MLmodel")).expect("MLmodel can be copied");
    std::fs::write(directory.path().join("model.onnx"), bytes).expect("the file can be written");
    directory
}

#[test]
fn outputs_are_those_of_the_graph() {
    for backend in backends() {
        let mut model = open(backend);
        let outputs = model.run(&[("image", ramp(2).view())]).expect("the model runs");
        let sums = outputs.get("sum").expect("there is such an output");
        assert_eq!(sums.shape(), [2, 1, 4, 4]);
        assert_eq!(sums[[0, 0, 0, 0]], 10.0, "0 + 1 + 4 + 5");
        assert_eq!(sums[[0, 0, 1, 1]], 45.0, "nine values around 5");
        assert_eq!(outputs.get("scaled").expect("there is such an output")[[1, 0, 0, 0]], 33.0);
    }
}

#[test]
fn views_that_are_not_contiguous_are_read_in_index_order() {
    for backend in backends() {
        let image = ramp(1);
        let mut mirrored = image.view();
        mirrored.invert_axis(ndarray::Axis(3));
        let outputs = open(backend).run(&[("image", mirrored)]).expect("the model runs");
        assert_eq!(outputs.get("scaled").expect("there is such an output")[[0, 0, 0, 0]], 7.0);
    }
}

#[test]
fn signature_metadata_and_digest_are_told() {
    for backend in backends() {
        let model = open(backend);
        assert_eq!(model.tensors().inputs[0].to_string(), "`image` f32[?, 1, 4, 4]");
        assert_eq!((model.name(), model.version().expect("a version").as_str()), ("neighbourhood_sums", "3"));
        assert_eq!(model.metadata().number("threshold").expect("a number"), 0.5);
        assert_eq!(model.sha256().len(), 64);
        let name = if backend == BackendChoice::Rten { "rten " } else { "onnxruntime " };
        assert!(model.backend().starts_with(name), "{}", model.backend());
        assert!(model.backend().split(' ').nth(1).is_some_and(|version| version.starts_with(['0', '1'])));
    }
}

#[test]
fn the_digest_is_the_sha256_of_the_file() {
    let digest = open(BackendChoice::Rten).sha256().to_owned();
    assert_eq!(digest, include_str!("data/small/model.onnx.sha256").split_whitespace().next().unwrap_or_default());
}

#[test]
fn damaged_files_are_refused_not_crashed_on() {
    let good = std::fs::read(small_model().join("model.onnx")).expect("the model is there");
    for backend in backends() {
        for length in [0, 1, 7, good.len() / 2] {
            let directory = broken_model(&good[..length]);
            let error = Model::open(directory.path(), backend, 1).err();
            assert!(matches!(error, Some(Error::BadModel { .. })), "{backend}, {length} bytes: {error:?}");
        }
        let directory = broken_model(b"<html>not found</html>");
        let error = Model::open(directory.path(), backend, 1).expect_err("it is no model").to_string();
        assert!(error.contains("model.onnx` cannot be used as an ONNX model by"), "{error}");
    }
}

#[test]
fn a_changed_byte_never_crashes_the_program() {
    let good = std::fs::read(small_model().join("model.onnx")).expect("the model is there");
    for backend in backends() {
        for position in 0..good.len() {
            let mut bytes = good.clone();
            bytes[position] ^= 0x55;
            // Some changes are harmless, such as one in a weight; the outcome does not matter, only that there is one.
            if let Ok(mut model) = Model::open(broken_model(&bytes).path(), backend, 1) {
                let _ = model.run(&[("image", ramp(1).view())]);
            }
        }
    }
}

#[test]
fn a_missing_onnx_file_is_named() {
    let directory = broken_model(b"");
    std::fs::remove_file(directory.path().join("model.onnx")).expect("the file can be removed");
    let error = Model::open(directory.path(), BackendChoice::Auto, 1).expect_err("there is no file").to_string();
    assert!(error.starts_with("cannot read `") && error.contains("model.onnx"), "{error}");
}

#[test]
fn outputs_that_do_not_exist_or_are_not_f32_are_refused() {
    for backend in backends() {
        let outputs = open(backend).run(&[("image", ramp(1).view())]).expect("the model runs");
        let missing = outputs.get("heatmap").expect_err("there is none").to_string();
        assert!(missing.contains("has no output `heatmap`; it has: `sum`"), "{missing}");
        let integer = outputs.get("size").expect_err("it is i64").to_string();
        assert!(integer.contains("expected f32"), "{integer}");
        let shape = outputs.get_shaped("sum", &[1, 2]).expect_err("another shape").to_string();
        assert!(shape.contains("f32[1, 1, 4, 4], expected f32[1, 2]"), "{shape}");
    }
}

#[test]
fn wrong_inputs_are_refused_before_they_reach_a_backend() {
    for backend in backends() {
        let mut model = open(backend);
        let wrong_name = model.run(&[("picture", ramp(1).view())]).expect_err("no such input");
        assert!(matches!(wrong_name, Error::InputNames { .. }), "{wrong_name}");
        let flat = ArrayD::<f32>::zeros(vec![16]);
        let wrong_shape = model.run(&[("image", flat.view())]).expect_err("another shape");
        assert!(matches!(wrong_shape, Error::InputShape { .. }), "{wrong_shape}");
    }
}

#[test]
fn runs_repeat_bit_for_bit() {
    for backend in backends() {
        let mut model = Model::open(&small_model(), backend, 2).expect("the model opens");
        let mut run =
            || model.run(&[("image", ramp(3).view())]).expect("it runs").get("sum").expect("a sum").to_owned();
        assert_eq!(run(), run());
    }
}
