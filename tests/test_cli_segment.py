"""`etam-onnx segment` from the user's side, with a predictor that finds a colour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from painted_video import disc_frames, discs
from PIL import Image

from etam_onnx.cli import segment
from etam_onnx.cli.main import main
from etam_onnx.cli.overlay import colour_of


class ColourFinder:
    """Has the interface of `ImagePredictor`; of its three masks the second is right and scores best."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def set_image(self, image: np.ndarray) -> None:
        self.image = image.astype(int)

    def predict(
        self,
        point_coords: Any = None,
        point_labels: Any = None,
        box: Any = None,
        mask_input: Any = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.calls.append({"points": point_coords, "labels": point_labels, "box": box, "three": multimask_output})
        x, y = np.asarray(point_coords if box is None else box).reshape(-1, 2).mean(0).astype(int)
        logits = (130.0 - np.abs(self.image - self.image[y, x]).sum(2)).astype(np.float32)[None]
        if multimask_output:
            logits = np.concatenate([-logits, logits, -logits])
        return logits, np.array([0.2, 0.9, 0.4][: len(logits)], np.float32), logits[:, ::4, ::4]


@pytest.fixture
def finder(monkeypatch: pytest.MonkeyPatch) -> ColourFinder:
    found = ColourFinder()
    monkeypatch.setattr(segment, "load_predictor", lambda options: found)
    return found


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.fromarray(disc_frames(1)[0]).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def test_a_click_and_a_box(
    finder: ColourFinder, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, mask = tmp_path / "out.png", tmp_path / "mask.png"
    words = ["segment", str(picture), "--point", "30,40", "--box", "118,78,142,102", "-o", str(out)]
    assert main([*words, "--mask-out", str(mask)]) == 0
    with Image.open(mask) as written:
        assert written.mode == "P"
        np.testing.assert_array_equal(np.array(written), discs(0)["red"] + 2 * discs(0)["blue"])
    with Image.open(out) as drawn:
        frame = np.array(drawn)
    for number, disc in ((1, "red"), (2, "blue")):
        top = np.argwhere(discs(0)[disc])[0]
        assert frame[tuple(top)].tolist() == list(colour_of(number))
    assert [call["three"] for call in finder.calls] == [True, False]
    red, blue = (int(discs(0)[disc].sum()) for disc in ("red", "blue"))
    first, second = (
        f"object 1: {red} pixels, predicted IoU 0.90",
        f"object 2: {blue} pixels, predicted IoU 0.20",
    )
    assert capsys.readouterr().out == f"{first}; {second}: {out} and {mask}\n"


def test_several_points_for_one_object_give_one_mask(finder: ColourFinder, picture: Path, tmp_path: Path) -> None:
    words = [
        "segment",
        str(picture),
        "--point",
        "1:28,40",
        "--point",
        "1:32,40",
        "-o",
        str(tmp_path / "out.jpg"),
    ]
    assert main(words) == 0
    (call,) = finder.calls
    assert call["points"].tolist() == [[28, 40], [32, 40]]
    assert call["labels"].tolist() == [1, 1]
    assert not call["three"]
    with Image.open(tmp_path / "out.jpg") as written:
        assert (written.format, written.size) == ("JPEG", (160, 120))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("absent.png --point 1,1 -o out.png", "there is no file absent.png"),
        ("note.txt --point 1,1 -o out.png", "cannot read note.txt: it is not a picture"),
        ("picture.png --point 1,1", "nothing to write: give -o OUT.png, --mask-out FILE.png or both"),
        ("picture.png -o out.png", "nothing to look for: give at least one --point X,Y or --box X0,Y0,X1,Y1"),
        ("picture.png --point 160,1 -o out.png", "--point 160,1 is outside the frame of 160x120 pixels"),
        ("picture.png --point 1,1 -o out.gif", "out.gif should end in .png, .jpg, .jpeg"),
        (
            "picture.png --point 1,1 --mask-out m.jpg",
            "m.jpg should end in .png: masks do not survive other formats",
        ),
        ("picture.png --point 1,1 -o a/out.png", "there is no folder a to write out.png into"),
        (
            "picture.png --point 1,1 -o picture.png",
            "picture.png is the picture itself; write to another file",
        ),
        ("picture.png --point 300:1,1 --mask-out m.png", "object id 300 does not fit a palette PNG"),
    ],
)
def test_errors_are_one_sentence_and_nothing_is_written(
    finder: ColourFinder,
    picture: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("note.txt").write_text("no picture")
    assert main(["segment", *words.split()]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"error: {sentence}")
    assert printed.err.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["note.txt", "picture.png"]
    assert finder.calls == []
