"""What can go wrong at run time, each said in one sentence."""

from ..graphs.errors import BundleError


class PromptError(ValueError):
    """A prompt that means nothing: a point outside the frame, a label without a point, a mask of another size."""


class FrameError(ValueError):
    """A frame that cannot be used: another shape or dtype than expected."""


class DeviceError(RuntimeError):
    """The device asked for is not to be had here."""


class StateError(RuntimeError):
    """A call that makes no sense now: tracking without prompts, prompting before any frame."""


__all__ = ["BundleError", "DeviceError", "FrameError", "PromptError", "StateError"]
