"""How the benchmarks lie on disk: which folder holds the frames of a video and which its masks.

folders      <video>/images/*.jpg             <video>/masks/*.png
davis        JPEGImages/480p/<video>/         Annotations/480p/<video>/        (or Full-Resolution)
mose         JPEGImages/<video>/              Annotations/<video>/
lvos         as mose, with a meta.json that gives each object a frame_range
youtube-vos  as mose, with a meta.json that gives each object a category
sa-v         JPEGImages_24fps/<video>/        Annotations_6fps/<video>/<object>/
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..runtime.frames import PICTURES, natural_key
from ..runtime.label_maps import object_ids, read_label_map
from .conventions import CONVENTIONS, Convention, Format
from .sequences import AnnotatedSequence, LabelMaps, ObjectFolders

RESOLUTIONS = ("480p", "Full-Resolution")
META_FILES = ("meta.json", "valid_meta.json", "val_meta.json", "test_meta.json")
DEFAULT_LISTS = ("ImageSets/2017/val.txt", "sav_val.txt", "sav_test.txt")
Meta = dict[str, dict[str, dict[str, Any]]]
"""Video -> object id -> what meta.json says about it."""


@dataclass(frozen=True)
class Dataset:
    """Annotated videos of one layout.  listed: the file that names them, if one was used."""

    format: Format
    sequences: list[AnnotatedSequence]
    listed: Path | None = None

    @property
    def convention(self) -> Convention:
        """Which frames count."""
        return CONVENTIONS[self.format]


def read_dataset(
    root: Path, format: Format | None = None, names: list[str] | None = None, listed: Path | None = None
) -> Dataset:
    """Find annotated videos under a folder, sorted by name; frames are not opened yet.

    Args:
        root: folder of the data set, or of one of its splits.
        format: its layout; recognised when not given.
        names: only these videos, in this order, each once.
        listed: a file with one name per line; without it and without `names`, the list that the data set
            itself brings for validation, where there is one (DAVIS 2017, SA-V).

    Raises:
        FileNotFoundError: the folder, a named video or a file is missing, or nothing was found.
        ValueError: the layout is not one of these, or a mask has no frame of the same name.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder")
    format = format or recognised_format(root)
    folders = _video_folders(root, format)
    if not folders:
        raise FileNotFoundError(f"{root} holds no video in the layout {format}")
    if names is None:
        listed = listed or next((root / name for name in DEFAULT_LISTS if (root / name).is_file()), None)
        names = read_list(listed) if listed else sorted(folders)
    else:
        listed = None
    meta = _read_meta(root) if format in ("lvos", "youtube-vos") else {}
    sequences = []
    for name in dict.fromkeys(names):
        if name not in folders:
            raise FileNotFoundError(f"sequence {name} is not in {root}")
        sequences.append(_sequence(name, *folders[name], format, meta.get(name, {})))
    return Dataset(format, sequences, listed)


def recognised_format(root: Path) -> Format:
    """The layout of a folder.

    Raises:
        FileNotFoundError: it has none of the known layouts.
    """
    if (root / "JPEGImages_24fps").is_dir():
        return "sa-v"
    if any((root / "JPEGImages" / resolution).is_dir() for resolution in RESOLUTIONS):
        return "davis"
    if (root / "JPEGImages").is_dir() and (root / "Annotations").is_dir():
        facts = [fact for objects in _read_meta(root).values() for fact in objects.values()]
        if any("frame_range" in fact for fact in facts):
            return "lvos"
        return "youtube-vos" if any("category" in fact for fact in facts) else "mose"
    if any(root.glob("[!.]*/images/")):
        return "folders"
    raise FileNotFoundError(
        f"{root} holds no sequence in a known layout: <video>/images and <video>/masks, JPEGImages and Annotations "
        "(DAVIS, MOSE, LVOS, YouTube-VOS), or JPEGImages_24fps and Annotations_6fps (SA-V)"
    )


