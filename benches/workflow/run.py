#!/usr/bin/env python3
"""Overhead of workflow engines on trivial steps, side by side: what a step costs beyond the process it starts.

    run.py [--mlpipe target/release/mlpipe] [--chain 100] [--fan 1000] [--repeat 3] [--large 1000,10000,100000]
           [--tools make,mlpipe,...] [--snakemake PATH] [--dvc PATH]

A chain (each step waits for the one before) and a fan (independent items), every step one `/bin/touch`. Per tool: cold run, the
same again with nothing to do, and a dry run. Tools that are not installed are left out and named: make, snakemake, dvc. DVC
takes seconds per stage in large files, so its fan is cut (its row says how many). The floor is posix_spawn of the same program by
this script. `--large` plans, runs, and runs again with nothing to do on that many items with mlpipe alone, to show that cost grows
linearly. Medians of wall and CPU time (user + system of the process tree) and peak memory of the driver. Only mlpipe also tracks a
run per step. Standard library only.
"""
import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def measure(command, cwd):
    """wall seconds, CPU seconds of the process tree, peak MiB of the process itself"""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    message = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    if process.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{message.decode()[-2000:]}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def write(folder, name, text):
    path = pathlib.Path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


class Make:
    name = program = "make"

    def generate(self, folder, shape, n):
        write(folder, "out/0", "")
        before = (lambda i: i - 1) if shape == "chain" else (lambda i: 0)
        rules = "".join(f"out/{i}: out/{before(i)}\n\t@/bin/touch $@\n" for i in range(1, n + 1))
        write(folder, "Makefile", f"all: {' '.join(f'out/{i}' for i in range(1, n + 1))}\n{rules}")

    def commands(self, shape):
        return ["make", "-j2", "-s"], ["make", "-n", "-s"]

    def clean(self, folder):
        for path in pathlib.Path(folder, "out").glob("[1-9]*"):
            path.unlink()


class Snakemake(Make):
    name = program = "snakemake"

    def generate(self, folder, shape, n):
        write(folder, "out/0", "")
        before = 'lambda w: f"out/{int(w.i) - 1}"' if shape == "chain" else '"out/0"'
        write(folder, "Snakefile", f'rule all:\n    input: expand("out/{{i}}", i=range(1, {n + 1}))\n\n'
              f'rule step:\n    input: {before}\n    output: "out/{{i,[1-9][0-9]*}}"\n    shell: "/bin/touch {{output}}"\n')

    def commands(self, shape):
        return [self.program, "--cores", "2", "-q", "all"], [self.program, "-n", "-q", "all"]

    def clean(self, folder):
        super().clean(folder)
        shutil.rmtree(pathlib.Path(folder, ".snakemake"), ignore_errors=True)


class Dvc(Make):
    name = program = "dvc"
    largest_fan = 300

    def generate(self, folder, shape, n):
        write(folder, "out/0", "")
        before = (lambda i: i - 1) if shape == "chain" else (lambda i: 0)
        stages = "".join(f"  s{i}: {{cmd: /bin/touch out/{i}, deps: [out/{before(i)}], outs: [out/{i}]}}\n" for i in range(1, n + 1))
        write(folder, "dvc.yaml", f"stages:\n{stages}")

    def commands(self, shape):
        return [self.program, "repro", "-q"], [self.program, "repro", "-q", "--dry"]

    def clean(self, folder):
        super().clean(folder)
        for name in (".dvc", "dvc.lock"):
            path = pathlib.Path(folder, name)
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        subprocess.run([self.program, "init", "--no-scm", "-q"], cwd=folder, check=True)


class Mlpipe:
    name = "mlpipe"

    def __init__(self, program):
        self.program = program

    def generate(self, folder, shape, n):
        write(folder, "project/MLproject", "name: touch\nentry_points:\n  main:\n    parameters: {item: string, mark: path}\n"
              f"    command: /bin/touch {folder}/touched\n")
        write(folder, "mark", "")
        if shape == "chain":
            steps = "".join(f"  s{i}: {{project: project, parameters: {{item: \"{i}\", mark: mark}}{f', needs: [s{i - 1}]' if i > 1 else ''}}}\n"
                            for i in range(1, n + 1))
            return write(folder, "pipeline.yaml", f"name: chain\nsteps:\n{steps}")
        for i in range(n):
            write(folder, f"items/{i}", str(i))
        write(folder, "project/MLproject", "name: touch\nentry_points:\n  main:\n    parameters: {item: path}\n"
              f"    command: /bin/touch {folder}/touched\n")
        write(folder, "pipeline.yaml", "name: fan\ninputs: {items: {collection: files, from: items}}\nsteps:\n"
              "  step: {project: project, for_each: {item: inputs.items}, parameters: {item: \"${{ item.item }}\"}}\n")

    def commands(self, shape):
        return [self.program, "run", "pipeline.yaml", "-j", "2"], [self.program, "plan", "pipeline.yaml"]

    def clean(self, folder):
        shutil.rmtree(pathlib.Path(folder, ".mlpipe"), ignore_errors=True)


