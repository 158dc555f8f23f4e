"""The `train` subcommand: from folders of data to a file of weights."""

import argparse
import sys
from pathlib import Path

EXAMPLE = """examples:
  etam-onnx train --preset etam-nano --data train_images --steps 2000 --output run
  etam-onnx train --preset efficienttam_ti_1 --weights efficienttam_ti_1.pt --recipe video \\
      --data sav --data sa1b --batch 4 --learning-rate 1e-5 --steps 5000 --output tuned --device cuda
  torchrun --nproc-per-node 2 -m etam_onnx.training --data train_images --steps 2000 --output run"""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `train` to the command line."""
    parser = subparsers.add_parser(
        "train",
        help="train or fine-tune a model from images or video with masks (needs the [train] extra)",
        description="Trains by one of three recipes: nano (the small default, on synthetic clips), images and video "
        "(the two stages of the paper). A run that was stopped continues with --resume. The output folder gets "
        "PRESET.pt (weights), state.pt, steps.csv, validation.csv and tensorboard/. Under torchrun several "
        "processes share the work and give the same result as one.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data",
        type=_folder_and_weight,
        action="append",
        required=True,
        metavar="DIR[=WEIGHT]",
        help="folder of images or video with masks; several are mixed by their weights",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for weights, state and logs")
    parser.add_argument("--preset", default="etam-nano", help="which model (default: %(default)s)")
    parser.add_argument("--recipe", default="nano", help="nano, images or video (default: %(default)s)")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float, help="budget in minutes (default: the recipe's)")
    budget.add_argument("--steps", type=int, help="budget in steps; makes runs repeatable")
    parser.add_argument("--seed", type=int, default=0, help="of weights and clips (default: %(default)s)")
    parser.add_argument("--resume", action="store_true", help="continue the run in the output folder")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="checkpoint to fine-tune instead of new weights")
    parser.add_argument("--teacher", type=Path, metavar="ONNX", help="image encoder whose features are learnt besides")
    change = parser.add_argument_group("instead of the recipe's numbers")
    change.add_argument("--batch", type=int, metavar="N", help="clips per step, of all processes together")
    change.add_argument("--frames", type=int, metavar="N", help="frames per clip; 1 trains on still images")
    change.add_argument("--objects", type=int, metavar="N", help="at most so many objects per clip")
    change.add_argument("--size", type=int, metavar="PIXELS", help="side of the largest frames")
    change.add_argument("--learning-rate", type=float, metavar="RATE", help="the encoder's is scaled alike")
    machine = parser.add_argument_group("machine")
    machine.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: %(default)s")
    machine.add_argument("--threads", type=int, help="CPU threads for the network (default: all)")
    machine.add_argument("--workers", type=int, default=1, help="drawing processes per process (default: %(default)s)")
    machine.add_argument("--at-once", type=int, metavar="N", help="clips in memory at once; changes no result")
    machine.add_argument("--full-precision", action="store_true", help="float32 instead of bfloat16 autocast")
    machine.add_argument("--save-every", type=float, default=180, metavar="SECONDS", help="default: %(default)s")
    machine.add_argument("--log-every", type=int, default=50, metavar="STEPS", help="default: %(default)s")
    machine.add_argument("--validation-clips", type=int, default=24, metavar="N", help="default: %(default)s")
    machine.add_argument("--no-tensorboard", action="store_true", help="write no OUTPUT/tensorboard")
    parser.set_defaults(run=run)


def _folder_and_weight(text: str) -> tuple[Path, float]:
    """`DIR` or `DIR=WEIGHT`; what follows a last `=` is a weight only if it is a number."""
    folder, separator, weight = text.rpartition("=")
    if separator and not Path(text).exists():
        try:
            return Path(folder), float(weight)
        except ValueError:
            pass
    return Path(text), 1.0


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
    options = TrainingOptions(
        data=arguments.data,
        output=arguments.output,
        preset=arguments.preset,
        recipe=arguments.recipe,
        minutes=arguments.minutes,
        steps=arguments.steps,
        seed=arguments.seed,
        resume=arguments.resume,
        weights=arguments.weights,
        teacher=arguments.teacher,
        half=not arguments.full_precision,
        device=arguments.device,
        size=arguments.size,
        batch=arguments.batch,
        frames=arguments.frames,
        objects=arguments.objects,
        learning_rate=arguments.learning_rate,
        at_once=arguments.at_once,
        workers=arguments.workers,
        tensorboard=not arguments.no_tensorboard,
        save_every=arguments.save_every,
        validation_clips=arguments.validation_clips,
        report_every=arguments.log_every,
    )
    try:
        run_training(options, lambda line: print(line, file=sys.stderr, flush=True))
    except FloatingPointError as error:
        raise RuntimeError(str(error)) from error
    return 0
