//! Names of the tags that have a meaning: MLflow's, which its clients and its UI read, and ours.

/// The run that this one is a part of.
pub const PARENT_RUN_ID: &str = "mlflow.parentRunId";
/// The name of the run; the store keeps it equal to [`crate::Run::name`].
pub const RUN_NAME: &str = "mlflow.runName";
/// What the run executes: a project directory, a pipeline file.
pub const SOURCE_NAME: &str = "mlflow.source.name";
/// The kind of source: `PROJECT`, `LOCAL`, `JOB`, `NOTEBOOK`.
pub const SOURCE_TYPE: &str = "mlflow.source.type";
/// The commit of the source.
pub const SOURCE_GIT_COMMIT: &str = "mlflow.source.git.commit";
/// The entry point of the project.
pub const PROJECT_ENTRY_POINT: &str = "mlflow.project.entryPoint";
/// Where the project was executed: `local`, `slurm`, `kubernetes`.
pub const PROJECT_BACKEND: &str = "mlflow.project.backend";
/// The account that started the run.
pub const USER: &str = "mlflow.user";

/// What the names of our own tags begin with.
pub const MLPIPE_PREFIX: &str = "mlpipe.";
/// The name of the pipeline.
pub const PIPELINE: &str = "mlpipe.pipeline";
/// The name of the step within its pipeline.
pub const STEP: &str = "mlpipe.step";
/// The key of the item that a run of a fan-out step works on.
pub const ITEM: &str = "mlpipe.item";
/// The fingerprint of the step, 64 hexadecimal digits.
pub const FINGERPRINT: &str = "mlpipe.fingerprint";
/// The run whose outputs were reused.
pub const CACHED_FROM: &str = "mlpipe.cached_from";
/// Why the step ran.
pub const REASON: &str = "mlpipe.reason";
/// How many attempts were made.
pub const ATTEMPTS: &str = "mlpipe.attempts";
/// The id that a run has in the store that it was first recorded in; on the runs that are sent to a tracking server.
pub const LOCAL_RUN_ID: &str = "mlpipe.run_id";
/// On a run that was copied to a server: its status and end when it was, so that it is not copied again.
pub const EXPORTED: &str = "mlpipe.exported";
/// The same on a run that was copied from a server.
pub const IMPORTED: &str = "mlpipe.imported";
/// On a version of a model that was copied: its number where it comes from.
pub const ORIGIN_VERSION: &str = "mlpipe.origin_version";
