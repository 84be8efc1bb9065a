//! `mlpipe dicom`: what lies in DICOM folders, and volumes out of it.

use std::path::PathBuf;

use mlpipe_dicom::{VolumesDocument, inspect, write_volume, write_volumes};

use crate::failure::{Exit, Outcome};
use crate::text;

/// Subcommands of `mlpipe dicom`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Show every volume with its plane, geometry and what is wrong with it
    Inspect(InspectArguments),
    /// Write volumes as .npy, f32 [slice, row, column] in modality units
    Volume(VolumeArguments),
}

/// Arguments of `mlpipe dicom inspect`.
#[derive(Debug, clap::Args)]
pub(crate) struct InspectArguments {
    /// Files or folders
    #[arg(required = true)]
    paths: Vec<PathBuf>,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
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

    /// Folder for --all, else the .npy file
    #[arg(short, long)]
    output: PathBuf,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &Command) -> Outcome {
    match command {
        Command::Inspect(arguments) => run_inspect(arguments),
        Command::Volume(arguments) => run_volume(arguments),
    }
}

fn run_inspect(arguments: &InspectArguments) -> Outcome {
    let document = inspect(&arguments.paths)?;
    if arguments.json {
        text::json(&document);
    } else {
        text::line(document.table().trim_end());
    }
    Ok(if document.has_usable_volume() { Exit::Ok } else { Exit::BadInput })
}

fn run_volume(arguments: &VolumeArguments) -> Outcome {
    let document = match &arguments.series {
        Some(series) => write_volume(&arguments.paths, series, arguments.volume, &arguments.output)?,
        None => write_volumes(&arguments.paths, &arguments.output)?,
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
