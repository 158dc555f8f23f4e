"""Synthetic clips: repeatable, exact masks, broken input."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

cv2 = pytest.importorskip("cv2", reason="training clips need OpenCV: pip install 'etam-onnx[train]'")

from etam_onnx.training.clips import ClipMaker  # noqa: E402
from etam_onnx.training.images import load_images, source_weights  # noqa: E402
from etam_onnx.training.motion import Motion, placement  # noqa: E402
from etam_onnx.training.rendering import Look, lay_sprite, streak_kernel  # noqa: E402
from etam_onnx.training.sheet import contact_sheet  # noqa: E402
from etam_onnx.training.sprites import Sprite, cut_out  # noqa: E402


def write_data_set(root: Path, count: int = 4) -> Path:
    """A folder like the real one: noise photographs, one disc each in a colour of its own."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    rng = np.random.default_rng(7)
    rows = []
    for number in range(count):
        image = rng.integers(0, 90, (120, 160, 3), dtype=np.uint8)
        mask = np.zeros((120, 160), np.uint8)
        cv2.circle(mask, (60 + 8 * number, 60), 34, 1, -1)
        image[mask == 1] = (240, 40 * number, 60)
        mask[:4] = 255
        Image.fromarray(image).save(root / "images" / f"disc{number}.jpg", quality=95)
        palette = Image.fromarray(mask)
        palette.putpalette([value for index in range(256) for value in (index, 0, 0)])
        palette.save(root / "masks" / f"disc{number}.png")
        split = "val" if number == count - 1 else "train"
        rows.append([f"disc{number}", "discs", "CC0", split, 160, 120, 1])
    with (root / "index.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "source", "licence", "split", "width", "height", "n_objects"])
        writer.writerows(rows)
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data_set(tmp_path_factory.mktemp("discs") / "set")


@pytest.fixture(scope="module")
def maker(data: Path) -> ClipMaker:
    return ClipMaker(load_images(data, "train"))


def test_splits_are_kept_apart(data: Path) -> None:
    assert [image.name for image in load_images(data, "train")] == ["disc0", "disc1", "disc2"]
    assert [image.name for image in load_images(data, "val")] == ["disc3"]


def test_ignored_pixels_are_no_object(data: Path) -> None:
    image = load_images(data, "train")[0]
    assert image.objects == (1,)
    assert (image.mask == 255).sum() == 4 * 160


def test_broken_images_are_left_out_and_counted(tmp_path: Path) -> None:
    root = write_data_set(tmp_path / "set")
    (root / "images" / "disc0.jpg").write_bytes((root / "images" / "disc0.jpg").read_bytes()[:300])
    (root / "masks" / "disc1.png").unlink()
    with pytest.warns(UserWarning, match=r"Left out 2 of 3 images of the train split.*disc0\.jpg cannot be read"):
        images = load_images(root, "train")
    assert [image.name for image in images] == ["disc2"]


def test_mask_of_another_size_is_named(tmp_path: Path) -> None:
    root = write_data_set(tmp_path / "set")
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(root / "masks" / "disc2.png")
    with pytest.warns(UserWarning, match=r"disc2: the image is \(120, 160\) but its mask is \(10, 10\)"):
        load_images(root, "train")


def test_folder_without_index(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no index\.csv"):
        load_images(tmp_path, "train")


def test_every_source_has_its_share(data: Path) -> None:
    weights = source_weights(load_images(data, "train"))
    assert weights == pytest.approx([1 / 3] * 3)


def test_same_seed_same_clip_other_seed_other_clip(maker: ClipMaker) -> None:
    first, again, other = (maker.make([seed], 64, (0, 1, 3)) for seed in (5, 5, 6))
    assert np.array_equal(first.frames, again.frames) and np.array_equal(first.masks, again.masks)
    assert not np.array_equal(first.frames, other.frames)


def test_clips_show_the_object_and_move(maker: ClipMaker) -> None:
    for seed in range(12):
        clip = maker.make([seed, 1], 96, (0, 2, 5))
        assert clip.frames.shape == (3, 96, 96, 3) and clip.frames.dtype == np.uint8
        assert clip.masks.shape == (3, 96, 96) and clip.masks.dtype == bool
        assert 0.004 <= clip.masks[0].mean() <= 0.7
        assert not np.array_equal(clip.frames[0], clip.frames[2])


def test_a_frame_does_not_depend_on_how_many_follow(maker: ClipMaker) -> None:
    long, short = maker.make([3], 64, (0, 2, 4)), maker.make([3], 64, (0, 2))
    assert np.array_equal(long.masks[:2], short.masks)


def test_times_must_start_at_zero_and_increase(maker: ClipMaker) -> None:
    with pytest.raises(ValueError, match="must start at 0 and increase"):
        maker.make([0], 64, (0, 2, 2))


def test_motion_starts_where_the_thing_is() -> None:
    motion = Motion.draw(np.random.default_rng(0), 30.0, 0.3, 0.5)
    assert motion.matrix(0, (20.0, 10.0)) == pytest.approx(np.eye(3))


def test_placement_maps_corners() -> None:
    matrix = placement(10, 4, (50.0, 30.0), (20.0, 12.0), 0.0)
    assert matrix @ (0, 0, 1) == pytest.approx([40, 24, 1])
    assert matrix @ (10, 4, 1) == pytest.approx([60, 36, 1])


def test_an_opaque_sprite_replaces_and_a_half_opaque_one_blends() -> None:
    sprite = Sprite(np.full((4, 4, 4), (100, 50, 0, 255), np.uint8))
    shift = np.array([[1.0, 0, 2], [0, 1, 3], [0, 0, 1]])
    frame = np.full((12, 12, 3), 200, np.uint8)
    alpha = lay_sprite(frame, sprite, shift, None, 0.0)
    expected = np.zeros((12, 12), np.uint8)
    expected[3:7, 2:6] = 255
    assert np.array_equal(alpha, expected)
    assert np.array_equal(frame[4, 3], (100, 50, 0)) and np.array_equal(frame[0, 0], (200, 200, 200))
    frame = np.full((12, 12, 3), 200, np.uint8)
    lay_sprite(frame, sprite, shift, None, 0.0, opacity=0.6)
    assert np.abs(frame[4, 3].astype(int) - (140, 110, 80)).max() <= 1


def test_a_sprite_outside_leaves_the_frame_alone() -> None:
    frame = np.full((8, 8, 3), 9, np.uint8)
    far = np.array([[1.0, 0, 100], [0, 1, 0], [0, 0, 1]])
    alpha = lay_sprite(frame, Sprite(np.full((3, 3, 4), 255, np.uint8)), far, None, 0.0)
    assert not alpha.any() and (frame == 9).all()


def test_cut_out_keeps_the_colour_of_the_object(data: Path) -> None:
    image = load_images(data, "train")[1]
    sprite = cut_out(image, 1)
    middle = sprite.rgba[sprite.height // 2, sprite.width // 2].astype(int)
    assert np.abs(middle - (240, 40, 60, 255)).max() <= 6
    assert not sprite.rgba[0].any()


def test_noise_reaches_all_channels_alike() -> None:
    plain = dict(gain=np.ones(3), offset=np.zeros(3), gamma=1.0, saturation=1.0, blur=0.0, flicker=0.0)
    grey = np.full((64, 64, 3), 128, np.uint8)
    noisy = Look(noise=6.0, **plain).apply(grey, np.random.default_rng(0)).astype(float)
    assert noisy.mean((0, 1)) == pytest.approx([128] * 3, abs=0.5)
    assert noisy.std((0, 1)) == pytest.approx([6] * 3, abs=0.5)


def test_streak_is_an_average_along_the_movement() -> None:
    kernel = streak_kernel(7.0, 0.0)
    assert kernel is not None and kernel.shape == (7, 7)
    assert kernel[3] == pytest.approx([1 / 7] * 7) and kernel.sum() == pytest.approx(1)
    assert streak_kernel(1.0, 1.0) is None


def test_contact_sheet_holds_every_frame(maker: ClipMaker) -> None:
    clips = [maker.make([seed], 64, (0, 1, 2)) for seed in range(2)]
    sheet = contact_sheet(clips)
    assert sheet.shape == (128, 192, 3)
    assert (sheet[:64, :64] == (255, 0, 0)).all(2).any()
