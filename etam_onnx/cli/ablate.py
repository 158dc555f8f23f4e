"""`etam-onnx ablate`: the paper's ablations as a table, and the error of surrogate attention as a picture."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .atomic import check_parent, finished_file

if TYPE_CHECKING:
    from ..ablation.scoring import Exam
    from ..config import ModelConfig

AXES = ("pointers", "tokens", "window", "attention", "resolution")
DEFAULT_MODEL = "etam-nano"
DEFAULT_WEIGHTS = Path(__file__).resolve().parent.parent / "weights" / "etam-nano.pt"

EXAMPLES = """examples:
  etam-onnx ablate --evaluate --data DAVIS --output study --json table.json
  etam-onnx ablate --train-steps 200 --train-data train_images --axes attention --output study
  etam-onnx ablate --costs --model efficienttam_s
  etam-onnx ablate attention-error --data DAVIS --sequences dog --frames 12 -o error.png --json error.json

--data holds <sequence>/images/NNNNN.jpg and <sequence>/masks/NNNNN.png, or the folders of DAVIS.
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `ablate` to the command line."""
    parser = subparsers.add_parser(
        "ablate",
        help="vary the model as the paper's ablations do, or measure surrogate attention (needs the [train] extra)",
        description="Vary a model along the paper's axes and print what each variant scores and costs (table), or "
        "measure how far surrogate cross-attentions are from full attention on real memories (attention-error).",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = ("table", "attention-error")
    parser.add_argument("kind", nargs="?", choices=kinds, default="table", help="default: table")
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME", help="configuration (default: %(default)s)")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="its weights (default: those of etam-nano)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of annotated sequences")
    parser.add_argument("--sequences", nargs="+", metavar="NAME", help="only these sequences")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything found to this file")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all)")
    table = parser.add_argument_group("table")
    mode = table.add_mutually_exclusive_group()
    mode.add_argument("--evaluate", action="store_true", help="track --data with the given weights, no training")
    mode.add_argument("--train-steps", type=int, metavar="N", help="train each variant this long, then track")
    mode.add_argument("--costs", action="store_true", help="parameters, operations and time only; needs no weights")
    table.add_argument("--axes", type=_words, default=list(AXES), metavar="A,B", help=f"of {','.join(AXES)}")
    table.add_argument("--variants", type=_words, metavar="A,B", help="only these, such as base,equation-6,size-256")
    table.add_argument("--sizes", type=_numbers, metavar="N,N", help="input sides of axis resolution (default: half)")
    table.add_argument("--output", type=Path, metavar="DIR", help="keep each variant's result and go on from them")
    table.add_argument("--repeats", type=int, default=5, metavar="N", help="frames timed, 0 for none (default: 5)")
    table.add_argument("--train-data", type=Path, metavar="DIR", help="photographs with masks to train on")
    table.add_argument("--new-weights", action="store_true", help="train from new weights, not from the checkpoint")
    table.add_argument("--seed", type=int, default=0, help="of training (default: %(default)s)")
    table.add_argument("--clips", type=int, default=8, metavar="N", help="held-out clips without --data (default: 8)")
    error = parser.add_argument_group("attention-error")
    error.add_argument("-o", "--picture", type=Path, metavar="PNG", help="draw the errors here")
    error.add_argument("--frames", type=int, metavar="N", help="track this many frames of each sequence (default: all)")
    error.add_argument(
        "--no-weights", action="store_true", help="outputs only: large inputs need much memory otherwise"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run `ablate`."""
    for path in (options.json, options.output, options.picture):
        if path is not None:
            check_parent(path)
    import torch

    if options.threads is not None:
        if options.threads < 1:
            raise ValueError(f"--threads must be at least 1, not {options.threads}")
        torch.set_num_threads(options.threads)
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: PyTorch finds no CUDA device here")
    return print_table(options) if options.kind == "table" else measure_attention(options)


