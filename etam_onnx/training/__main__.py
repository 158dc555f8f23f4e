"""`python -m etam_onnx.training ...` is `etam-onnx train ...`."""

import argparse
import sys

from ..cli.train import register


def main() -> int:
    parser = argparse.ArgumentParser(prog="etam_onnx.training")
    subparsers = parser.add_subparsers(required=True)
    register(subparsers)
    arguments = parser.parse_args(["train", *sys.argv[1:]])
    try:
        return int(arguments.run(arguments))
    except (ValueError, OSError, RuntimeError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
