#!/usr/bin/env python3
"""Times the main job against a plain Python script that does the same work (plain.py), in turns, in one session.

    run.py --python PYTHON [--mlpipe target/release/mlpipe] [--studies ../shared/data/spine_dicom_dev] [--repeat 5]

PYTHON has mlflow, onnxruntime, pydicom, pillow and numpy; mlpipe uses the same ONNX Runtime library. Prints medians of wall
and CPU time (user + system of the whole process tree) and peak memory of the largest process. Every cold run starts without a
state directory; the plain script has run once before, so that its byte code is compiled. Standard library only.
"""
import argparse
import glob
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def measure(command, cwd, environment):
    """wall seconds, CPU seconds of the process tree, peak MiB of its largest process"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wall = time.perf_counter() - start
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return wall, cpu, after.ru_maxrss / 1024


def sagittal_series(studies):
    return sorted(str(path) for path in pathlib.Path(studies).resolve().glob("*/sag"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True)
    parser.add_argument("--mlpipe", default=REPOSITORY / "target/release/mlpipe")
    parser.add_argument("--studies", default=REPOSITORY.parent / "shared/data/spine_dicom_dev")
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    mlpipe, studies = str(pathlib.Path(arguments.mlpipe).resolve()), str(pathlib.Path(arguments.studies).resolve())
    series = sagittal_series(studies)
    site = subprocess.run([arguments.python, "-c", "import onnxruntime; print(onnxruntime.__path__[0])"], capture_output=True, text=True, check=True)
    library = glob.glob(os.path.join(site.stdout.strip(), "capi", "libonnxruntime.so*"))[0]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | {"ORT_DYLIB_PATH": library}
    models = [str(REPOSITORY / "projects" / name / "model/model.onnx") for name in ("vertebrae", "schmorl")]
    pipeline = str(REPOSITORY / "pipelines/schmorl.yaml")
    plain = [arguments.python, str(pathlib.Path(__file__).with_name("plain.py")), *models]
    run = [mlpipe, "run", pipeline, "-P", f"studies={studies}"]

    with tempfile.TemporaryDirectory() as place:
        state = os.path.join(place, ".mlpipe")
        one = os.path.join(place, "one")
        shutil.copytree(series[0], os.path.join(one, "study"))
        single = [mlpipe, "run", pipeline, "-P", f"studies={one}"]
        forget = lambda: shutil.rmtree(state, ignore_errors=True)
        out = lambda: tempfile.mkdtemp(dir=place)
        cases = {
            f"plain script, {len(series)} series, cold": lambda: measure([*plain, out(), *series], place, environment),
            f"mlpipe run, {len(series)} series, cold": lambda: (forget(), measure(run, place, environment))[1],
            f"mlpipe run, {len(series)} series, again": lambda: measure(run, place, environment),
            "plain script, 1 series, cold": lambda: measure([*plain, out(), series[0]], place, environment),
            "mlpipe run, 1 series, cold": lambda: (forget(), measure(single, place, environment))[1],
            "mlpipe run, 1 series, again": lambda: measure(single, place, environment),
            "mlpipe plan, 1 series": lambda: measure([mlpipe, "plan", pipeline, "-P", f"studies={one}"], place, environment),
            "mlpipe --version": lambda: measure([mlpipe, "--version"], place, environment),
        }
        measure([*plain, out(), series[0]], place, environment)
        seen = {name: [] for name in cases}
        for _ in range(arguments.repeat):
            for name, case in cases.items():
                seen[name].append(case())
        print(f"{len(series)} series, {arguments.repeat} repetitions, medians\n")
        print(f"{'':38}{'wall s':>9}{'CPU s':>9}")
        medians = {}
        for name, values in seen.items():
            medians[name] = [statistics.median(column) for column in zip(*values)]
            print(f"{name:38}{medians[name][0]:9.3f}{medians[name][1]:9.3f}")
        for count in (f"{len(series)} series", "1 series"):
            ours, theirs = medians[f"mlpipe run, {count}, cold"], medians[f"plain script, {count}, cold"]
            print(f"\n{count}, cold: mlpipe takes {ours[0] / theirs[0]:.2f} of the plain script's wall time and {ours[1] / theirs[1]:.2f} of its CPU time", end="")
        print()


if __name__ == "__main__":
    main()
