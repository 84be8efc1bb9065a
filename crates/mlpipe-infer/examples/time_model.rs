//! Times a model on both backends: `cargo run -p mlpipe-infer --example time_model -- MODEL_DIRECTORY [BATCH...]`.
//!
//! Prints milliseconds per item of the batch (best of five) for one session on one thread, one session on two threads,
//! and two sessions on one thread each. Free axes after the batch are not supported.

#![expect(clippy::print_stdout, reason = "a program whose output is its result")]

use std::path::Path;
use std::time::Instant;

use mlpipe_infer::{BackendChoice, Error, Model};
use ndarray::{ArrayD, Dimension};

const ROUNDS: usize = 5;

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().unwrap_or_default();
    let mut batches: Vec<usize> = arguments.filter_map(|text| text.parse().ok()).collect();
    if batches.is_empty() {
        batches = vec![1, 4, 16];
    }
    for backend in [BackendChoice::OnnxRuntime, BackendChoice::Rten] {
        let path = Path::new(&directory);
        let mut one = Model::open(path, backend, 1)?;
        let mut two = Model::open(path, backend, 2)?;
        let mut other = Model::open(path, backend, 1)?;
        for batch in &batches {
            let input = example_input(&one, *batch);
            let alone = best(|| run(&mut one, &input), *batch)?;
            let threads = best(|| run(&mut two, &input), *batch)?;
            let sessions = best(|| side_by_side(&mut one, &mut other, &input), 2 * batch)?;
            println!(
                "{:20} batch {batch:3}: {alone:7.2} ms on one thread, {threads:7.2} ms on two, {sessions:7.2} ms in two sessions",
                one.backend()
            );
        }
    }
    Ok(())
}

fn example_input(model: &Model, batch: usize) -> ArrayD<f32> {
    let signature = &model.tensors().inputs[0];
    let shape: Vec<usize> = signature.shape.iter().map(|size| size.unwrap_or(batch)).collect();
    ArrayD::from_shape_fn(shape, |index| ((index[0] + 7 * index.as_array_view().sum()) % 101) as f32 / 100.0)
}

fn run(model: &mut Model, input: &ArrayD<f32>) -> Result<(), Error> {
    let name = model.tensors().inputs[0].name.clone();
    model.run(&[(&name, input.view())]).map(|_| ())
}

fn side_by_side(one: &mut Model, other: &mut Model, input: &ArrayD<f32>) -> Result<(), Error> {
    std::thread::scope(|scope| {
        let beside = scope.spawn(|| run(other, input));
        run(one, input)?;
        beside.join().expect("running a model does not panic")
    })
}

/// Milliseconds per item of the fastest round; the first round, which warms up, does not count.
fn best(mut round: impl FnMut() -> Result<(), Error>, items: usize) -> Result<f64, Error> {
    round()?;
    let mut fastest = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        round()?;
        fastest = fastest.min(start.elapsed().as_secs_f64() * 1000.0 / items as f64);
    }
    Ok(fastest)
}
