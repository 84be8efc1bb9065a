#!/usr/bin/env bash
# Fuzzes every target for SECONDS (60 unless told), on one core each in turn, and fails on a panic, an endless loop or too
# much memory.
#
#     fuzz/run.sh [SECONDS] [TARGET...]
#
# Needs a C++ compiler (libFuzzer) and the stable toolchain: cargo-fuzz is not used, since all that it adds to a build
# without sanitizers are the flags below, and installing it takes longer than a smoke run. Corpora lie in target/fuzz; they
# begin with fuzz/seeds, pipelines/, the phantom study, and pydicom's own small test files where MLPIPE_TEST_PYDICOM names a Python that
# has pydicom. An input that fails is left in target/fuzz/TARGET-found: put it into fuzz/seeds when it is mended.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
targets=("${@:2}")
[ ${#targets[@]} -gt 0 ] || targets=(dicom_read selection_rules pipeline)
work=$PWD/target/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')

export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Coverflow-checks"
# With a target named, build scripts and macros are built without these flags.
cargo build --quiet --release --manifest-path fuzz/Cargo.toml --target-dir "$work/build" --target "$host"

seed() {
  local corpus=$work/$1
  mkdir -p "$corpus" "$work/$1-found"
  case $1 in
    pipeline) find pipelines -name '*.yaml' -exec cp -t "$corpus" {} + ;;
    *) cp fuzz/seeds/"$1"/* "$corpus/" ;;
  esac
  [ "$1" = dicom_read ] || return 0
  find testdata -name '*.dcm' -size -40k | sort | head -n 6 | xargs -r cp -t "$corpus"
  local folder
  folder=$("${MLPIPE_TEST_PYDICOM:-python3}" -c 'import pydicom, os; print(os.path.dirname(pydicom.__file__))' 2>/dev/null) || return 0
  find "$folder/data/test_files" -maxdepth 1 -name '*.dcm' -size -20k | sort | xargs -r cp -t "$corpus"
}

for target in "${targets[@]}"; do
  seed "$target"
  "$work/build/$host/release/$target" "$work/$target" -artifact_prefix="$work/$target-found/" -max_total_time="$seconds" \
    -timeout=10 -rss_limit_mb=1024 -max_len=65536 -print_final_stats=1 -verbosity=0
done
