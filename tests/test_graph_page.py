"""The page about the graphs: it is current, its formulas compute, and the runtime does what it says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etam_onnx import ImagePredictor, Tracker, VideoPredictor
from etam_onnx.config import CONFIGS
from etam_onnx.conversion.scenario import record
from etam_onnx.conversion.vectors import write_vectors
from etam_onnx.graphs import files_guide, host_guide, page
from etam_onnx.graphs.contract import LABELS, Geometry, Graph, contract
from etam_onnx.graphs.host_guide import MEMORY_ATTENTION, SITUATIONS, Situation, Step
from etam_onnx.graphs.manifest import Constants, File, Manifest
from etam_onnx.graphs.symbols import derived_sizes
from etam_onnx.graphs.vectors import INDEX, ITEM_SIZE, TENSORS
from etam_onnx.manifest_of_model import geometry_of
from etam_onnx.runtime.networks import Networks

SMALL = Geometry(64, 16, 8, 4, 3, 5, 2, 6)
FRAMES = [np.full((40, 60, 3), number, np.uint8) for number in range(8)]
POINTS, MASK, TRACKED, CORRECTION, MEMORY, IMAGE = SITUATIONS


def test_the_page_in_the_repository_is_current(repository: Path) -> None:
    written = (repository / "docs" / "graphs.md").read_text(encoding="utf-8")
    assert written == page.page(), "run python -m etam_onnx.graphs.page docs/graphs.md"


def test_the_module_writes_or_prints_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert page.main([str(tmp_path / "page.md")]) == 0
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == page.page()
    assert page.main([]) == 0
    assert capsys.readouterr().out == page.page()
    assert page.main([str(tmp_path / "missing" / "page.md")]) == 1
    assert capsys.readouterr().err == (
        f"error: {tmp_path}/missing/page.md cannot be written: No such file or directory\n"
    )


def test_the_numbers_are_those_of_the_named_model() -> None:
    assert geometry_of(CONFIGS[page.EXAMPLE_NAME]) == page.EXAMPLE


def rows(text: str, columns: int) -> Iterator[list[str]]:
    """Cells of the tables with that many columns, without their heads."""
    for line in re.findall(r"^\| .* \|$", text, re.MULTILINE):
        cells = [cell.strip() for cell in line[1:-1].split(" |")]
        if len(cells) == columns and "`" in line:
            yield cells


@pytest.mark.parametrize("geometry", [page.EXAMPLE, SMALL, Geometry(512, 16, 256, 64, 6, 15, 4, 9)])
def test_every_port_is_listed_with_a_formula_that_gives_its_shape(geometry: Geometry) -> None:
    sizes = geometry.as_dict() | {
        name: int(number) for name, (_, number, _) in derived_sizes(geometry).items() if "," not in number
    }
    assert sizes["grid"] == geometry.grid and sizes["pointer_slots"] == geometry.pointer_slots
    text = page.page(geometry, "a model")
    for name, graph in contract(geometry).items():
        section = text.split(f"\n### {name}\n")[1].split("\n### ")[0]
        listed = {}
        for side, label, formulas, numbers, dtype, where, unit, meaning in rows(section, 8):
            shape = tuple(eval(formulas, {}, sizes))
            assert shape == tuple(json.loads(numbers))
            first, *last = re.findall("`(.*?)`", label)
            between = range(int(first[-2:]), int(last[0][-2:]) + 1) if last else ()
            for port in [f"memory_{slot:02d}" for slot in between] or [first]:
                listed[side, port] = (shape, dtype, where == "host", float(unit or 0), meaning)
        assert listed == {
            (side, port.name): (port.shape, port.dtype, port.host, port.unit, port.doc)
            for side, ports in (("in", graph.inputs), ("out", graph.outputs))
            for port in ports
        }
        assert all(f"{tolerance:g} ({precision})" in section for precision, tolerance in graph.tolerance.items())


def test_sizes_are_computed_as_the_page_says() -> None:
    sizes = SMALL.as_dict()
    for name, (formulas, numbers, meaning) in derived_sizes(SMALL).items():
        value = getattr(SMALL, name)
        assert tuple(json.loads(f"[{numbers}]")) == (value if isinstance(value, tuple) else (value,))
        assert tuple(eval(f"[{formulas}]", {}, sizes)) == (value if isinstance(value, tuple) else (value,))
        assert meaning
        sizes[name] = value


def manifest(geometry: Geometry = SMALL) -> Manifest:
    constants = Constants((0.5,) * geometry.width, tuple(np.linspace(-1, 1, 16).tolist()), 0.25)
    return Manifest("fake", geometry, constants, {"portable": {}}, files={"a": File("00", 1)})


def test_every_field_of_the_manifest_is_described() -> None:
    data = json.loads(manifest().to_json())
    assert sorted(files_guide.manifest_keys()) == sorted(files_guide.MANIFEST_FIELDS) == sorted(data)
    text = page.page()
    for title, section in (
        ("`rules`", data["rules"]),
        ("`preprocessing`", data["preprocessing"]),
        ("`constants`", data["constants"]),
        ("An entry of `files`", data["files"]["a"]),
    ):
        lines = text.split(f"\n### {title}\n")[1].split("\n#")[0]
        listed: dict[str, Any] = {}
        for names, *value, meaning in (*rows(lines, 3), *rows(lines, 2)):
            keys = re.findall("`(.*?)`", names)
            values = value[0].split(", ") if value and len(keys) > 1 else value or [""]
            listed |= dict(zip(keys, values if keys else [], strict=True))
            assert meaning
        assert set(listed) == set(section)
        if title == "`rules`":
            assert {key: float(value) for key, value in listed.items()} == section
    ports = data["graphs"]["image_encoder"]["inputs"][0]
    line = text.split("\n### A port in `graphs`\n\n")[1].split(":")[0]
    assert sorted(re.findall("`(.*?)`", line)) == sorted(ports)


class Recorded:
    """Networks of the contract's shapes with arbitrary numbers, and a log of what they were asked."""

    def __init__(self, geometry: Geometry = SMALL) -> None:
        self.log: list[tuple[str, dict[str, Any]]] = []
        self.made: dict[int, str] = {}
        self.kept: list[np.ndarray] = []
        self.rng = np.random.default_rng(1)
        runners = {name: self._runner(graph) for name, graph in contract(geometry).items()}
        self.networks = Networks(manifest(geometry), runners)

    def _runner(self, graph: Graph) -> Any:
        def run(**inputs: np.ndarray) -> dict[str, np.ndarray]:
            assert {port.name: port.shape for port in graph.inputs} == {k: v.shape for k, v in inputs.items()}
            outputs = {p.name: self.rng.standard_normal(p.shape).astype(np.float32) for p in graph.outputs}
            if "presence" in outputs:
                outputs["presence"] = np.ones(1, np.float32)
            self.made |= {id(array): name for name, array in outputs.items()}
            self.kept.extend(outputs.values())
            self.log.append((graph.name, inputs))
            return outputs

        return run

    def take(self) -> list[tuple[str, dict[str, Any]]]:
        """The log since the last call."""
        log, self.log = self.log, []
        return log

    def check(self, *situations: Situation) -> None:
        """What ran since the last time is what the page says, in this order."""
        steps = [step for situation in situations for step in situation.steps]
        log = self.take()
        assert [re.sub(r"(?<=memory_attention_)\d+", "N", name) for name, _ in log] == [step.graph for step in steps]
        for step, (_, inputs) in zip(steps, log, strict=True):
            self.check_inputs(step, inputs)

    def check_inputs(self, step: Step, inputs: dict[str, Any]) -> None:
        listed = {name: text for name, text in step.inputs.items() if "," not in name}
        assert set(listed) == {name for name in inputs if not re.fullmatch(r"memory_\d\d", name)}
        if "features" in inputs:
            assert self.made[id(inputs["features"])] == re.findall("`(.*?)`", listed["features"])[0]
        if "mask_used" in inputs and len(listed["mask_used"]) == 1:
            assert inputs["mask_used"] == float(listed["mask_used"])
        if "points" in inputs:
            used = inputs["point_label"][0].sum(1)
            kinds = [LABELS[column] for column in inputs["point_label"][0].argmax(1)[used > 0]]
            assert kinds == ([-1, -1] if listed["points"].startswith("two padding") else [1, 0, -1])
            assert not inputs["points"][0][len(kinds) - 1 :].any()
        if step.graph == MEMORY_ATTENTION:
            memories = [self.made[id(value)] for name, value in inputs.items() if re.fullmatch(r"memory_\d\d", name)]
            assert set(memories) == {"memory"}
            assert set(inputs["memory_row"].sum(1)) <= {0, 1}
            assert not inputs["pointers"][inputs["pointer_used"][:, 0] == 0].any()


