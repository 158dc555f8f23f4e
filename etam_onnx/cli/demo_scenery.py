"""Pictures painted with numpy and Pillow for the demo clip: noise, ground, beetles, a blade of grass."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Array = NDArray[Any]
"""Float32 brightness or coverage (height, width), or colour (height, width, 3); 0..1."""


def noise(rng: np.random.Generator, size: tuple[int, int], cell: float, octaves: int) -> Array:
    """Smooth noise (height, width) in 0..1: `octaves` layers, the coarsest with features of `cell` pixels."""
    width, height = size
    total, weight = np.zeros((height, width), np.float32), 0.0
    for octave in range(octaves):
        step = cell / 2**octave
        grid = rng.random((int(height / step) + 4, int(width / step) + 4), np.float32)
        layer = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(layer) / 2**octave
        weight += 1 / 2**octave
    return _stretch(total / weight)


def _stretch(values: Array) -> Array:
    low, high = np.percentile(values, (1, 99))
    return np.clip((values - low) / (high - low), 0, 1).astype(np.float32)


def _mix(first: Array, second: Array, amount: Array) -> Array:
    return (first + (second - first) * amount[..., None]).astype(np.float32)


def _colour(*rgb: int) -> Array:
    return np.array(rgb, np.float32) / 255


def _soft_strokes(
    rng: np.random.Generator, ground: Array, count: int, length: float, colours: list[tuple[int, int, int]]
) -> Array:
    """Short blades of grass laid over `ground`, drawn at twice the size so that their edges are smooth."""
    height, width = ground.shape[:2]
    layer = Image.fromarray((ground * 255).astype(np.uint8)).resize((2 * width, 2 * height))
    draw = ImageDraw.Draw(layer)
    for _ in range(count):
        x, y = rng.uniform(0, 2 * width), rng.uniform(0, 2 * height)
        angle, reach = rng.normal(-np.pi / 2, 0.5), rng.uniform(0.5, 1.0) * length * 2
        bend = angle + rng.normal(0, 0.35)
        middle = (x + np.cos(angle) * reach / 2, y + np.sin(angle) * reach / 2)
        tip = (middle[0] + np.cos(bend) * reach / 2, middle[1] + np.sin(bend) * reach / 2)
        shade = rng.uniform(0.65, 1.1)
        colour = tuple(int(min(255, c * shade)) for c in colours[rng.integers(len(colours))])
        draw.line([(x, y), middle, tip], fill=colour, width=int(rng.integers(2, 6)), joint="curve")
    small = layer.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(small, np.float32) / 255


def ellipse_height(size: tuple[int, int], centre: tuple[float, float], radii: tuple[float, float]) -> Array:
    """Height (height, width) of a half ellipsoid from above: 1 in the middle, 0 on its rim, less outside."""
    y, x = np.mgrid[: size[1], : size[0]].astype(np.float32)
    inside = 1 - ((x - centre[0]) / radii[0]) ** 2 - ((y - centre[1]) / radii[1]) ** 2
    return np.where(inside > 0, np.sqrt(np.maximum(inside, 0)), inside).astype(np.float32)


def lit(surface: Array, strength: float = 1.0) -> Array:
    """Light from the upper left on a height field: 1 where flat, brighter towards the light."""
    dy, dx = np.gradient(surface)
    return np.clip(1 - strength * (dx + dy), 0.35, 1.6).astype(np.float32)


def paint_ground(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A meadow seen from above (height, width, 3): earth, moss, pebbles, grass, dappled light."""
    earth = _mix(_colour(92, 74, 52), _colour(138, 118, 86), noise(rng, size, 60, 5))
    moss = _mix(_colour(58, 82, 38), _colour(112, 136, 62), noise(rng, size, 40, 5))
    ground = _mix(earth, moss, np.clip(noise(rng, size, 260, 3) * 2.4 - 0.6, 0, 1))
    ground *= (0.82 + 0.36 * noise(rng, size, 5, 2))[..., None]
    ground = np.clip(ground, 0, 1)
    for _ in range(70):
        ground = _add_pebble(rng, ground)
    ground = _soft_strokes(rng, ground, 2600, 26, [(86, 118, 48), (120, 146, 66), (66, 92, 40), (150, 144, 84)])
    light = 0.72 + 0.42 * noise(rng, size, 330, 2)
    slope = np.linspace(1.06, 0.94, size[1], dtype=np.float32)[:, None]
    return np.asarray(np.clip(ground * (light * slope)[..., None], 0, 1) * 255).astype(np.uint8)


