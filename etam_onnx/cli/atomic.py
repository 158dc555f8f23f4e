"""Output that is either finished or not there: written beside its place under a hidden name, then renamed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def check_parent(path: Path) -> None:
    """FileNotFoundError unless the folder that `path` goes into exists, with a sentence that names it."""
    parent = path.absolute().parent
    if not parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} into")


def hidden_name(path: Path) -> Path:
    """A name beside `path` for what is not finished; it ends in `.part` and is this process's own."""
    return path.absolute().parent / f".{path.name}.{os.getpid()}.part"


@contextmanager
def finished_file(path: Path) -> Iterator[Path]:
    """A name to write to. It becomes `path` when the block ends; left early, the block leaves nothing."""
    check_parent(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file to write")
    part = hidden_name(path)
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def finished_files(folder: Path) -> Iterator[Path]:
    """A folder to write files to. They move into `folder`, which is made if absent, when the block ends."""
    check_parent(folder)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; name a folder to write into")
    part = hidden_name(folder)
    part.mkdir()
    try:
        yield part
        folder.mkdir(exist_ok=True)
        for file in sorted(part.iterdir()):
            os.replace(file, folder / file.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)
