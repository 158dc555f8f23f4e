"""`etam-onnx evaluate`: the protocols by which the benchmarks score masks, trackers and clicks."""

from __future__ import annotations

import argparse

from .evaluate_images import add_images
from .evaluate_interactive import add_interactive
from .evaluate_masks import add_masks
from .evaluate_vos import add_vos


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `evaluate` and its kinds to the command line."""
    parser = subparsers.add_parser("evaluate", help="score masks, a bundle or a checkpoint against annotations")
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="{masks,vos,interactive,images}")
    for add in (add_masks, add_vos, add_interactive, add_images):
        add(kinds)