def _add_pebble(rng: np.random.Generator, ground: Array) -> Array:
    """One rounded stone with its shadow, somewhere on the ground."""
    height, width = ground.shape[:2]
    radius = rng.uniform(5, 9) if rng.random() < 0.75 else rng.uniform(12, 26)
    reach = int(radius * 2)
    left, top = rng.integers(0, width - 2 * reach), rng.integers(0, height - 2 * reach)
    patch = ground[top : top + 2 * reach, left : left + 2 * reach]
    box = (2 * reach, 2 * reach)
    radii = (radius * rng.uniform(0.9, 1.3), radius * rng.uniform(0.7, 1.0))
    stone = ellipse_height(box, (reach, reach), radii)
    shadow = np.clip(ellipse_height(box, (reach + radius * 0.3, reach + radius * 0.35), radii) * 3, 0, 1)
    grey = rng.uniform(0.34, 0.56)
    tone = np.array([grey, grey * rng.uniform(0.93, 1.0), grey * rng.uniform(0.82, 0.97)], np.float32)
    texture = (0.75 + 0.5 * noise(rng, box, radius, 3)) * lit(np.maximum(stone, 0) ** 2 * radius * 0.3)
    patch *= 1 - 0.45 * shadow[..., None]
    ground[top : top + 2 * reach, left : left + 2 * reach] = _mix(
        patch, np.clip(tone * texture[..., None], 0, 1), np.clip(stone * radius * 0.5, 0, 1)
    )
    return ground


def paint_beetle(
    rng: np.random.Generator, shell: tuple[int, int, int], spots: list[tuple[float, float, float]]
) -> Image.Image:
    """A beetle heading right, RGBA, 240x180. Spots are (x, y, radius) in units of the shell's half axes."""
    size, centre, radii = (240, 180), (112.0, 90.0), (88.0, 68.0)
    y, x = np.mgrid[: size[1], : size[0]].astype(np.float32)
    u, v = (x - centre[0]) / radii[0], (y - centre[1]) / radii[1]
    dome = ellipse_height(size, centre, radii)
    head = ellipse_height(size, (190.0, 90.0), (34.0, 40.0))
    mottled = 0.62 + 0.42 * noise(rng, size, 30, 5)
    colour = _colour(*shell) * mottled[..., None]
    dark = _colour(26, 22, 24) * (0.7 + 0.6 * noise(rng, size, 12, 3))[..., None]
    for spot_x, spot_y, spot_radius in spots:
        distance = np.hypot(u - spot_x, v - spot_y) / spot_radius
        colour = _mix(colour, dark, np.clip((1.08 - distance) * 8, 0, 1))
    colour = _mix(colour, dark, np.clip(1.2 - np.abs(y - centre[1]) / 1.6, 0, 0.8))
    colour *= (lit(np.maximum(dome, 0) ** 2 * 30, 0.5) * (0.5 + 0.5 * np.clip(dome * 1.3, 0, 1)))[..., None]
    eyes = np.minimum(np.hypot(x - 208, y - 68), np.hypot(x - 208, y - 112))
    face = _mix(dark * lit(np.maximum(head, 0) * 16, 0.6)[..., None], _colour(236, 228, 206), np.clip(9 - eyes, 0, 1))
    cover_dome, cover_head = np.clip(dome * 6, 0, 1), np.clip(head * 5, 0, 1)
    colour = _mix(face, colour, cover_dome)
    gloss = np.exp(-(((u + 0.28) / 0.26) ** 2 + ((v + 0.42) / 0.16) ** 2))
    colour = _mix(colour, _colour(255, 250, 240), 0.55 * gloss * cover_dome)
    alpha = np.maximum(cover_dome, cover_head)
    rgba = np.dstack([np.clip(colour, 0, 1), alpha])
    return Image.fromarray((rgba * 255).round().astype(np.uint8))


def paint_blade(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A blade of grass close to the camera, RGBA of `size` (width, height), slightly out of focus."""
    width, height = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    along = y / height
    middle = width * (0.5 + 0.16 * np.sin(along * 2.4 + 0.4))
    half = width * (0.17 + 0.14 * along)
    across = (x - middle) / half
    veins = 0.5 + 0.5 * np.cos(across * 24 + 2 * noise(rng, size, 60, 2))
    tone = 0.72 + 0.16 * veins + 0.3 * noise(rng, size, 50, 4) - 0.28 * np.abs(across)
    colour = _mix(_colour(78, 122, 40), _colour(168, 190, 84), np.clip(0.5 - 0.5 * across, 0, 1)) * tone[..., None]
    rib = np.exp(-((across / 0.07) ** 2))
    colour = _mix(colour, _colour(206, 214, 140), 0.6 * rib)
    alpha = np.clip((1 - np.abs(across)) * half / 2.5, 0, 1)
    rgba = np.dstack([np.clip(colour, 0, 1), alpha])
    picture = Image.fromarray((rgba * 255).round().astype(np.uint8))
    blurred = picture.getchannel("A").filter(ImageFilter.GaussianBlur(1.2))
    picture.putalpha(blurred)
    return picture