def read_list(path: Path) -> list[str]:
    """Names of videos from a text file, one per line.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it names nothing.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no list of sequences {path}")
    names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not names:
        raise ValueError(f"{path} names no sequence")
    return names


def _video_folders(root: Path, format: Format) -> dict[str, tuple[Path, Path]]:
    """Video -> its folder of frames and its folder of masks."""
    if format == "folders":
        return {folder.parent.name: (folder, folder.parent / "masks") for folder in root.glob("[!.]*/images/")}
    if format == "sa-v":
        images, masks = root / "JPEGImages_24fps", root / "Annotations_6fps"
    elif format == "davis":
        resolution = next((name for name in RESOLUTIONS if (root / "JPEGImages" / name).is_dir()), RESOLUTIONS[0])
        images, masks = root / "JPEGImages" / resolution, root / "Annotations" / resolution
    else:
        images, masks = root / "JPEGImages", root / "Annotations"
    return {folder.name: (folder, masks / folder.name) for folder in images.glob("[!.]*/")}


def _sequence(
    name: str, image_folder: Path, mask_folder: Path, format: Format, facts: dict[str, dict[str, Any]]
) -> AnnotatedSequence:
    # The order is that of the video, which goes by names with their suffix.
    pictures = (path for path in image_folder.glob("[!.]*") if path.suffix.lower() in PICTURES)
    frame_names = tuple(path.stem for path in sorted(pictures, key=lambda path: natural_key(path.name)))
    number_of = {stem: number for number, stem in enumerate(frame_names)}

    def numbered(folder: Path) -> dict[int, Path]:
        found = {}
        for path in sorted(folder.glob("[!.]*.png")):
            if path.stem not in number_of:
                raise ValueError(f"sequence {name}: mask {path.name} has no frame of that name in {image_folder}")
            found[number_of[path.stem]] = path
        return found

    truth: LabelMaps | ObjectFolders
    if format == "sa-v":
        truth = ObjectFolders(
            {_object_number(folder): numbered(folder) for folder in sorted(mask_folder.glob("[!.]*/"))}
        )
    else:
        truth = _label_maps(numbered(mask_folder), CONVENTIONS[format].no_object)
    if not truth.frames():
        raise FileNotFoundError(f"sequence {name} has no masks in {mask_folder}")
    try:
        until, categories = _object_facts(facts, frame_names)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"sequence {name}: what meta.json says of its objects does not fit its frames") from error
    return AnnotatedSequence(name, image_folder, frame_names, truth, until, categories)


def _label_maps(paths: dict[int, Path], no_object: int | None) -> LabelMaps:
    """Label maps by frame; in DAVIS 2016 the only object has the label that is no object in DAVIS 2017."""
    if paths and no_object is not None and object_ids(read_label_map(paths[min(paths)])) == [no_object]:
        no_object = None
    return LabelMaps(paths, no_object)


def _object_facts(
    facts: dict[str, dict[str, Any]], frame_names: tuple[str, ...]
) -> tuple[dict[int, int], dict[int, str]]:
    """Object id -> the frame from which on it no longer counts, and object id -> category, where they are given."""
    until, categories = {}, {}
    for object_id, fact in facts.items():
        if "frame_range" in fact:
            end = int(fact["frame_range"]["end"])
            until[int(object_id)] = sum(int(stem) < end for stem in frame_names)
        if "category" in fact:
            categories[int(object_id)] = str(fact["category"])
    return until, categories


def _object_number(folder: Path) -> int:
    if not folder.name.isdecimal():
        raise ValueError(f"{folder} should be named by an object's number, such as 000")
    return int(folder.name)


def _read_meta(root: Path) -> Meta:
    """What a meta.json of the data set says about each object; nothing where there is none."""
    path = next((root / name for name in META_FILES if (root / name).is_file()), None)
    return {} if path is None else read_meta(path)


def read_meta(path: Path) -> Meta:
    """The objects of a meta.json as YouTube-VOS and LVOS write it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        videos = json.loads(path.read_text(encoding="utf-8"))["videos"]
        return {
            name: {number: dict(fact) for number, fact in video["objects"].items()} for name, video in videos.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a meta.json with the objects of each video") from error