CLICKS = {"points": [(20, 20), (50, 10)], "labels": [1, 0]}


def test_a_whole_video_takes_the_steps_of_the_page() -> None:
    recorded = Recorded()
    predictor = VideoPredictor(recorded.networks)
    state = predictor.init_state(FRAMES)
    predictor.add_new_points_or_box(state, 0, 1, **CLICKS)
    recorded.check(POINTS)
    list(predictor.propagate_in_video(state, max_frame_num_to_track=5))
    log = list(recorded.log)
    recorded.check(MEMORY, *[TRACKED, MEMORY] * 5)
    assert [inputs["binarize"].item() for name, inputs in log if name == "memory_encoder"] == [1, 0, 0, 0, 0, 0]
    assert [name for name, _ in log if "attention" in name] == [f"memory_attention_{n}" for n in (1, 4, 4, 4, 4)]

    low_res = state.objects[1].output(1).low_res.copy()
    predictor.add_new_points_or_box(state, 1, 1, **CLICKS)
    ((_, inputs),) = [entry for entry in recorded.log if entry[0] == "mask_decoder"]
    assert inputs["mask_used"] == 1 and np.array_equal(inputs["mask_input"][0, 0], np.clip(low_res, -32, 32))
    recorded.check(CORRECTION)
    # The features of the frame are kept, so the encoder does not run again.
    predictor.add_new_mask(state, 1, 1, np.ones((40, 60), bool))
    recorded.check(Situation("", "", MASK.steps[1:]))
    list(predictor.propagate_in_video(state, start_frame_idx=1, max_frame_num_to_track=0))
    ((name, inputs),) = recorded.take()
    assert name == "memory_encoder" and inputs["binarize"] == 1


