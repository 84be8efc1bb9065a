"""The command line that both trainings have."""
import argparse
import json

import torch


def parser(description):
    """Returns the parser of what both have; `description` is the docstring of the program."""
    made = argparse.ArgumentParser(description=description.splitlines()[0])
    made.add_argument("--data", required=True, help="folder that prepare.py wrote")
    made.add_argument("--output", required=True, help="model folder to write")
    made.add_argument("--fold", type=int, default=-1, help="fold to keep out; -1: train on every volume")
    made.add_argument("--epochs", type=int, required=True)
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--chosen", help="JSON file with `setting`, whose values stand in for those of the command line")
    return made


def parsed(made):
    """Returns the arguments, with the chosen setting in them, and fixes what would make runs differ."""
    given = made.parse_args()
    if given.chosen:
        with open(given.chosen, encoding="utf-8") as file:
            vars(given).update(json.load(file)["setting"])
    # Sums on several threads are not bit-exact.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    return given
