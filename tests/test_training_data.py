"""Data sets in the layouts they are published in: read exactly, one seed one clip."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

cv2 = pytest.importorskip("cv2", reason="training data needs OpenCV: pip install 'etam-onnx[train]'")

from painted_video import encode  # noqa: E402
from test_training_clips import write_data_set  # noqa: E402

from etam_onnx.runtime.run_lengths import coco_string, run_lengths  # noqa: E402
from etam_onnx.training.clips import Clip  # noqa: E402
from etam_onnx.training.data import PLAIN, Augmentation, Jitter, Mixture, open_source  # noqa: E402
from etam_onnx.training.data.augmentation import AUGMENTATIONS  # noqa: E402
from etam_onnx.training.sources import open_sources  # noqa: E402

FORWARDS = Augmentation(flip=0.0, degrees=0.0, shear=0.0, jitter=Jitter(), grey=0.0, backwards=0.0)
BACKWARDS = Augmentation(flip=0.0, degrees=0.0, shear=0.0, jitter=Jitter(), grey=0.0, backwards=1.0)
WIDTH, HEIGHT, STEP = 256, 64, 5  # the red square moves STEP pixels to the right in each frame
VOID = 255


def label_map(number: int) -> np.ndarray:
    """Object 1, a square that moves, and from frame 2 on object 2, a disc that stays."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    if number >= 2:
        cv2.circle(labels, (WIDTH - 30, 44), 14, 2, -1)
    labels[6:36, 4 + STEP * number : 44 + STEP * number] = 1
    return labels


def picture(number: int) -> np.ndarray:
    """Frame `number`: object 1 is red, object 2 is blue, the rest green."""
    colours = np.array([(30, 110, 40), (220, 40, 40), (40, 60, 220)], np.uint8)
    return colours[label_map(number)]


def stored(mask: np.ndarray) -> dict:
    """A mask as SA-1B and SA-V store it."""
    return {"size": list(mask.shape), "counts": coco_string(run_lengths(mask))}


def write_palette(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels)
    image.putpalette([value for index in range(256) for value in (index, 0, 0)])
    image.save(path)


def write_frame(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(number)).save(path, quality=95)