def floor(n, at_a_time):
    """milliseconds of wall and CPU time per posix_spawn of /bin/touch"""
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["/bin/touch", os.path.join(folder, "touched")]
        before, start, running = os.times(), time.perf_counter(), 0
        for _ in range(n):
            if running == at_a_time:
                os.wait()
                running -= 1
            os.posix_spawn("/bin/touch", arguments, os.environ)
            running += 1
        for _ in range(running):
            os.wait()
        wall, after = time.perf_counter() - start, os.times()
    cpu = sum(after[:4]) - sum(before[:4])
    return 1000 * wall / n, 1000 * cpu / n


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mlpipe", default=REPOSITORY / "target/release/mlpipe")
    parser.add_argument("--chain", type=int, default=100)
    parser.add_argument("--fan", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--large", default="")
    parser.add_argument("--tools", default="make,snakemake,dvc,mlpipe")
    parser.add_argument("--snakemake", default="snakemake", help="the program")
    parser.add_argument("--dvc", default="dvc", help="the program")
    arguments = parser.parse_args()
    print("run.py", *sys.argv[1:])
    Snakemake.program, Dvc.program = arguments.snakemake, arguments.dvc
    mlpipe = Mlpipe(str(pathlib.Path(arguments.mlpipe).resolve()))
    every = {tool.name: tool for tool in (Make(), Snakemake(), Dvc(), mlpipe)}
    chosen = [every[name] for name in arguments.tools.split(",")]
    for tool in [tool for tool in chosen if tool is not mlpipe and not shutil.which(tool.program)]:
        print(f"{tool.name} is not installed: left out")
        chosen.remove(tool)

    for at_a_time in (1, 2):
        wall, cpu = floor(1000, at_a_time)
        print(f"posix_spawn, {at_a_time} at a time: {wall:.2f} ms wall, {cpu:.2f} ms CPU a process")
    print(f"\n{'':34}{'wall s':>9}{'CPU s':>9}{'ms/step':>9}{'CPU ms':>9}{'MiB':>8}")
    for shape, n in (("chain", arguments.chain), ("fan", arguments.fan)):
        for tool in chosen:
            count = min(n, getattr(tool, "largest_fan", n))
            with tempfile.TemporaryDirectory() as folder:
                tool.generate(folder, shape, count)
                run, dry = tool.commands(shape)
                seen = {"cold": [], "again": [], "dry": []}
                for _ in range(arguments.repeat):
                    tool.clean(folder)
                    seen["cold"].append(measure(run, folder))
                    seen["again"].append(measure(run, folder))
                    seen["dry"].append(measure(dry, folder))
            for phase, values in seen.items():
                wall, cpu, memory = (statistics.median(column) for column in zip(*values))
                print(f"{tool.name + ' ' + shape + ' of ' + str(count) + ', ' + phase:34}{wall:9.3f}{cpu:9.3f}{1000 * wall / count:9.2f}{1000 * cpu / count:9.2f}{memory:8.0f}")
    for n in [int(n) for n in arguments.large.split(",") if n]:
        with tempfile.TemporaryDirectory() as folder:
            mlpipe.generate(folder, "fan", n)
            run, dry = mlpipe.commands("fan")
            for phase, command in (("plan", dry), ("cold", run), ("again", run), ("plan again", dry)):
                wall, cpu, memory = measure(command, folder)
                print(f"{'mlpipe fan of ' + str(n) + ', ' + phase:34}{wall:9.3f}{cpu:9.3f}{1000 * wall / n:9.3f}{1000 * cpu / n:9.3f}{memory:8.0f}")


if __name__ == "__main__":
    main()
