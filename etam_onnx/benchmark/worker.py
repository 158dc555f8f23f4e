"""The process that does the work of one contender: ``python -m etam_onnx.benchmark.worker``.

It is told what to do on its standard input and reports on its standard output.  A message ``{"do": "round"}`` has it
track the clip from its first frame.  After every turn of frames it reports them and waits for the next message, while
the others have theirs.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..graphs.variants import precision_of
from .channel import Channel
from .contender import Contender, open_networks
from .products import ProductRunner
from .seams import time_surroundings, timed_networks
from .stopwatch import FrameTimes, Stopwatch

if TYPE_CHECKING:
    from ..runtime.networks import Networks

STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Work:
    """What every contender does, as plain values.

    clip: the video.  boxes: of the objects on frame 0.  frames: of a round.  turn: frames until the others have their
    turn.  fill_holes: area in pixels.  output: video with the masks drawn, None with `graphs_only`, when the clip is
    decoded beforehand and nothing is drawn or written.  products: name and file of what is multiplied instead by the
    contender whose backend that is.
    """

    clip: str
    boxes: list[list[float]]
    frames: int
    turn: int
    fill_holes: int
    output: str | None
    graphs_only: bool = False
    products: list[list[str]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)


def main() -> int:
    """Serve until told to end; 1 after an error, which has been reported as a sentence."""
    from ..cli.main import sentence

    channel = Channel.of_this_process()
    try:
        job = channel.receive()
        serve(Contender.from_json(job["contender"]), Work(**job["work"]), channel)
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return 1
    except (ValueError, OSError, RuntimeError, ImportError, MemoryError) as error:
        channel.send({"error": sentence(error)})
        return 1
    return 0


def serve(contender: Contender, work: Work, channel: Channel) -> None:
    """Load the contender, then do as many rounds as are asked for."""
    if contender.backend == "products":
        runner = ProductRunner(work.products, contender.threads)
        channel.send({"ready": {"graphs": [name for name, _ in work.products]}})
        while channel.receive()["do"] == "round":
            multiply(runner, work, channel)
        channel.send({"peak_memory_bytes": peak_memory()})
        return
    networks = open_networks(contender)
    channel.send({"ready": {**facts(contender, networks), "graphs": list(networks.runners)}})
    stopwatch = Stopwatch(networks.workers)
    time_surroundings(stopwatch)
    timed = timed_networks(networks, contender, stopwatch)
    decoded: list[Any] = []
    if work.graphs_only:
        from ..runtime.frames import open_video

        with open_video(work.clip) as video:
            decoded = [video[index] for index in range(work.frames)]
    while channel.receive()["do"] == "round":
        track(timed, work, decoded, stopwatch, channel)
    channel.send({"peak_memory_bytes": peak_memory()})


def multiply(runner: ProductRunner, work: Work, channel: Channel) -> None:
    """One round: all products as often as there are frames, with a report after every turn."""
    times: list[FrameTimes] = []
    for number in range(1, work.frames + 1):
        times.append(runner.once())
        if len(times) == work.turn and number < work.frames:
            channel.send({"frames": [asdict(one) for one in times]})
            times.clear()
            channel.receive()
    channel.send({"frames": [asdict(one) for one in times], "finish": asdict(FrameTimes(0.0))})


def track(networks: Networks, work: Work, decoded: list[Any], stopwatch: Stopwatch, channel: Channel) -> None:
    """One round: what `etam-onnx track` does, with a report after every turn."""
    from ..cli.prompts import ObjectPrompt
    from ..cli.shared_frames import SharedFrames
    from ..cli.tracked_video import FoundFrame, Plan, found_frames, write_video
    from ..cli.video_writer import video_writer
    from ..runtime.frames import open_video
    from ..runtime.video_predictor import VideoPredictor

    frames: list[FrameTimes] = []
    seen_frames = 0

    def seen(frame: FoundFrame) -> None:
        nonlocal seen_frames
        frames.append(stopwatch.mark())
        seen_frames += 1
        if len(frames) == work.turn and seen_frames < work.frames:
            channel.send({"frames": [asdict(times) for times in frames]})
            frames.clear()
            channel.receive()
            stopwatch.start()

    stopwatch.start()
    prompts = {number: ObjectPrompt(box=tuple(box)) for number, box in enumerate(work.boxes, 1)}  # type: ignore[arg-type]
    predictor = VideoPredictor(networks, fill_hole_area=work.fill_holes, release_passed_frames=True)
    with ExitStack() as stack:
        video = SharedFrames(stack.enter_context(open_video(decoded or work.clip)))
        plan = Plan(len(video), most=work.frames)
        writer = None
        if work.output is not None:
            writer = stack.enter_context(video_writer(Path(work.output), video.fps or Fraction(24), video.size))
        write_video(found_frames(predictor, video, prompts, plan, False), video, plan, prompts, writer, None, seen)
    channel.send({"frames": [asdict(times) for times in frames], "finish": asdict(stopwatch.mark())})


def facts(contender: Contender, networks: Networks) -> dict[str, Any]:
    """What is only known where the contender runs."""
    if contender.backend == "onnxruntime":
        import onnxruntime

        from ..runtime.onnxruntime_backend import OnnxRuntimeBackend

        return {
            "variant": networks.variant,
            "precision": precision_of(networks.variant),
            "provider": OnnxRuntimeBackend(contender.device, contender.threads).provider,
            "providers_available": onnxruntime.get_available_providers(),
            "onnxruntime": onnxruntime.__version__,
        }
    import torch

    from .mkl import mkl_path

    mkl = mkl_path()
    if contender.mkl_fast and mkl is None:
        raise ValueError(
            "--mkl-fast has no meaning here: this PyTorch does not use MKL, or its MKL says nothing of itself"
        )
    if contender.mkl_fast and mkl is not None and mkl.slow:
        raise RuntimeError(f"--mkl-fast had no effect: this MKL still uses code for {mkl.instructions}")
    known: dict[str, Any] = {"torch": torch.__version__, "mkl": None if mkl is None else mkl.as_json()}
    if contender.device != "cpu":
        known["gpu"] = torch.cuda.get_device_name(contender.device)
    return known


def peak_memory() -> int:
    """Most memory, in bytes, that this process has held at once.

    Linux keeps the number per program (``VmHWM``).  What ``getrusage`` gives there is at least as much as the parent
    held when it started this process.
    """
    if STATUS.is_file():
        for line in STATUS.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # thread pools of two libraries need not be taken down in order