def write_folders(root: Path, video: str, count: int, every: int = 1, size: str = ".") -> None:
    """A video in the layout of DAVIS (`size` "480p") or YouTube-VOS (every fifth frame)."""
    for number in range(0, count * every, every):
        write_frame(root / "JPEGImages" / size / video / f"{number:05d}.jpg", number // every)
        write_palette(root / "Annotations" / size / video / f"{number:05d}.png", label_map(number // every))


def write_sav(root: Path, name: str, annotated: int = 8, kinds: tuple[str, ...] = ("manual",)) -> None:
    """A video at 24 frames a second with the masklets of every fourth; `auto` has the second object."""
    root.mkdir(parents=True, exist_ok=True)
    count = 4 * annotated - 3
    encode(root / f"{name}.mp4", [picture(number) for number in range(count)], rate=Fraction(24))
    for kind in kinds:
        objects = (1,) if kind == "manual" else (2,)
        masklet = [[stored(label_map(n) == o) for o in objects] for n in range(0, count, 4)]
        table = {
            "video_id": name,
            "video_frame_count": float(count),
            "video_height": float(HEIGHT),
            "video_width": float(WIDTH),
            "video_split": "train",
            "masklet": masklet,
            "masklet_id": list(range(len(objects))),
            "masklet_frame_count": [len(masklet)] * len(objects),
            "masklet_type": [kind] * len(objects),
            "masklet_num": len(objects),
        }
        (root / f"{name}_{kind}.json").write_text(json.dumps(table))


def write_sa1b(root: Path, number: int, masks: list[np.ndarray]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    path = root / f"sa_{number}.jpg"
    Image.fromarray(picture(4)).save(path, quality=95)
    annotations = [
        {"id": index, "segmentation": stored(mask), "bbox": [0, 0, 1, 1], "area": int(mask.sum()),
         "predicted_iou": 0.95, "stability_score": 0.97, "crop_box": [0, 0, WIDTH, HEIGHT], "point_coords": [[1, 1]]}
        for index, mask in enumerate(masks)
    ]  # fmt: skip
    image = {"image_id": number, "width": WIDTH, "height": HEIGHT, "file_name": path.name}
    path.with_suffix(".json").write_text(json.dumps({"image": image, "annotations": annotations}))
    return path


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


def colour_overlaps(clip: Clip) -> np.ndarray:
    """(K, T): how well each mask covers what is painted in the colour of its object."""
    frames = clip.frames.astype(int)
    red = (frames[..., 0] > 130) & (frames[..., 2] < 120)
    blue = (frames[..., 2] > 130) & (frames[..., 0] < 120)
    best = []
    for mask in clip.masks:
        rows = [[overlap(m, c) for m, c in zip(mask, colour, strict=True)] for colour in (red, blue)]
        best.append(max(rows, key=sum))
    return np.array(best)


def steps(clip: Clip) -> np.ndarray:
    """How many frames the red square has moved from one frame of the clip to the next."""
    middles = [np.flatnonzero(mask.any(0)).mean() for mask in clip.masks[0]]
    return np.diff(middles) * WIDTH / clip.frames.shape[2] / STEP


def same(one: Clip, other: Clip) -> bool:
    return np.array_equal(one.frames, other.frames) and np.array_equal(one.masks, other.masks)


def test_photographs_are_clips_of_one_frame_or_synthetic_ones(tmp_path: Path) -> None:
    source = open_source(write_data_set(tmp_path / "set"), augmentation=PLAIN)
    still = source.make([1], 64, (0,), 3)
    assert still.frames.shape == (1, 64, 64, 3) and still.masks.shape == (1, 1, 64, 64)
    assert overlap(still.masks[0, 0], still.frames[0, ..., 0] > 150) > 0.9
    moving = source.make([1], 64, (0, 1, 4), 3)
    assert moving.frames.shape == (3, 64, 64, 3) and moving.surfaces is not None
    held_out = open_source(tmp_path / "set", "val").make([1], 64, (0,), 1)
    assert not np.array_equal(held_out.frames, still.frames)


def test_stills_of_little_data_are_varied_and_some_are_painted(tmp_path: Path) -> None:
    source = open_source(write_data_set(tmp_path / "set"), augmentation=AUGMENTATIONS["strong"])
    clips = [source.make([seed], 64, (0,), 3) for seed in range(60)]
    assert all(clip.frames.shape == (1, 64, 64, 3) and clip.masks.any((1, 2, 3)).all() for clip in clips)
    painted = np.mean([clip.surfaces is not None for clip in clips])
    assert painted == pytest.approx(0.35, abs=0.15)
    areas = [clip.masks[0].mean() for clip in clips if clip.surfaces is None]
    plain = open_source(tmp_path / "set", augmentation=PLAIN).make([0], 64, (0,), 3).masks[0].mean()
    assert max(areas) > 1.8 * plain and min(areas) > 0.5 * plain


def test_sa1b_masks_lie_on_their_pictures(tmp_path: Path) -> None:
    labels = label_map(4)
    write_sa1b(tmp_path / "set", 7, [labels == 1, labels == 2, np.ones_like(labels, bool), np.zeros_like(labels, bool)])
    clip = open_source(tmp_path / "set", augmentation=PLAIN).make([0], 128, (0,), 9)
    assert clip.masks.shape == (2, 1, 128, 128)  # neither the empty mask nor the one of the whole picture
    assert colour_overlaps(clip).min() > 0.9
    varied = open_source(tmp_path / "set").make([3], 128, (0,), 1)
    assert varied.masks.shape == (1, 1, 128, 128) and colour_overlaps(varied).min() > 0.85


def test_a_picture_gives_at_most_64_masks(tmp_path: Path) -> None:
    masks = []
    for index in range(80):
        mask = np.zeros((HEIGHT, WIDTH), bool)
        mask[4 * (index % 10) : 4 * (index % 10) + 20, 20 * (index // 10) : 20 * (index // 10) + 30] = True
        masks.append(mask)
    write_sa1b(tmp_path, 1, masks)
    assert len(open_source(tmp_path, augmentation=PLAIN).make([0], 128, (0,), 200).masks) == 64


def test_a_still_picture_of_several_times_is_seen_by_a_moving_camera(tmp_path: Path) -> None:
    write_sa1b(tmp_path, 7, [label_map(4) == 1])
    clip = open_source(tmp_path).make([0], 96, (0, 3, 7), 1)
    assert clip.frames.shape == (3, 96, 96, 3) and colour_overlaps(clip).min() > 0.8
    assert not np.array_equal(clip.masks[0, 0], clip.masks[0, 1])


def test_sav_masklets_lie_on_every_fourth_frame_of_the_video(tmp_path: Path) -> None:
    write_sav(tmp_path / "sav_000", "sav_000001", annotated=7, kinds=("manual", "auto"))
    source = open_source(tmp_path, augmentation=FORWARDS)
    counts = set()
    for seed in range(12):
        clip = source.make([seed], 128, (0, 1, 3), 2)
        assert clip.surfaces is None and clip.times == (0, 1, 3)
        assert colour_overlaps(clip).min() > 0.9  # a frame earlier or later would give 0.78
        if clip.masks[0, 0].any(1).argmax() < 20:  # the square
            assert steps(clip) == pytest.approx([4, 8], abs=0.35)
        counts.add(len(clip.masks))
    assert counts == {1, 2} and source.skipped == 0


def test_sav_frames_may_be_extracted_beforehand(tmp_path: Path) -> None:
    write_sav(tmp_path, "sav_000001", annotated=6)
    expected = open_source(tmp_path, augmentation=FORWARDS).make([2], 96, (0, 2), 1)
    (tmp_path / "sav_000001.mp4").unlink()
    for number in range(0, 21, 4):
        write_frame(tmp_path / "JPEGImages_24fps" / "sav_000001" / f"{number:05d}.jpg", number)
    clip = open_source(tmp_path, augmentation=FORWARDS).make([2], 96, (0, 2), 1)
    assert np.array_equal(clip.masks, expected.masks) and colour_overlaps(clip).min() > 0.9


def write_sav_val(root: Path, video: str) -> None:
    for number in range(17):
        write_frame(root / "JPEGImages_24fps" / video / f"{number:05d}.jpg", number)
    for number in range(0, 17, 4):
        for index in (1, 2):
            mask = (label_map(number) == index).astype(np.uint8)
            if mask.any():
                write_palette(root / "Annotations_6fps" / video / f"{index - 1:03d}" / f"{number:05d}.png", mask)


def test_sav_validation_folders(tmp_path: Path) -> None:
    root = tmp_path / "sav_val"
    write_sav_val(root, "sav_000007")
    (root / "sav_val.txt").write_text("sav_000007\n")
    for seed in range(4):
        clip = open_source(root, "val").make([seed], 128, (0, 1, 2), 2)
        assert colour_overlaps(clip)[:, 0].min() > 0.9
    with pytest.raises(ValueError, match="nothing of the train split"):
        open_source(root, "train")
    assert same(
        open_source(tmp_path, "val").make([1], 64, (0, 1), 2), open_source(root, "val").make([1], 64, (0, 1), 2)
    )


def test_davis_folders_and_their_lists(tmp_path: Path) -> None:
    for video in ("bear", "swan", "camel"):
        write_folders(tmp_path, video, 5, size="480p")
    lists = tmp_path / "ImageSets" / "2017"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("bear\nswan\n")
    (lists / "val.txt").write_text("camel\n")
    names = {split: [name for name, _ in open_source(tmp_path, split).items] for split in ("train", "val")}
    assert names == {"train": ["bear", "swan"], "val": ["camel"]}
    clip = open_source(tmp_path, augmentation=FORWARDS).make([0], 128, (0, 1, 3), 3)
    assert colour_overlaps(clip)[0].min() > 0.9 and steps(clip) == pytest.approx([1, 2], abs=0.35)


def test_void_is_no_object_but_the_object_of_davis_2016_is(tmp_path: Path) -> None:
    for number in range(3):
        void, single = label_map(0), (label_map(0) == 1).astype(np.uint8) * VOID
        void[50:] = VOID
        for video, labels in (("many", void), ("one", single)):
            write_frame(tmp_path / "JPEGImages" / "480p" / video / f"{number:05d}.jpg", 0)
            write_palette(tmp_path / "Annotations" / "480p" / video / f"{number:05d}.png", labels)
    source = open_source(tmp_path, augmentation=FORWARDS)
    for seed in range(6):
        clip = source.make([seed], 128, (0, 1), 4)
        assert len(clip.masks) == 1 and colour_overlaps(clip).min() > 0.9


@pytest.mark.parametrize("with_meta", [False, True])
def test_youtube_vos_and_mose_folders(tmp_path: Path, with_meta: bool) -> None:
    write_folders(tmp_path / "train", "0043f083b5", 5, every=5)
    write_folders(tmp_path / "valid", "other", 5, every=5)
    if with_meta:
        objects = {"2": {"category": "disc", "frames": ["00010", "00015"]}}
        (tmp_path / "train" / "meta.json").write_text(json.dumps({"videos": {"0043f083b5": {"objects": objects}}}))
    source = open_source(tmp_path, augmentation=FORWARDS)
    assert [name for name, _ in source.items] == ["0043f083b5"]
    found = [source.make([seed], 128, (0, 1), 2) for seed in range(8)]
    assert {len(clip.masks) for clip in found} == ({1} if with_meta else {1, 2})
    assert min(colour_overlaps(clip).min() for clip in found) > 0.9
    if with_meta:
        (tmp_path / "train" / "meta.json").write_text("{}")
        with pytest.raises(ValueError, match=r"meta\.json is no list of videos"):
            open_source(tmp_path)


def test_clips_run_backwards_too(tmp_path: Path) -> None:
    write_folders(tmp_path, "video", 9)
    clip = open_source(tmp_path, augmentation=BACKWARDS).make([0], 128, (0, 1, 4), 1)
    assert steps(clip) == pytest.approx([-1, -3], abs=0.35)
    only_square = {"videos": {"video": {"objects": {"1": {"category": "square"}}}}}
    (tmp_path / "meta.json").write_text(json.dumps(only_square))
    either = open_source(tmp_path, augmentation=replace(BACKWARDS, backwards=Augmentation().backwards))
    moved = [round(float(steps(either.make([seed], 128, (0, 4), 1))[0])) for seed in range(12)]
    assert set(moved) == {-4, 4}


def test_a_seed_gives_the_same_clip_whatever_was_drawn_before(tmp_path: Path) -> None:
    write_folders(tmp_path, "one", 6)
    write_folders(tmp_path, "two", 6)
    first = open_source(tmp_path)
    clips = [first.make([seed], 64, (0, 2), 2) for seed in range(6)]
    again = open_source(tmp_path)
    assert all(same(clips[seed], again.make([seed], 64, (0, 2), 2)) for seed in (5, 0, 3))
    assert not same(clips[0], clips[1])


def test_every_clip_is_augmented_alike_on_all_frames(tmp_path: Path) -> None:
    write_folders(tmp_path, "video", 3)
    for number in range(3):  # three times the same frame
        write_frame(tmp_path / "JPEGImages" / "video" / f"{number:05d}.jpg", 0)
        write_palette(tmp_path / "Annotations" / "video" / f"{number:05d}.png", label_map(0))
    source = open_source(tmp_path)
    for seed in range(5):
        clip = source.make([seed], 64, (0, 1, 2), 1)
        assert (clip.frames == clip.frames[:1]).all() and (clip.masks == clip.masks[:, :1]).all()
    jittered = open_source(tmp_path, augmentation=Augmentation(frame_jitter=Jitter(0.1, 0.05, 0.05)))
    assert not (jittered.make([0], 64, (0, 1, 2), 1).frames[0] == jittered.make([0], 64, (0, 1, 2), 1).frames[1]).all()


def test_single_frames_are_only_flipped(tmp_path: Path) -> None:
    write_sa1b(tmp_path, 7, [label_map(4) == 1])
    plain, mirrored = (
        open_source(tmp_path, augmentation=replace(PLAIN, flip=flip)).make([0], 64, (0,), 1) for flip in (0.0, 1.0)
    )
    drawn = [open_source(tmp_path).make([seed], 64, (0,), 1) for seed in range(12)]
    flipped = [same(clip, mirrored) for clip in drawn]
    assert all(same(clip, plain) != is_flipped for clip, is_flipped in zip(drawn, flipped, strict=True))
    assert 0 < sum(flipped) < 12


def test_pictures_and_videos_may_be_kept_apart(tmp_path: Path) -> None:
    write_sa1b(tmp_path / "pictures", 7, [label_map(4) == 1])
    write_folders(tmp_path / "videos", "video", 5)
    pictures, videos = open_source(tmp_path / "pictures"), open_source(tmp_path / "videos")
    photographs = open_source(write_data_set(tmp_path / "set"))
    both = Mixture([(pictures, 1.0), (videos, 3.0), (photographs, 4.0)], apart=True)
    assert both.weights_for(1).tolist() == pytest.approx([0.2, 0, 0.8])
    assert both.weights_for(8).tolist() == pytest.approx([0, 3 / 7, 4 / 7])
    assert Mixture([(pictures, 1.0), (videos, 3.0)]).weights_for(8).tolist() == [0.25, 0.75]
    assert Mixture([(videos, 1.0), (videos, 3.0)], apart=True).weights_for(1).tolist() == [0.25, 0.75]
    expected = videos.make([3], 64, (0, 1), 1)
    opened = open_sources([(tmp_path / "pictures", 9.0), (tmp_path / "videos", 1.0)], "paper", apart=True)
    assert same(opened.make([3], 64, (0, 1), 1), expected)


def test_a_mixture_draws_by_weight_and_seed(tmp_path: Path) -> None:
    photographs = open_source(write_data_set(tmp_path / "set"))
    write_folders(tmp_path / "videos", "video", 5)
    videos = open_source(tmp_path / "videos")
    mixture = Mixture([(photographs, 1.0), (videos, 3.0)])
    clips = [mixture.make([seed, 4], 32, (0, 1), 1) for seed in range(60)]
    share = np.mean([clip.surfaces is None for clip in clips])
    assert 0.6 < share < 0.9
    assert same(clips[7], mixture.make([7, 4], 32, (0, 1), 1)) and mixture.skipped == 0
    for sources in ([], [(videos, 0.0)], [(videos, -1.0), (photographs, 2.0)]):
        with pytest.raises(ValueError, match="mixture"):
            Mixture(sources)
