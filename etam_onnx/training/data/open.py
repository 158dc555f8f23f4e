"""Recognises the layout of a data folder."""

from pathlib import Path

from ..clips import ClipSource
from ..images import SPLITS, load_images
from .augmentation import PLAIN, Augmentation
from .footage import FootageSource
from .frame_folders import find_labelled, find_separate, read_known_objects
from .photographs import Photographs
from .sa1b import MOST_MASKS, find_pictures
from .sav import find_videos

LAYOUTS = (
    "index.csv with images/ and masks/; sa_*.jpg with sa_*.json (SA-1B); sav_*.mp4 with sav_*_manual.json or "
    "_auto.json (SA-V); JPEGImages_24fps with Annotations_6fps (SA-V val); JPEGImages with Annotations (DAVIS, "
    "YouTube-VOS, MOSE)"
)
SPLIT_FOLDERS = {"train": ("train", "sav_train"), "val": ("valid", "val", "sav_val")}
DAVIS_SIZES = ("480p", "Full-Resolution", "1080p")


def open_source(folder: Path | str, split: str = "train", augmentation: Augmentation | None = None) -> ClipSource:
    """The clips of a data folder in one of the published layouts.

    `split` is "train" or "val". It is taken from the column of index.csv, from the lists of names that DAVIS and SA-V
    publish, or from the folders train and valid; a video that a list gives to another split is never used. A folder
    without any of these is a train split. `augmentation`: None is the paper's for "train" and nothing for "val".

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no layout is recognised, or nothing of this split is there.
    """
    root = Path(folder)
    if split not in SPLITS:
        raise ValueError(f"The split must be one of {', '.join(SPLITS)}, not {split!r}.")
    if not root.is_dir():
        raise FileNotFoundError(f"There is no folder {root} with training data.")
    if augmentation is None:
        augmentation = Augmentation() if split == "train" else PLAIN
    if (root / "index.csv").is_file():
        return Photographs(root.name, load_images(root, split), augmentation)
    for name in SPLIT_FOLDERS[split]:
        if (root / name).is_dir():
            source = _published(root / name, split, augmentation, divided=True)
            if source is not None:
                return source
    source = _published(root, split, augmentation, divided=False)
    if source is None:
        raise ValueError(f"{root} has none of the known layouts of training data: {LAYOUTS}.")
    return source


def _published(root: Path, split: str, augmentation: Augmentation, divided: bool) -> FootageSource | None:
    """The source of a published data set; None if it is none. `divided`: the folder holds this split alone."""
    names, listed = _names(root, split)
    most, still = None, False
    if (root / "JPEGImages_24fps").is_dir() and (root / "Annotations_6fps").is_dir():
        items = find_separate(root / "JPEGImages_24fps", root / "Annotations_6fps")
    elif (root / "JPEGImages").is_dir() and (root / "Annotations").is_dir():
        size = next((size for size in DAVIS_SIZES if (root / "JPEGImages" / size).is_dir()), ".")
        meta = root / "meta.json"
        known = read_known_objects(meta) if meta.is_file() else None
        items = find_labelled(root / "JPEGImages" / size, root / "Annotations" / size, known)
    elif not (items := find_videos(root)):
        items, most, still = find_pictures(root), MOST_MASKS, True
    if not items:
        return None
    if split != "train" and not (divided or listed):
        raise ValueError(f"{root} is not divided into splits: it can be trained on, but has no {split} split.")
    items = [item for item in items if (item[0] in names) == listed]
    if not items:
        raise ValueError(f"{root} has nothing of the {split} split.")
    return FootageSource(root.name, items, augmentation, most, still=still)


def _names(root: Path, split: str) -> tuple[set[str], bool]:
    """(names, True): those that a published list gives to the split; (names, False): those of other splits."""
    own = _lists(root, split)
    if own:
        return set().union(*(_read_names(path) for path in own)), True
    others = [path for other in ("train", "val", "test", "test-dev", "test-challenge") for path in _lists(root, other)]
    return set().union(*(_read_names(path) for path in others)), False


def _lists(root: Path, split: str) -> list[Path]:
    """Files of names: `ImageSets/2017/train.txt` of DAVIS, its older one, `sav_val.txt` of SA-V."""
    places = [*(root / "ImageSets" / year / f"{split}.txt" for year in ("2017", "2016")), root / f"sav_{split}.txt"]
    return [path for path in places if path.is_file()][:1]


def _read_names(path: Path) -> set[str]:
    return {line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()}
