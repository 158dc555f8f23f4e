"""The folder of a run that can be resumed: one JSON per finished video, and what they were made with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .atomic import check_parent, finished_file

KEY = "run.json"
RECORDS = "finished"
Record = dict[str, Any]


class RunFolder:
    """Records of finished videos under `folder`.

    Args:
        folder: made when absent; its parent has to exist.
        key: what a record depends on, such as the model's hash and the protocol.

    Raises:
        ValueError: the folder holds records that were made with something else, or files of something else.
        OSError: it cannot be written.
    """

    def __init__(self, folder: Path, key: Mapping[str, Any]) -> None:
        check_parent(folder)
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"{folder} is a file; name a folder to write into")
        self.folder = folder
        key = json.loads(json.dumps(key))
        if (folder / KEY).is_file():
            _check_key(folder, key)
        elif folder.is_dir() and any(folder.iterdir()):
            raise ValueError(f"{folder} holds files but no {KEY}, so it is not an evaluation; name another folder")
        (folder / RECORDS).mkdir(parents=True, exist_ok=True)
        with finished_file(folder / KEY) as part:
            part.write_text(json.dumps(key, indent=1) + "\n", encoding="utf-8")

    def read(self, name: str) -> Record | None:
        """The record of a video, or None if it is not finished.

        Raises:
            ValueError: the file is damaged.
        """
        path = self._path(name)
        if not path.is_file():
            return None
        return _read(path)

    def write(self, name: str, record: Record) -> None:
        """Keep the record of a finished video, whole or not at all."""
        with finished_file(self._path(name)) as part:
            part.write_text(json.dumps(record) + "\n", encoding="utf-8")

    def _path(self, name: str) -> Path:
        return self.folder / RECORDS / f"{name}.json"


def fingerprint(files: Iterable[Path]) -> str:
    """What tells files from what they were: a hash of their names, sizes and times of change."""
    found = hashlib.sha256()
    for path in sorted(path for path in files if not path.name.startswith(".")):
        status = path.stat()
        found.update(f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return found.hexdigest()


def _check_key(folder: Path, key: Mapping[str, Any]) -> None:
    found = _read(folder / KEY)
    for name in sorted({*found, *key}):
        if found.get(name) != key.get(name):
            raise ValueError(
                f"{folder} holds results of another run: its {name} is {_shown(found.get(name))}, now it is "
                f"{_shown(key.get(name))}; name another folder"
            )


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:12]}..."


def _read(path: Path) -> Record:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged; delete it to have it made again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged; delete it to have it made again")
    return content
