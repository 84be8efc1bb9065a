#!/bin/sh
# Registers a model that a step of this run has made, and makes an alias name the new version.
# usage: register.sh NAME MODEL_FOLDER ALIAS
set -eu
name=$1 model=$2 alias=$3

# The store of the run that this step belongs to: its output folder lies in the state directory.
cd "${MLPIPE_OUTPUT_DIR%%/.mlpipe/*}"
# .mlpipe/artifacts/EXPERIMENT/RUN/artifacts/model: as a run's artifact the version knows which run made it.
case $model in
  */.mlpipe/artifacts/*/*/artifacts/*)
    below=${model#*/.mlpipe/artifacts/*/}
    source=runs:/${below%%/artifacts/*}/${below#*/artifacts/} ;;
  *) source=$model ;;
esac
mlpipe models register "$name" "$source" --alias "$alias" --tracking-uri local --json > "$MLPIPE_OUTPUT_DIR/version.json"
