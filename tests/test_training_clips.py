"""Synthetic clips: repeatable, exact masks of several objects, things that come back, light; broken input."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

cv2 = pytest.importorskip("cv2", reason="training clips need OpenCV: pip install 'etam-onnx[train]'")

from etam_onnx.cli.main import main  # noqa: E402
from etam_onnx.training import scene as scenes  # noqa: E402
from etam_onnx.training.clips import ClipMaker  # noqa: E402
from etam_onnx.training.images import load_images, source_weights  # noqa: E402
from etam_onnx.training.layers import draw_layer  # noqa: E402
from etam_onnx.training.lighting import Lighting, Shadow  # noqa: E402
from etam_onnx.training.motion import Motion, Swing, placement  # noqa: E402
from etam_onnx.training.parts import draw_part  # noqa: E402
from etam_onnx.training.rendering import Look, lay_sprite, streak_kernel  # noqa: E402
from etam_onnx.training.scene import Scene  # noqa: E402
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
        assert clip.masks.shape == (1, 3, 96, 96) and clip.masks.dtype == bool
        assert clip.surfaces is not None and clip.surfaces.shape == (3, 6, 6, 3)
        assert 0.004 <= clip.masks[0, 0].mean() <= 0.7
        assert not np.array_equal(clip.frames[0], clip.frames[2])


def test_a_frame_does_not_depend_on_how_many_follow(maker: ClipMaker) -> None:
    long, short = maker.make([3], 64, (0, 2, 4)), maker.make([3], 64, (0, 2))
    assert np.array_equal(long.masks[:, :2], short.masks) and np.array_equal(long.frames[:2], short.frames)


def test_more_objects_change_nothing_but_the_masks(maker: ClipMaker) -> None:
    counts = set()
    for seed in range(8):
        one, several = (maker.make([seed], 64, (0, 3), objects) for objects in (1, 4))
        assert np.array_equal(one.frames, several.frames)
        assert np.array_equal(one.masks, several.masks[:1])
        assert several.masks[:, 0].mean((1, 2)).min() >= 0.004  # the first frame shows every object
        counts.add(len(several.masks))
    assert max(counts) >= 3 and max(counts) <= 4


def test_a_part_lies_inside_its_object(maker: ClipMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "PART_SHARE", 1.0)
    shares = []
    for seed in range(8):
        clip = maker.make([seed, 9], 96, (0, 2, 4), objects=2)
        if len(clip.masks) == 2 and (clip.masks[0] & clip.masks[1]).any():  # else there is no part: things are apart
            part, whole = clip.masks
            assert not (part & ~whole).any()
            shares.append(part[0].sum() / whole[0].sum())
    assert len(shares) >= 4 and 0.05 < np.median(shares) < 0.9


def test_a_piece_of_an_object_is_connected_and_neither_all_nor_nothing() -> None:
    rng = np.random.default_rng(0)
    rgb = np.zeros((60, 80, 3), np.uint8)
    rgb[:, 40:] = (200, 30, 30)
    alpha = np.zeros((60, 80), np.uint8)
    cv2.ellipse(alpha, (40, 30), (36, 26), 0, 0, 360, 255, -1)
    pieces = [piece for _ in range(12) if (piece := draw_part(rng, rgb, alpha)) is not None]
    assert len(pieces) >= 10
    for piece in pieces:
        assert 0.12 <= (piece > 0).sum() / (alpha > 0).sum() <= 0.75
        assert not (piece[alpha == 0]).any()
        assert cv2.connectedComponents(piece)[0] == 2
    assert any(abs(float(np.nonzero(piece)[1].min()) - 40) <= 3 for piece in pieces)  # the red half, by its colour


def test_some_objects_leave_the_picture_and_come_back(maker: ClipMaker) -> None:
    returned = 0
    for seed in range(40):
        seen = maker.make([seed, 2], 48, tuple(range(0, 30, 2)), objects=4).masks.any((2, 3))
        for row in seen:
            gone = np.flatnonzero(~row)
            returned += len(gone) > 0 and bool(row[gone[0] :].any())
    assert returned >= 3


def test_a_layer_shows_in_the_surface_where_it_lay_at_first() -> None:
    compared = 0
    y, x = np.mgrid[0:80, 0:80].astype(np.uint8)
    painted = Sprite(np.dstack([3 * x, 3 * y, np.full_like(x, 90), np.full_like(x, 255)]))
    for seed in range(6):
        layer = draw_layer(np.random.default_rng(seed), painted, 128, leaves=False)
        first, later = np.zeros((2, 128, 128, 3), np.uint8)
        camera = Motion.draw(np.random.default_rng(seed + 50), 10.0, 0.1, 0.1).matrix(4, (64, 64))
        before = layer.draw(first, np.eye(3), 0, None).alpha > 127
        covered = layer.draw(later, camera, 4, None).alpha > 127
        surface = np.full((8, 8, 3), -1, np.float32)
        layer.show(surface, 5, camera, 4, covered)
        rows, columns = np.nonzero(surface[..., 0] == 5)
        assert np.array_equal(surface[..., 0] == 5, covered[8::16, 8::16])
        for row, column in zip(rows, columns, strict=True):
            left, top = surface[row, column, 1:].round().astype(int)
            if 2 <= left < 126 and 2 <= top < 126 and before[top - 2 : top + 3, left - 2 : left + 3].all():
                # 3 grey levels a pixel of the sprite; the ripple is left aside, so some pixels of it are allowed.
                allowed = 14 if layer.wave is None else 14 + 6 * layer.wave.amplitude
                difference = first[top, left].astype(int) - later[16 * row + 8, 16 * column + 8]
                assert np.abs(difference).max() <= allowed
                compared += 1
    assert compared > 20


def test_equal_surfaces_show_equal_points_of_the_ground(maker: ClipMaker) -> None:
    compared = 0
    for seed in range(12):
        scene = Scene(maker.album, np.random.default_rng(seed), 128)
        scene.look = Look(np.ones(3), np.zeros(3), 1.0, 1.0, 0.0, 0.0, 0.0)
        scene.lighting, scene.smear, scene.layers, scene.target = Lighting(None, None, None), False, [], None
        y, x = np.mgrid[0 : scene.ground.fit[1], 0 : scene.ground.fit[0]]
        smooth = np.dstack([128 + 100 * np.sin(x / 40), 128 + 100 * np.cos(y / 40), 128 + 100 * np.sin((x + y) / 60)])
        scene.ground.photograph = smooth.astype(np.uint8)
        first, later = (scene.ground.picture(np.eye(3), 0.0), scene.ground.picture(np.eye(3), 6.0))
        if scene.ground.wave is not None:  # its ripple moves between the two, and is left aside
            continue
        places = later[2][..., 1:].round().astype(int)
        for row, column in np.ndindex(8, 8):
            left, top = places[row, column]
            if 0 <= left < 128 and 0 <= top < 128:
                difference = first[0][top, left].astype(int) - later[0][16 * row + 8, 16 * column + 8]
                assert np.abs(difference).max() <= 6
                compared += 1
    assert compared > 200


def test_a_mirrored_scene_has_mirrored_surfaces(maker: ClipMaker) -> None:
    plain, mirrored = (Scene(maker.album, np.random.default_rng(4), 64) for _ in range(2))
    plain.flip, mirrored.flip = False, True
    one, other = plain.frame(3), mirrored.frame(3)
    assert np.array_equal(one.frame[:, ::-1], other.frame) and np.array_equal(one.masks[..., ::-1], other.masks)
    assert np.array_equal(one.surface[:, ::-1, 0], other.surface[..., 0])
    assert one.surface[:, ::-1, 1] + other.surface[..., 1] == pytest.approx(np.full((4, 4), 63.0), abs=1e-3)


def test_light_drifts_from_what_it_was_at_first() -> None:
    light = Lighting(Swing(0.2, 0.3, 0.0), Swing(0.05, 0.3, 0.0), None)
    assert light.gain(0) == pytest.approx(np.ones(3))
    brightness, warmth = 0.2 * np.sin(1.2), 0.05 * np.sin(1.2)
    assert light.gain(4) == pytest.approx(np.exp([brightness + warmth, brightness, brightness - warmth]))


def test_a_shadow_darkens_a_band_that_moves() -> None:
    shadow = Shadow(darkness=0.5, angle=0.0, start=-20.0, width=30.0, softness=4.0, speed=5.0)
    light = Lighting(None, None, shadow)
    frame = np.full((96, 96, 3), 200, np.uint8)
    early, late = (light.shade(frame, time)[48, :, 0].astype(int) for time in (0, 8))
    assert abs(early.min() - 100) <= 2 and early.max() == 200
    dark_early, dark_late = (np.flatnonzero(row < 150).mean() for row in (early, late))
    assert dark_late - dark_early == pytest.approx(40, abs=4)
    assert Lighting(None, None, None).shade(frame, 3) is frame


def test_times_must_start_at_zero_and_increase(maker: ClipMaker) -> None:
    with pytest.raises(ValueError, match="must start at 0 and increase"):
        maker.make([0], 64, (0, 2, 2))
    with pytest.raises(ValueError, match="at least one object"):
        maker.make([0], 64, (0, 1), objects=0)


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
    alpha = lay_sprite(frame, sprite, shift, None, 0.0).alpha
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
    laid = lay_sprite(frame, Sprite(np.full((3, 3, 4), 255, np.uint8)), far, None, 0.0)
    assert not laid.alpha.any() and laid.part is None and (frame == 9).all()


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


def test_contact_sheet_holds_every_frame_and_object(maker: ClipMaker) -> None:
    clips = [clip for seed in range(9) if len((clip := maker.make([seed], 64, (0, 1, 2), 2)).masks) == 2][:2]
    sheet = contact_sheet(clips)
    assert sheet.shape == (128, 192, 3)
    assert (sheet[:64, :64] == (255, 0, 0)).all(2).any() and (sheet[64:, :64] == (0, 200, 255)).all(2).any()
    with pytest.raises(ValueError, match="clips of one shape"):
        contact_sheet([clips[0], maker.make([0], 64, (0,), 1)])


def test_the_command_draws_a_sheet(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "sheet.png"
    words = ["clips", "--data", str(data), "-o", str(output), "--count", "2", "--frames", "3", "--size", "64"]
    assert main([*words, "--seed", "3", "--objects", "2"]) == 0
    assert "2 clips of 3 frames" in capsys.readouterr().out
    first = np.array(Image.open(output))
    assert first.shape == (128, 192, 3)
    assert main([*words, "--seed", "3", "--objects", "2"]) == 0
    assert np.array_equal(first, np.array(Image.open(output)))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (["--frames", "0"], "--frames must be at least 1"),
        (["--data", "nowhere"], "There is no folder nowhere"),
        (["-o", "sheet.jpg"], "does not end in .png"),
        (["-o", "nowhere/sheet.png"], "there is no folder nowhere"),
        (["--count", "90000"], "over 200 megapixels"),
    ],
)
def test_the_command_says_what_is_wrong(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: list[str], sentence: str
) -> None:
    assert main(["clips", "--data", str(data), "-o", str(tmp_path / "sheet.png"), *change]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ") and sentence in message and message.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