def test_a_stream_takes_the_steps_of_the_page() -> None:
    recorded = Recorded()
    tracker = Tracker(recorded.networks)
    tracker.step(FRAMES[0])
    tracker.prompt(1, mask=np.ones((40, 60), bool))
    recorded.check(MASK)
    tracker.step(FRAMES[1])
    log = recorded.take()
    # The encoder sees the new frame before the memory of the last one is written.
    assert [name for name, _ in log] == ["image_encoder", "memory_encoder", "memory_attention_1", "mask_decoder"]
    assert log[1][1]["binarize"] == 1
    tracker.prompt(1, **CLICKS)
    recorded.check(Situation("", "", CORRECTION.steps[1:]))


def test_a_single_image_takes_the_steps_of_the_page() -> None:
    recorded = Recorded()
    predictor = ImagePredictor(recorded.networks)
    predictor.set_image(FRAMES[0])
    predictor.predict(CLICKS["points"], CLICKS["labels"])
    recorded.check(IMAGE)
    predictor.predict(mask_input=np.zeros((16, 16)))
    ((_, inputs),) = recorded.take()
    assert not inputs["point_label"].any() and inputs["mask_used"] == 1


def test_a_mask_prompt_is_downsampled_as_the_page_says() -> None:
    recorded = Recorded()
    side = SMALL.image_size
    mask = np.random.default_rng(2).random((side, side)) < 0.3
    predictor = VideoPredictor(recorded.networks)
    predictor.add_new_mask(predictor.init_state([np.zeros((side, side, 3), np.uint8)]), 0, 1, mask)
    dense = recorded.take()[1][1]["mask_input"][0, 0]
    constants = manifest().constants
    for y, x in ((0, 0), (3, 11), (15, 2)):
        total = constants.mask_downsample_bias
        for i in range(4):
            for j in range(4):
                total += constants.mask_downsample[4 * i + j] * mask[4 * y + i][4 * x + j]
        assert dense[y, x] == pytest.approx(total, abs=1e-6)


def test_labels_have_a_meaning() -> None:
    assert [(column, label) for column, label, _ in host_guide.POINT_LABELS] == list(enumerate(LABELS))


def test_the_vectors_have_the_keys_of_the_page(tmp_path: Path) -> None:
    frames, calls, results = record(Recorded().networks)
    write_vectors(tmp_path, frames, calls, results)
    index = json.loads((tmp_path / INDEX).read_text())
    assert sorted(index) == sorted(files_guide.INDEX_FIELDS)
    for key, entry in (
        ("tensors", index["tensors"][0]),
        ("calls", index["calls"][0]),
        ("results", index["results"][0]),
    ):
        assert set(re.findall("`(.*?)`", files_guide.INDEX_FIELDS[key])) >= set(entry)
    for step in index["script"]:
        assert set(re.findall("`(.*?)`", files_guide.SCRIPT_STEPS[step["do"]])) >= set(step) - {"do"}
    assert {step["do"] for step in index["script"]} == set(files_guide.SCRIPT_STEPS)
    ends = [t["offset"] + np.prod(t["shape"]) * ITEM_SIZE[t["dtype"]] for t in index["tensors"]]
    assert (tmp_path / TENSORS).stat().st_size == max(ends)
