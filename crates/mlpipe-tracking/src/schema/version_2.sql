-- The tables, in SQLite's words; `Dialect::definition` makes PostgreSQL's of them.
--
-- A run, an experiment, ... is known to the other tables by a small number in order of creation, so that rows are appended
-- and not scattered as random ids would have them; a key of a param, tag or metric is a number too.
-- params, tags, metrics and latest_metrics do not declare that their run exists: the program looks each run up before
-- it writes, `mlpipe db check` looks for strays, and asking again for each of millions of rows would cost a third of the
-- time.
CREATE TABLE keys (
    key_id INTEGER PRIMARY KEY,
    name   TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE experiments (
    experiment_id     INTEGER PRIMARY KEY,
    name              TEXT NOT NULL UNIQUE,
    artifact_location TEXT NOT NULL,
    lifecycle_stage   TEXT NOT NULL DEFAULT 'active' CHECK (lifecycle_stage IN ('active', 'deleted')),
    creation_time     INTEGER NOT NULL,
    last_update_time  INTEGER NOT NULL
) STRICT;
CREATE TABLE experiment_tags (
    experiment_id INTEGER NOT NULL REFERENCES experiments ON DELETE CASCADE,
    key           TEXT NOT NULL,
    value         TEXT NOT NULL,
    PRIMARY KEY (experiment_id, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE runs (
    run_key         INTEGER PRIMARY KEY,
    run_id          TEXT NOT NULL UNIQUE,
    experiment_id   INTEGER NOT NULL REFERENCES experiments ON DELETE CASCADE,
    name            TEXT NOT NULL,
    user_id         TEXT NOT NULL,
    status          TEXT NOT NULL CHECK (status IN ('RUNNING', 'SCHEDULED', 'FINISHED', 'FAILED', 'KILLED')),
    start_time      INTEGER NOT NULL,
    end_time        INTEGER,
    artifact_uri    TEXT NOT NULL,
    lifecycle_stage TEXT NOT NULL CHECK (lifecycle_stage IN ('active', 'deleted')),
    deleted_time    INTEGER,
    -- Equal to the tag mlflow.parentRunId: runs of nobody, and those of one run, are found in order without a search.
    parent_run_id   TEXT
) STRICT;
-- Each ends with run_key: read backwards they give the newest first, the last created of one millisecond before the
-- others, and new runs are appended.
CREATE INDEX runs_by_start ON runs (start_time, run_key);
CREATE INDEX runs_by_experiment ON runs (experiment_id, start_time, run_key);
CREATE INDEX runs_by_parent ON runs (parent_run_id, start_time, run_key);
CREATE TABLE params (
    run_key INTEGER NOT NULL,
    key_id  INTEGER NOT NULL,
    value   TEXT NOT NULL,
    PRIMARY KEY (run_key, key_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE tags (
    run_key INTEGER NOT NULL,
    key_id  INTEGER NOT NULL,
    value   TEXT NOT NULL,
    PRIMARY KEY (run_key, key_id)
) STRICT, WITHOUT ROWID;
-- SQLite has no NaN: is_nan is 1 and value 0 then. In the order in which histories are read.
CREATE TABLE metrics (
    run_key   INTEGER NOT NULL,
    key_id    INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    step      INTEGER NOT NULL,
    is_nan    INTEGER NOT NULL CHECK (is_nan IN (0, 1)),
    value     REAL NOT NULL,
    PRIMARY KEY (run_key, key_id, timestamp, step, is_nan, value)
) STRICT, WITHOUT ROWID;
CREATE TABLE latest_metrics (
    run_key       INTEGER NOT NULL,
    key_id        INTEGER NOT NULL,
    step          INTEGER NOT NULL,
    timestamp     INTEGER NOT NULL,
    is_nan        INTEGER NOT NULL CHECK (is_nan IN (0, 1)),
    value         REAL NOT NULL,
    -- Repeated from the run, so that the best run of an experiment is at an end of the index.
    experiment_id INTEGER NOT NULL,
    PRIMARY KEY (run_key, key_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX latest_metrics_by_value ON latest_metrics (experiment_id, key_id, is_nan, value, run_key);
CREATE TABLE datasets (
    dataset_key   INTEGER PRIMARY KEY,
    experiment_id INTEGER NOT NULL REFERENCES experiments ON DELETE CASCADE,
    name          TEXT NOT NULL,
    digest        TEXT NOT NULL,
    source_type   TEXT NOT NULL,
    source        TEXT NOT NULL,
    schema        TEXT,
    profile       TEXT,
    UNIQUE (experiment_id, name, digest)
) STRICT;
CREATE TABLE dataset_inputs (
    run_key     INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    dataset_key INTEGER NOT NULL REFERENCES datasets ON DELETE CASCADE,
    PRIMARY KEY (run_key, dataset_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX dataset_inputs_by_dataset ON dataset_inputs (dataset_key, run_key);
CREATE TABLE dataset_input_tags (
    run_key     INTEGER NOT NULL,
    dataset_key INTEGER NOT NULL,
    key         TEXT NOT NULL,
    value       TEXT NOT NULL,
    PRIMARY KEY (run_key, dataset_key, key),
    FOREIGN KEY (run_key, dataset_key) REFERENCES dataset_inputs ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
-- A logged model as an input (direction 0) or an output (direction 1) of a run.
CREATE TABLE run_models (
    run_key   INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    direction INTEGER NOT NULL CHECK (direction IN (0, 1)),
    model_id  TEXT NOT NULL,
    step      INTEGER NOT NULL,
    PRIMARY KEY (run_key, direction, model_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE logged_models (
    model_key              INTEGER PRIMARY KEY,
    model_id               TEXT NOT NULL UNIQUE,
    experiment_id          INTEGER NOT NULL REFERENCES experiments ON DELETE CASCADE,
    name                   TEXT NOT NULL,
    artifact_uri           TEXT NOT NULL,
    creation_timestamp     INTEGER NOT NULL,
    last_updated_timestamp INTEGER NOT NULL,
    status                 TEXT NOT NULL,
    status_message         TEXT,
    model_type             TEXT NOT NULL,
    source_run_id          TEXT,
    lifecycle_stage        TEXT NOT NULL CHECK (lifecycle_stage IN ('active', 'deleted')),
    deleted_time           INTEGER
) STRICT;
CREATE INDEX logged_models_by_experiment ON logged_models (experiment_id, creation_timestamp);
CREATE TABLE logged_model_tags (
    model_key INTEGER NOT NULL REFERENCES logged_models ON DELETE CASCADE,
    key       TEXT NOT NULL,
    value     TEXT NOT NULL,
    PRIMARY KEY (model_key, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE logged_model_params (
    model_key INTEGER NOT NULL REFERENCES logged_models ON DELETE CASCADE,
    key       TEXT NOT NULL,
    value     TEXT NOT NULL,
    PRIMARY KEY (model_key, key)
) STRICT, WITHOUT ROWID;
-- No dataset is the empty name and the empty digest.
CREATE TABLE logged_model_metrics (
    model_key      INTEGER NOT NULL REFERENCES logged_models ON DELETE CASCADE,
    key            TEXT NOT NULL,
    timestamp      INTEGER NOT NULL,
    step           INTEGER NOT NULL,
    run_id         TEXT NOT NULL,
    is_nan         INTEGER NOT NULL CHECK (is_nan IN (0, 1)),
    value          REAL NOT NULL,
    dataset_name   TEXT NOT NULL,
    dataset_digest TEXT NOT NULL,
    PRIMARY KEY (model_key, key, timestamp, step, run_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE registered_models (
    registered_key         INTEGER PRIMARY KEY,
    name                   TEXT NOT NULL UNIQUE,
    creation_timestamp     INTEGER NOT NULL,
    last_updated_timestamp INTEGER NOT NULL,
    description            TEXT,
    -- Numbers of versions are never used twice.
    last_version           INTEGER NOT NULL
) STRICT;
CREATE TABLE registered_model_tags (
    registered_key INTEGER NOT NULL REFERENCES registered_models ON DELETE CASCADE,
    key            TEXT NOT NULL,
    value          TEXT NOT NULL,
    PRIMARY KEY (registered_key, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE model_versions (
    registered_key         INTEGER NOT NULL REFERENCES registered_models ON DELETE CASCADE,
    version                INTEGER NOT NULL,
    creation_timestamp     INTEGER NOT NULL,
    last_updated_timestamp INTEGER NOT NULL,
    current_stage          TEXT NOT NULL CHECK (current_stage IN ('None', 'Staging', 'Production', 'Archived')),
    description            TEXT NOT NULL,
    source                 TEXT NOT NULL,
    storage_location       TEXT NOT NULL,
    run_id                 TEXT NOT NULL,
    run_link               TEXT NOT NULL,
    model_id               TEXT,
    PRIMARY KEY (registered_key, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX model_versions_by_run ON model_versions (run_id);
CREATE INDEX model_versions_by_model ON model_versions (model_id);
CREATE TABLE model_version_tags (
    registered_key INTEGER NOT NULL,
    version        INTEGER NOT NULL,
    key            TEXT NOT NULL,
    value          TEXT NOT NULL,
    PRIMARY KEY (registered_key, version, key),
    FOREIGN KEY (registered_key, version) REFERENCES model_versions ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE TABLE model_aliases (
    registered_key INTEGER NOT NULL,
    alias          TEXT NOT NULL,
    version        INTEGER NOT NULL,
    PRIMARY KEY (registered_key, alias),
    FOREIGN KEY (registered_key, version) REFERENCES model_versions ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
-- What a server keeps beside: webhooks, users, permissions. The text is its own business.
CREATE TABLE documents (
    kind TEXT NOT NULL,
    key  TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
