"""Data sets to train on, in the layouts they are published in. `open_source` recognises them."""

from .augmentation import PLAIN, Augmentation, Jitter
from .mixture import Mixture
from .open import open_source

__all__ = ["PLAIN", "Augmentation", "Jitter", "Mixture", "open_source"]
