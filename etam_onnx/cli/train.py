"""The `train` subcommand: from photographs with object masks to a file of weights."""

import argparse
import sys
from pathlib import Path

EXAMPLE = "example: etam-onnx train --preset etam-nano --data train_images --output run --minutes 90"


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `train` to the command line."""
    parser = subparsers.add_parser(
        "train",
        help="train a small model from photographs with object masks (needs the [train] extra)",
        description="Trains on synthetic clips made from photographs with object masks. A run that was "
        "stopped continues with --resume. The output folder gets PRESET.pt (weights), state.pt, steps.csv "
        "and validation.csv. Under torchrun several processes share the work.",
        epilog=EXAMPLE,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with index.csv, images/ and masks/")
    parser.add_argument("--output", type=Path, required=True, help="folder for weights, state and logs")
    parser.add_argument("--preset", default="etam-nano", help="which model (default: %(default)s)")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float, help="budget in minutes (default: 90)")
    budget.add_argument("--steps", type=int, help="budget in steps; makes runs repeatable")
    parser.add_argument("--seed", type=int, default=0, help="of weights and clips (default: %(default)s)")
    parser.add_argument("--resume", action="store_true", help="continue the run in the output folder")
    parser.add_argument("--threads", type=int, help="CPU threads for the network (default: all)")
    parser.add_argument("--full-precision", action="store_true", help="float32 instead of bfloat16 autocast")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the training; returns the exit code."""
    try:
        import torch

        from ..training.loop import TrainingOptions, run_training
    except ModuleNotFoundError as error:
        raise RuntimeError(
            f"Training needs {error.name}, which is not installed: pip install 'etam-onnx[train]'."
        ) from error
    if arguments.threads is not None:
        if arguments.threads < 1:
            raise ValueError(f"--threads must be at least 1, not {arguments.threads}.")
        torch.set_num_threads(arguments.threads)
    minutes = 90.0 if arguments.minutes is None and arguments.steps is None else arguments.minutes
    options = TrainingOptions(
        data=arguments.data,
        output=arguments.output,
        preset=arguments.preset,
        minutes=minutes,
        steps=arguments.steps,
        seed=arguments.seed,
        resume=arguments.resume,
        half=not arguments.full_precision,
    )
    run_training(options, lambda line: print(line, file=sys.stderr, flush=True))
    return 0
