"""The command line that both trainings have."""
import argparse


def parse(description, epochs):
    """Returns the arguments; `description` is the docstring of the program, `epochs` its default number of epochs."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of npz volumes")
    parser.add_argument("--output", required=True, help="model folder to write")
    parser.add_argument("--epochs", type=float, default=epochs)
    parser.add_argument("--seed", type=float, default=1)
    parser.add_argument("--split", choices=["validation", "all"], default="all",
                        help="validation: keep the validation volumes out; all: train on every volume")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()
