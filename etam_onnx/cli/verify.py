"""`etam-onnx verify`: a bundle proves itself on a device."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..candidates import OtherCandidate

EXAMPLES = """examples:
  etam-onnx verify my-bundle
  etam-onnx verify my-bundle --device cuda
  etam-onnx verify my-bundle --device coreml-interpreted --variant coreml-ios18
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `verify` to the command line."""
    parser = subparsers.add_parser(
        "verify",
        help="replay a bundle's test vectors on a device",
        description="Replay a bundle's test vectors on a device and compare every output with the recorded one.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bundle", metavar="BUNDLE", help="name or folder")
    parser.add_argument(
        "--device",
        default="cpu",
        help="cpu, cuda, coreml (macOS), or coreml-interpreted, which computes the Core ML packages operator by "
        "operator on any system (default: cpu)",
    )
    parser.add_argument("--variant", metavar="NAME", help="of the bundle's graphs (default: all that the device runs)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run `verify`; 1 if anything is out of tolerance."""
    from tqdm import tqdm

    from ..graphs.bundle import Bundle
    from ..verification import verify

    bundle = Bundle.open(options.bundle)
    with tqdm(unit="call", leave=False) as bar:

        def progress(variant: str) -> None:
            bar.set_description_str(variant, refresh=False)
            bar.update()

        outcome = verify(bundle, options.device, options.variant, progress)
    for variant, edges in outcome.calls.items():
        print(f"{variant}\n{'graph':<22}{'output':<26}{'calls':>6}{'error':>10}{'tolerance':>11}")
        for edge in edges:
            verdict = "" if edge.passed else "  FAILED"
            print(f"{edge.graph:<22}{edge.port:<26}{edge.calls:>6}{edge.error:>10.1e}{edge.tolerance:>11.1e}{verdict}")
        print()
    for variant, clip in outcome.clips.items():
        verdict = "" if clip.passed else "  FAILED"
        print(
            f"clip tracked again on {variant}: {clip.answers} answers, "
            f"{100 * clip.agreement:.3f} % of mask pixels equal at worst ({100 * clip.tolerance:g} asked for), "
            f"logits within {clip.error:.1e}{verdict}"
        )
        for other in dict.fromkeys(clip.others):  # an answer may be looked at several times
            print(f"  {_words(other, clip.iou_error)}")
    return 0 if outcome.passed else 1


def _words(other: OtherCandidate, iou_error: float) -> str:
    """Which mask was chosen for an answer in place of which, and whether that is a tie."""
    if not other.by_iou:
        why = "which the single mask's stability decides: not compared as a tie"
    else:
        kind = "a tie" if other.tie(iou_error) else "no tie"
        why = (
            f"predicted IoU {other.ious[1]:.4f} and {other.ious[0]:.4f} in the recorded run: {kind}, "
            f"this variant's are within {iou_error:.1e} in the recorded calls"
        )
    return (
        f"object {other.obj_id} on frame {other.frame}: mask {other.found} in place of mask {other.recorded}, {why}; "
        f"{100 * other.agreement:.3f} % of pixels equal to mask {other.found}"
    )
