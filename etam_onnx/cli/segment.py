"""`etam-onnx segment`: cut objects out of one picture."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .prompts import add_prompt_options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..runtime.video import Frame
    from .prompts import ObjectPrompt

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
EXAMPLES = """examples:
  one click:
    etam-onnx segment truck.jpg --point 500,375 -o truck.png
  a box and a point inside it that is not meant, as a mask:
    etam-onnx segment truck.jpg --box 1:425,600,700,875 --not-point 1:575,750 --mask-out mask.png
"""


class Predictor(Protocol):
    """The part of `ImagePredictor` that is used here."""

    def set_image(self, image: Any) -> Any: ...

    def predict(
        self,
        point_coords: Any = None,
        point_labels: Any = None,
        box: Any = None,
        mask_input: Any = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.float32]]: ...


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `segment` to the command line."""
    parser = subparsers.add_parser(
        "segment",
        help="cut objects out of one picture",
        description="Find the masks of objects in one picture.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("image", type=Path, metavar="IMAGE", help="a picture")
    add_prompt_options(parser, masks=False)
    output = parser.add_argument_group("output")
    output.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="OUT.png",
        help="the picture with masks drawn on it (.png or .jpg)",
    )
    output.add_argument(
        "--mask-out", type=Path, metavar="FILE.png", help="a palette PNG whose values are object numbers"
    )
    model = parser.add_argument_group("model")
    model.add_argument("--model", default="etam-nano", metavar="NAME_OR_DIR", help="a bundle (default: etam-nano)")
    model.add_argument("--device", default="cpu", help="cpu, cuda, or coreml on macOS (default: cpu)")
    model.add_argument("--variant", metavar="NAME", help="of the bundle's graphs (default: the device's best)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run `segment`. Everything that can be wrong with the request is found before the model is loaded."""
    from ..runtime.frames import read_picture
    from .mask_folder import check_ids, write_palette_png
    from .overlay import Marks, Overlay
    from .prompts import read_prompts

    check_outputs(options)
    frame = read_picture(options.image)
    size = (frame.shape[1], frame.shape[0])
    prompts = read_prompts(options.prompts, size)
    if options.mask_out is not None:
        check_ids(prompts)
    ids, logits, quality = segment(load_predictor(options), frame, prompts)
    if options.output is not None:
        masks = {number: logits[row] > 0 for row, number in enumerate(ids)}
        marks = {n: Marks(p.points, p.labels, p.box) for n, p in prompts.items()}
        write_picture(options.output, Overlay(size).draw(frame, masks, marks))
    if options.mask_out is not None:
        write_palette_png(options.mask_out, ids, logits)
    found = [
        f"object {number}: {int((logits[row] > 0).sum())} pixels, predicted IoU {quality[row]:.2f}"
        for row, number in enumerate(ids)
    ]
    written = [str(path) for path in (options.output, options.mask_out) if path is not None]
    print("; ".join(found) + ": " + " and ".join(written))
    return 0


def segment(
    predictor: Predictor, frame: Frame, prompts: dict[int, ObjectPrompt]
) -> tuple[list[int], NDArray[np.float32], list[float]]:
    """Ids (N,), logits (N, H, W) at the picture's size and predicted IoU (N,) of the objects asked for.

    One point alone is ambiguous, so the best of three masks is taken; more prompts give one mask.
    """
    import numpy as np

    predictor.set_image(frame)
    rows, quality = [], []
    for prompt in prompts.values():
        ambiguous = prompt.box is None and len(prompt.points) == 1
        logits, ious, _ = predictor.predict(
            point_coords=np.array(prompt.points, np.float32) if prompt.points else None,
            point_labels=np.array(prompt.labels, np.int32) if prompt.points else None,
            box=None if prompt.box is None else np.array(prompt.box, np.float32),
            multimask_output=ambiguous,
            return_logits=True,
        )
        best = int(np.argmax(ious))
        rows.append(logits[best])
        quality.append(float(ious[best]))
    return list(prompts), np.stack(rows), quality


def load_predictor(options: argparse.Namespace) -> Predictor:
    """The predictor that the options ask for."""
    from ..runtime.image_predictor import ImagePredictor

    return ImagePredictor(options.model, device=options.device, variant=options.variant)


def check_outputs(options: argparse.Namespace) -> None:
    """ValueError or OSError, before any work, unless there is somewhere to write to that is not the input."""
    from .atomic import check_parent

    if options.output is None and options.mask_out is None:
        raise ValueError("nothing to write: give -o OUT.png, --mask-out FILE.png or both")
    if options.output is not None and options.output.suffix.lower() not in FORMATS:
        raise ValueError(f"{options.output} should end in {', '.join(FORMATS)}")
    if options.mask_out is not None and options.mask_out.suffix.lower() != ".png":
        raise ValueError(f"{options.mask_out} should end in .png: masks do not survive other formats")
    for path in (options.output, options.mask_out):
        if path is None:
            continue
        check_parent(path)
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder; name a file to write")
        if path.exists() and options.image.exists() and path.samefile(options.image):
            raise ValueError(f"{path} is the picture itself; write to another file")


def write_picture(path: Path, frame: Frame) -> None:
    """Save an RGB frame (height, width, 3), finished or not at all."""
    from PIL import Image

    from .atomic import finished_file

    with finished_file(path) as part:
        Image.fromarray(frame).save(part, format=FORMATS[path.suffix.lower()], quality=95)
