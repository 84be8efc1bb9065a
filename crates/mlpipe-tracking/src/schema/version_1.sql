-- Never changed: stores of this version exist. See version_2.sql for what the tables mean.
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
    user_id         TEXT,
    status          TEXT NOT NULL CHECK (status IN ('RUNNING', 'SCHEDULED', 'FINISHED', 'FAILED', 'KILLED')),
    start_time      INTEGER NOT NULL,
    end_time        INTEGER,
    artifact_uri    TEXT NOT NULL,
    lifecycle_stage TEXT NOT NULL DEFAULT 'active' CHECK (lifecycle_stage IN ('active', 'deleted')),
    deleted_time    INTEGER,
    -- Equal to the tag mlflow.parentRunId: runs of nobody, and those of one run, are found in order without a search.
    parent_run_id   TEXT
) STRICT;
-- Each ends with run_key, as every index does: read backwards they give the newest first, the last created of one
-- millisecond before the others, and new runs are appended.
CREATE INDEX runs_by_start ON runs (start_time);
CREATE INDEX runs_by_experiment ON runs (experiment_id, start_time);
CREATE INDEX runs_by_parent ON runs (parent_run_id, start_time);
CREATE TABLE params (
    run_key INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    key     TEXT NOT NULL,
    value   TEXT NOT NULL,
    PRIMARY KEY (run_key, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE tags (
    run_key INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    key     TEXT NOT NULL,
    value   TEXT NOT NULL,
    PRIMARY KEY (run_key, key)
) STRICT, WITHOUT ROWID;
-- SQLite has no NaN: is_nan is 1 and value 0 then.
CREATE TABLE metrics (
    run_key   INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    key       TEXT NOT NULL,
    step      INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    is_nan    INTEGER NOT NULL DEFAULT 0 CHECK (is_nan IN (0, 1)),
    value     REAL NOT NULL,
    PRIMARY KEY (run_key, key, step, timestamp, is_nan, value)
) STRICT, WITHOUT ROWID;
CREATE TABLE latest_metrics (
    run_key   INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    key       TEXT NOT NULL,
    step      INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    is_nan    INTEGER NOT NULL DEFAULT 0 CHECK (is_nan IN (0, 1)),
    value     REAL NOT NULL,
    PRIMARY KEY (run_key, key)
) STRICT, WITHOUT ROWID;
