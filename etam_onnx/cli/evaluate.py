"""`etam-onnx evaluate`: J and F of predicted masks, or of a bundle that tracks annotated sequences."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .atomic import check_parent, finished_file, finished_files

if TYPE_CHECKING:
    from ..evaluation.label_maps import LabelMap
    from ..evaluation.scores import Score
    from ..evaluation.sequences import AnnotatedSequence

MASKS_EXAMPLE = """example:
  etam-onnx evaluate masks DAVIS/Annotations/480p predictions --json scores.json
"""
VOS_EXAMPLE = """example:
  etam-onnx evaluate vos etam-nano --data DAVIS --baselines --json scores.json

DIR holds <sequence>/images/NNNNN.jpg and <sequence>/masks/NNNNN.png, or the folders of DAVIS
(JPEGImages/480p/<sequence>, Annotations/480p/<sequence>).
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `evaluate masks` and `evaluate vos` to the command line."""
    parser = subparsers.add_parser("evaluate", help="score masks or a bundle against annotated sequences")
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="{masks,vos}")

    masks = _add_kind(kinds, "masks", "score palette PNG predictions", MASKS_EXAMPLE)
    masks.add_argument("truth", type=Path, metavar="GT", help="folder of annotated sequences")
    masks.add_argument("predictions", type=Path, metavar="PRED", help="folder of predicted sequences")
    masks.set_defaults(run=score_masks)

    vos = _add_kind(kinds, "vos", "track each sequence from its first masks and score it", VOS_EXAMPLE)
    vos.add_argument("bundle", metavar="BUNDLE", help="a bundle's name or folder")
    vos.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of annotated sequences")
    vos.add_argument("--baselines", action="store_true", help="also score a copied mask and optical flow")
    vos.add_argument("--predictions", type=Path, metavar="DIR", help="write the predicted masks here")
    vos.add_argument("--device", default="cpu", help="where the graphs run (default: cpu)")
    vos.add_argument("--prompt", choices=["mask", "click", "box"], default="mask", help="default: mask")
    vos.set_defaults(run=score_bundle)


def _add_kind(
    kinds: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str, example: str
) -> argparse.ArgumentParser:
    parser = kinds.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the scores, in percent, to this file")
    parser.add_argument("--all-frames", action="store_true", help="score the first and last frames too")
    parser.add_argument("--sequences", nargs="+", metavar="NAME", help="only these sequences")
    return parser


def score_masks(arguments: argparse.Namespace) -> int:
    """Run `evaluate masks`: compare two folders of palette PNG files."""
    from tqdm import tqdm

    from ..evaluation.report import scores_as_json, scores_as_table
    from ..evaluation.scores import score_sequence
    from ..evaluation.sequences import find_mask_folders, read_mask_pairs

    _check_outputs(arguments.json)
    truth = find_mask_folders(arguments.truth, arguments.sequences)
    predictions = find_mask_folders(arguments.predictions, list(truth))
    scores = {}
    for name in tqdm(truth, desc="sequences", unit="sequence"):
        pairs = read_mask_pairs(name, predictions[name], truth[name])
        scores[name] = score_sequence(name, pairs, all_frames=arguments.all_frames)
    _write_report(arguments.json, scores_as_json(scores) | {"all_frames": arguments.all_frames})
    print(scores_as_table({"": scores}))
    return 0


def score_bundle(arguments: argparse.Namespace) -> int:
    """Run `evaluate vos`: track every sequence with a bundle, and with the baselines when asked for."""
    from .. import VideoPredictor
    from ..evaluation.baselines import copy_first_mask, warp_by_flow
    from ..evaluation.report import scores_as_json, scores_as_table
    from ..evaluation.scores import score_sequence
    from ..evaluation.semi_supervised import track_sequence
    from ..evaluation.sequences import find_annotated_sequences

    _check_outputs(arguments.json, arguments.predictions)
    sequences = find_annotated_sequences(arguments.data, arguments.sequences)
    predictor = VideoPredictor(arguments.bundle, device=arguments.device)
    by_method: dict[str, dict[str, dict[int, Score]]] = {"model": {}}
    if arguments.baselines:
        by_method |= {"copy": {}, "flow": {}}
    for sequence in sequences:
        tracked = track_sequence(predictor, sequence, arguments.prompt)
        if arguments.predictions:
            tracked = _written(tracked, sequence, arguments.predictions)
        runs = {"model": tracked}
        if arguments.baselines:
            runs |= {"copy": copy_first_mask(sequence), "flow": warp_by_flow(sequence)}
        for method, labels in runs.items():
            pairs = _with_annotations(_with_progress(labels, sequence, method), sequence)
            scores = score_sequence(sequence.name, pairs, all_frames=arguments.all_frames)
            by_method[method][sequence.name] = scores
    baselines: dict[str, Any] = {method: scores_as_json(scores) for method, scores in by_method.items()}
    report = baselines.pop("model") | {"baselines": baselines, "prompt": arguments.prompt}
    _write_report(arguments.json, report | {"all_frames": arguments.all_frames})
    print(scores_as_table(by_method))
    return 0


def _check_outputs(*paths: Path | None) -> None:
    """Before any work: FileNotFoundError unless every path that is asked for has a folder to go into."""
    for path in paths:
        if path is not None:
            check_parent(path)


def _write_report(path: Path | None, report: dict[str, Any]) -> None:
    if path is not None:
        with finished_file(path) as unfinished:
            unfinished.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _with_progress(labels: Iterator[LabelMap], sequence: AnnotatedSequence, method: str) -> Iterator[LabelMap]:
    from tqdm import tqdm

    return iter(tqdm(labels, desc=f"{sequence.name} ({method})", total=len(sequence.frames), unit="frame"))


def _with_annotations(labels: Iterator[LabelMap], sequence: AnnotatedSequence) -> Iterator[tuple[LabelMap, LabelMap]]:
    """(prediction, annotation) of the frames that have an annotation."""
    from ..evaluation.label_maps import read_label_map

    for frame, prediction in enumerate(labels):
        if frame in sequence.masks:
            yield prediction, read_label_map(sequence.masks[frame])


def _written(labels: Iterator[LabelMap], sequence: AnnotatedSequence, root: Path) -> Iterator[LabelMap]:
    """Pass label maps on and write each as a palette PNG named like its frame."""
    from PIL import Image

    from .mask_folder import davis_palette

    root.mkdir(exist_ok=True)
    with finished_files(root / sequence.name) as folder:
        for path, prediction in zip(sequence.frames.paths, labels, strict=True):
            picture = Image.fromarray(prediction)
            picture.putpalette(davis_palette().tobytes())
            picture.save(folder / f"{path.stem}.png")
            yield prediction
