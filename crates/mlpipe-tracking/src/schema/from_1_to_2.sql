-- Fills the tables of version 2 from those of version 1, which are called old_... by then.
INSERT INTO keys (name)
    SELECT key FROM old_params UNION SELECT key FROM old_tags UNION SELECT key FROM old_metrics;
INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time)
    SELECT experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time
    FROM old_experiments;
INSERT INTO experiment_tags (experiment_id, key, value) SELECT experiment_id, key, value FROM old_experiment_tags;
INSERT INTO runs (run_key, run_id, experiment_id, name, user_id, status, start_time, end_time, artifact_uri,
                  lifecycle_stage, deleted_time, parent_run_id)
    SELECT run_key, run_id, experiment_id, name, coalesce(user_id, ''), status, start_time, end_time, artifact_uri,
           lifecycle_stage, deleted_time, parent_run_id
    FROM old_runs ORDER BY run_key;
INSERT INTO params (run_key, key_id, value)
    SELECT run_key, key_id, value FROM old_params JOIN keys ON keys.name = key ORDER BY run_key, key_id;
INSERT INTO tags (run_key, key_id, value)
    SELECT run_key, key_id, value FROM old_tags JOIN keys ON keys.name = key ORDER BY run_key, key_id;
INSERT INTO metrics (run_key, key_id, timestamp, step, is_nan, value)
    SELECT run_key, key_id, timestamp, step, is_nan, value FROM old_metrics JOIN keys ON keys.name = key
    ORDER BY run_key, key_id, timestamp, step;
INSERT INTO latest_metrics (run_key, key_id, step, timestamp, is_nan, value, experiment_id)
    SELECT run_key, key_id, step, timestamp, is_nan, value, experiment_id
    FROM old_latest_metrics JOIN keys ON keys.name = old_latest_metrics.key
    JOIN old_runs USING (run_key) ORDER BY run_key, key_id;
DROP TABLE old_latest_metrics;
DROP TABLE old_metrics;
DROP TABLE old_tags;
DROP TABLE old_params;
DROP TABLE old_runs;
DROP TABLE old_experiment_tags;
DROP TABLE old_experiments;
