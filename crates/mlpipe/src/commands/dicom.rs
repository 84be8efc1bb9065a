//! `mlpipe dicom`: what lies in DICOM folders, and volumes out of it.

use std::path::PathBuf;

use mlpipe_dicom::{
    InspectDocument, Limits, VolumesDocument, inspect, scan_within, series_table, write_volume, write_volumes,
};

use super::deid;
use crate::failure::{Exit, Outcome};
use crate::text;

/// Subcommands of `mlpipe dicom`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Show every volume with its plane, geometry and what is wrong with it
    Inspect(InspectArguments),
    /// List the series, one line each
    Ls(LsArguments),
    /// Write volumes as .npy, f32 [slice, row, column] in modality units, or one as NIfTI
    Volume(VolumeArguments),
    /// Write the files without who the patient is (DICOM PS3.15 Annex E)
    Deid(deid::Arguments),
}

/// Arguments of `mlpipe dicom inspect`.
#[derive(Debug, clap::Args)]
pub(crate) struct InspectArguments {
    /// Files or folders
    #[arg(required = true)]
    paths: Vec<PathBuf>,

    /// Most memory a volume or an inflated file may take, such as 4GiB
    #[arg(long, value_name = "SIZE", default_value = "1GiB", env = "MLPIPE_MAX_MEMORY")]
    max_memory: Limits,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// Arguments of `mlpipe dicom ls`.
#[derive(Debug, clap::Args)]
pub(crate) struct LsArguments {
    /// Files or folders
    #[arg(required = true)]
    paths: Vec<PathBuf>,

    /// Most memory a volume or an inflated file may take, such as 4GiB
    #[arg(long, value_name = "SIZE", default_value = "1GiB", env = "MLPIPE_MAX_MEMORY")]
    max_memory: Limits,
}

/// Arguments of `mlpipe dicom volume`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["all", "series"])))]
pub(crate) struct VolumeArguments {
    /// Files or folders
    #[arg(required = true)]
    paths: Vec<PathBuf>,

    /// Every volume that can be used
    #[arg(long)]
    all: bool,

    /// SeriesInstanceUID of the one series wanted
    #[arg(long, value_name = "UID")]
    series: Option<String>,

    /// Which volume of the series, when it gives several
    #[arg(long, requires = "series")]
    volume: Option<usize>,

    /// Folder for --all, else the .npy, .nii or .nii.gz file
    #[arg(short, long)]
    output: PathBuf,

    /// Most memory a volume or an inflated file may take, such as 4GiB
    #[arg(long, value_name = "SIZE", default_value = "1GiB", env = "MLPIPE_MAX_MEMORY")]
    max_memory: Limits,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &Command) -> Outcome {
    match command {
        Command::Inspect(arguments) => run_inspect(arguments),
        Command::Ls(arguments) => run_ls(arguments),
        Command::Volume(arguments) => run_volume(arguments),
        Command::Deid(arguments) => deid::run(arguments),
    }
}

fn run_inspect(arguments: &InspectArguments) -> Outcome {
    let document = inspect(&arguments.paths, arguments.max_memory)?;
    if arguments.json {
        text::json(&document);
    } else {
        text::line(document.table().trim_end());
    }
    Ok(if document.has_usable_volume() { Exit::Ok } else { Exit::BadInput })
}

fn run_ls(arguments: &LsArguments) -> Outcome {
    let scan = scan_within(&arguments.paths, arguments.max_memory)?;
    text::line(series_table(&scan).trim_end());
    for file in &scan.rejected_files {
        text::error_line(&format!("refused {}: {}", file.path.display(), file.message));
    }
    Ok(if InspectDocument::of(&scan).has_usable_volume() { Exit::Ok } else { Exit::BadInput })
}

fn run_volume(arguments: &VolumeArguments) -> Outcome {
    let document = match &arguments.series {
        Some(series) => {
            write_volume(&arguments.paths, series, arguments.volume, &arguments.output, arguments.max_memory)?
        }
        None => write_volumes(&arguments.paths, &arguments.output, arguments.max_memory)?,
    };
    if arguments.json {
        text::json(&document);
    } else {
        print(&document);
    }
    let nothing = document.volumes.is_empty();
    Ok(if document.refused.is_empty() && !nothing { Exit::Ok } else { Exit::BadInput })
}

fn print(document: &VolumesDocument) {
    for written in &document.volumes {
        text::line(&written.path.display().to_string());
    }
    for refused in &document.refused {
        text::error_line(&format!(
            "refused {}, volume {}: {}",
            refused.series_instance_uid, refused.volume, refused.message
        ));
    }
    for file in &document.rejected_files {
        text::error_line(&format!("refused {}: {}", file.path.display(), file.message));
    }
    if document.volumes.is_empty() && document.refused.is_empty() && document.rejected_files.is_empty() {
        text::error_line("error: no DICOM files found");
    }
}