def print_table(options: argparse.Namespace) -> int:
    """Run `ablate table`: every variant in turn, then the table."""
    from tqdm import tqdm

    from ..ablation.report import results_as_json, results_as_table
    from ..ablation.study import Study, Training
    from ..ablation.variants import variants_of
    from ..config import config_named

    if not (options.evaluate or options.costs or options.train_steps is not None):
        raise ValueError("say what to do: --evaluate, --train-steps N or --costs")
    if options.repeats < 0:
        raise ValueError(f"--repeats should be at least 0, found {options.repeats}")
    base = config_named(options.model)
    variants = variants_of(base, options.axes, options.variants, options.sizes)
    weights = None if options.costs or options.new_weights else _weights(options)
    training = _training(options, Training)
    exams = _exams(options, base)
    with tqdm(total=len(variants) * sum(exam.frames for exam in exams), unit="frame", disable=not exams) as bar:
        study = Study(weights, exams, training, options.output, options.repeats, bar.write, bar.update, options.device)
        results = []
        for variant in variants:
            bar.set_description(variant.key)
            results.append(study.run(variant))
    settings = {"model": options.model, "mode": _mode(options), "device": options.device, "threads": _threads()}
    if training is not None:
        settings |= {"steps": training.steps, "seed": training.seed, "new_weights": options.new_weights}
    _write(options.json, results_as_json(results, settings))
    print(results_as_table(results))
    return 0


def measure_attention(options: argparse.Namespace) -> int:
    """Run `ablate attention-error`: track, measure, print, draw."""
    from tqdm import tqdm

    from ..ablation.error_picture import draw_study
    from ..ablation.memory_study import MemoryStudy, study_as_json, study_as_table, study_clip
    from ..ablation.variants import surrogates
    from ..evaluation.layouts import read_dataset
    from ..model import load_checkpoint

    if options.data is None:
        raise ValueError("attention-error needs sequences to track: --data DIR")
    if options.frames is not None and options.frames < 3:
        raise ValueError(f"the first two memories meet on the third frame, so --frames {options.frames} is too few")
    sequences = read_dataset(options.data, names=options.sequences).sequences
    model = load_checkpoint(options.model, _weights(options)).to(options.device)
    study, chosen = MemoryStudy(), surrogates()
    if model.config.grid % 4:
        chosen = {name: pair for name, pair in chosen.items() if pair[1] != 4}
    for sequence in sequences:
        start, masks = next(iter(sequence.first_masks().items()))
        frames = len(sequence.frames) - start
        frames = frames if options.frames is None else min(frames, options.frames)
        with tqdm(total=frames, desc=sequence.name, unit="frame") as bar:
            study_clip(
                study,
                model,
                sequence.frames,
                masks,
                chosen,
                start=start,
                count=frames,
                weights=not options.no_weights,
                progress=bar.update,
            )
    picture = draw_study(study, chosen)
    found = {"model": options.model, "sequences": [sequence.name for sequence in sequences], **study_as_json(study)}
    _write(options.json, found)
    if options.picture is not None:
        with finished_file(options.picture) as unfinished:
            picture.save(unfinished, format="PNG")
    print(study_as_table(study))
    return 0


def _weights(options: argparse.Namespace) -> Path:
    """The checkpoint to use."""
    if options.checkpoint is None and options.model != DEFAULT_MODEL:
        raise ValueError(f"name the weights of {options.model}: --checkpoint FILE")
    path: Path = options.checkpoint or DEFAULT_WEIGHTS
    if not path.is_file():
        hint = "" if options.checkpoint else "; it comes with the repository only: name one with --checkpoint"
        raise FileNotFoundError(f"there is no checkpoint at {path}{hint}")
    return path


def _training(options: argparse.Namespace, kind: Any) -> Any:
    """The training budget, or None in the other modes."""
    if options.train_steps is None:
        if options.new_weights or options.train_data is not None:
            raise ValueError("--train-data and --new-weights belong to --train-steps N")
        return None
    if options.train_steps < 1:
        raise ValueError(f"--train-steps should be at least 1, found {options.train_steps}")
    if options.train_data is None or options.output is None:
        raise ValueError("training needs --train-data DIR and a folder for the weights, --output DIR")
    return kind(options.train_data, options.train_steps, options.seed)


def _exams(options: argparse.Namespace, base: ModelConfig) -> list[Exam]:
    """What is tracked: the sequences, or held-out clips after training."""
    from ..ablation.scoring import dataset_exams, held_out_exams
    from ..evaluation.layouts import read_dataset

    if options.costs:
        return []
    if options.data is not None:
        return dataset_exams(read_dataset(options.data, names=options.sequences))
    if options.evaluate:
        raise ValueError("--evaluate needs sequences to track: --data DIR")
    if options.clips < 1:
        raise ValueError(f"--clips should be at least 1, found {options.clips}")
    return held_out_exams(options.train_data, options.clips, base.image_size, frames=12)


def _mode(options: argparse.Namespace) -> str:
    return "costs" if options.costs else "evaluate" if options.evaluate else "train"


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def _write(path: Path | None, content: dict[str, Any]) -> None:
    if path is not None:
        with finished_file(path) as unfinished:
            unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _numbers(text: str) -> list[int]:
    return [int(word) for word in _words(text)]
