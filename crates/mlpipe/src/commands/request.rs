//! What `run` and `plan` have in common: the pipeline, its parameters and its inputs.

use std::path::PathBuf;

use mlpipe_spec::{LoadOptions, Pipeline, load_pipeline};

use crate::failure::Failure;
use crate::sources::COLLECTIONS;

/// A pipeline and its parameters on the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct PipelineArguments {
    /// The pipeline file
    pipeline: PathBuf,

    /// Set a parameter of the pipeline; may be given several times
    #[arg(short = 'P', long = "param", value_name = "NAME=VALUE", value_parser = parse_override)]
    params: Vec<(String, String)>,

    /// Cores that steps may use together [default: all]
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) jobs: Option<u32>,
}

impl PipelineArguments {
    /// Reads and checks the pipeline.
    pub(crate) fn load(&self) -> Result<Pipeline, Failure> {
        let options = LoadOptions { overrides: &self.params, collections: COLLECTIONS };
        Ok(load_pipeline(&self.pipeline, &options)?)
    }
}

fn parse_override(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.to_owned()))
}
