"""`etam-onnx export`: a checkpoint becomes a bundle."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..graphs.variants import PACKAGED, PORTABLE, PRECISIONS

INT8_PARTS = ("encoder", "memory", "scores")
"""Keys of `conversion.int8.PARTS`, which may not be installed."""
SYSTEMS = tuple(sorted({system for system, _ in PACKAGED}))
WEIGHTS = tuple(dict.fromkeys(weights for _, weights in PACKAGED))
FRAMES = ("pixels", "numbers")
"""`conversion.coreml.packages.FRAMES`, which may not be installed."""
EXAMPLES = """examples:
  etam-onnx export --model efficienttam_ti_512x512 --checkpoint efficienttam_ti_512x512.pt -o ti-512
  etam-onnx export --model efficienttam_ti_1 --checkpoint efficienttam_ti_1.pt -o ti-pooled --precision fp32 int8
  etam-onnx export --model efficienttam_ti_1 --checkpoint efficienttam_ti_1.pt -o ti-iphone --coreml iOS18
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `export` to the command line."""
    parser = subparsers.add_parser(
        "export",
        help="turn a checkpoint into a bundle of ONNX graphs and Core ML packages",
        description="Turn a checkpoint into a bundle of static ONNX graphs, on request Core ML packages too, measured "
        "against PyTorch.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", required=True, metavar="NAME", help="configuration, such as efficienttam_ti_1")
    parser.add_argument("--checkpoint", required=True, type=Path, metavar="FILE", help="torch.save({'model': ...})")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="bundle to write")
    parser.add_argument("--image-size", type=int, metavar="PIXELS", help="other input size than the configuration's")
    parser.add_argument(
        "--prompted-frames", type=int, default=8, metavar="N", help="prompted frames a frame can attend to (default: 8)"
    )
    parser.add_argument(
        "--memory-counts",
        type=int,
        nargs="+",
        metavar="N",
        help="memories held by the memory-attention graphs for ONNX Runtime (default: 1, 2, 4, 7 and everything)",
    )
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=sorted(PRECISIONS, reverse=True),
        default=["fp32"],
        help="of the graphs for ONNX Runtime, one or several: fp32, int8 for CPUs, fp16 for CUDA (default: fp32); "
        "the portable graphs are fp32",
    )
    parser.add_argument(
        "--int8-parts",
        nargs="+",
        choices=INT8_PARTS,
        default=list(INT8_PARTS),
        metavar="PART",
        help=f"what int8 puts into integers, of {', '.join(INT8_PARTS)} (default: all of them)",
    )
    parser.add_argument(
        "--coreml",
        nargs="*",
        choices=SYSTEMS,
        metavar="SYSTEM",
        help=f"also write Core ML packages in half precision, for {' and '.join(SYSTEMS)} or one of them; from iOS18 "
        "memory attention is one package whose functions share weights",
    )
    parser.add_argument(
        "--coreml-weights",
        nargs="+",
        choices=WEIGHTS,
        metavar="KIND",
        help=f"how packages store weights, one or several of {', '.join(WEIGHTS)}: a half, a quarter or less of the "
        "size of single precision (default: fp16)",
    )
    parser.add_argument(
        "--coreml-frame",
        choices=FRAMES,
        help="how a package takes a frame: as an image of 8 bits, as cameras give it, or as an array, so that single "
        "images are not rounded after resizing (default: pixels)",
    )
    parser.add_argument("--card", type=Path, metavar="JSON", help="licence, data and limits of the weights")
    parser.add_argument("--no-vectors", action="store_true", help="leave out the test vectors that verify needs")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing bundle")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run `export`."""
    from tqdm import tqdm

    from ..config import config_named

    config_named(options.model)  # say so at once if there is no such configuration
    if options.prompted_frames < 1:
        raise ValueError(f"--prompted-frames should be at least 1, found {options.prompted_frames}")
    if options.coreml is None and (options.coreml_weights or options.coreml_frame):
        raise ValueError("--coreml-weights and --coreml-frame need --coreml")
    card = json.loads(options.card.read_text(encoding="utf-8")) if options.card else {}
    try:
        from ..conversion.bundle_writer import export_bundle, steps
        from ..model import load_checkpoint
    except ModuleNotFoundError as error:
        raise ImportError(f"export needs {error.name}: pip install 'etam-onnx[convert]'") from error
    from ..graphs.bundle import file_identity

    systems = () if options.coreml is None else options.coreml or SYSTEMS
    weights = options.coreml_weights or ("fp16",)
    variants = (
        PORTABLE,
        *(PRECISIONS[precision] for precision in PRECISIONS if precision in options.precision),
        *(name for (system, kind), name in PACKAGED.items() if system in systems and kind in weights),
    )
    model = load_checkpoint(options.model, options.checkpoint, image_size=options.image_size)
    source = {"checkpoint_sha256": file_identity(options.checkpoint).sha256}
    total = steps(model, options.prompted_frames, options.memory_counts, variants)
    with tqdm(total=total, unit="step", leave=False) as bar:

        def progress(step: str) -> None:
            bar.set_description(step)
            bar.update()

        manifest = export_bundle(
            model,
            options.output,
            prompted_frames=options.prompted_frames,
            variants=variants,
            memory_counts=options.memory_counts,
            int8_parts=options.int8_parts,
            frame=options.coreml_frame or FRAMES[0],
            source=source,
            card=card,
            vectors=not options.no_vectors,
            overwrite=options.overwrite,
            progress=progress,
        )
    worst = {v: max(entry["error"] for entry in entries) for v, entries in manifest.parity.items()}
    errors = ", ".join(f"{variant} {error:.1e}" for variant, error in worst.items())
    graphs = len({path for files in manifest.variants.values() for path in files.values()})
    size = sum(file.size for name, file in manifest.files.items() if not name.startswith("vectors/"))
    print(
        f"{options.output}: {graphs} graphs for {len(manifest.variants)} variants, {size / 1e6:.1f} MB, "
        f"largest errors against PyTorch: {errors}"
    )
    return 0
