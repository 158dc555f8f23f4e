"""The page about the graphs: it is current, its formulas compute, and the runtime does what it says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etam_onnx import Bundle, ImagePredictor, Tracker, VideoPredictor
from etam_onnx.config import CONFIGS
from etam_onnx.conversion.ort.deployment import deployment_of
from etam_onnx.conversion.scenario import record
from etam_onnx.conversion.vectors import write_vectors
from etam_onnx.graphs import files_guide, host_guide, ort_guide, page
from etam_onnx.graphs.contract import LABELS, Geometry, Graph, contract
from etam_onnx.graphs.host_guide import MEMORY_ATTENTION, Situation, Step
from etam_onnx.graphs.manifest import Constants, File, Manifest
from etam_onnx.graphs.ort_contract import Deployment, ort_contract
from etam_onnx.graphs.symbols import derived_sizes
from etam_onnx.graphs.variants import ORT, PORTABLE, VARIANTS
from etam_onnx.graphs.vectors import INDEX, ITEM_SIZE, TENSORS
from etam_onnx.manifest_of_model import geometry_of
from etam_onnx.runtime.networks import Networks

SMALL = Geometry(64, 16, 8, 4, 3, 5, 2, 6)
FRAMES = [np.full((40, 60, 3), number, np.uint8) for number in range(8)]
GUIDES = {PORTABLE: host_guide.SITUATIONS, ORT: ort_guide.SITUATIONS}


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
    config = CONFIGS[page.EXAMPLE_NAME]
    assert geometry_of(config) == page.EXAMPLE
    assert deployment_of(config, page.EXAMPLE, page.EXAMPLE_DEPLOYMENT.memory_counts) == page.EXAMPLE_DEPLOYMENT
    assert Bundle.open(page.EXAMPLE_NAME).manifest.deployment == page.EXAMPLE_DEPLOYMENT


def test_every_variant_is_listed() -> None:
    section = page.page().split("\n## Variants\n")[1].split("\n## ")[0]
    listed = {cells[0].strip("| `"): cells for cells in rows(section, 4)}
    assert set(listed) == set(VARIANTS)
    for name, (_, ports, precision, meaning) in listed.items():
        assert f"\n## {ports}\n" in page.page()
        assert (precision, meaning.rstrip(" |")) == (VARIANTS[name].precision, VARIANTS[name].doc)


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
    deployment = Deployment(3, 2, (1, 3, geometry.prompted_frames + geometry.recent_memories))
    text = page.page(geometry, "a model", deployment)
    check_ports(text.split("\n## Graphs\n")[1], contract(geometry), sizes)
    sizes |= {"layers": deployment.layers, "pool": deployment.pool}
    check_ports(text.split("\n## Graphs for ONNX Runtime\n")[1], ort_contract(geometry, deployment), sizes)


def check_ports(text: str, graphs: dict[str, Graph], sizes: dict[str, int]) -> None:
    """Formulas and meanings of a section's tables are the contract's."""
    for name, graph in graphs.items():
        section = text.split(f"\n### {name}\n")[1].split("\n### ")[0].split("\n## ")[0]
        listed = {}
        for side, label, formulas, numbers, dtype, where, unit, meaning in rows(section, 8):
            shape = tuple(eval(formulas, {}, sizes))
            assert shape == tuple(json.loads(numbers))
            first, *last = re.findall("`(.*?)`", label)
            names = [port.name for port in (graph.inputs if side == "in" else graph.outputs)]
            between = names[names.index(first) : names.index(last[0]) + 1] if last else [first]
            for port in between:
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

    def __init__(self, variant: str = PORTABLE) -> None:
        self.log: list[tuple[str, dict[str, Any]]] = []
        self.made: dict[int, str] = {}
        self.kept: list[np.ndarray] = []
        self.rng = np.random.default_rng(1)
        deployed = replace(manifest(), deployment=Deployment(2, 2, (1, 4, 5)))
        runners = {name: self._runner(graph) for name, graph in deployed.graphs_of(variant).items()}
        self.networks = Networks(deployed, runners, variant=variant)

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
        assert set(listed) == {name for name in inputs if not re.fullmatch(r"(memory|keys)_\d\d", name)}
        for port in ("features", "started", "query", "memory"):
            if port in inputs:
                assert self.made[id(inputs[port])] == re.findall("`(.*?)`", listed[port])[0]
        if "without_memory" in inputs:
            assert inputs["without_memory"] == float(listed["without_memory"])
        if "mask_used" in inputs and len(listed["mask_used"]) == 1:
            assert inputs["mask_used"] == float(listed["mask_used"])
        if "points" in inputs:
            used = inputs["point_label"][0].sum(1)
            kinds = [LABELS[column] for column in inputs["point_label"][0].argmax(1)[used > 0]]
            assert kinds == ([-1, -1] if listed["points"].startswith("two padding") else [1, 0, -1])
            assert not inputs["points"][0][len(kinds) - 1 :].any()
        if step.graph == MEMORY_ATTENTION:
            memories = [self.made[id(value)] for name, value in inputs.items() if re.fullmatch(r"memory_\d\d", name)]
            keys = [self.made[id(value)] for name, value in inputs.items() if re.fullmatch(r"keys_\d\d", name)]
            read = "pooled" if keys else "memory"
            assert set(memories) == {read} and (len(keys), set(keys)) in ((len(memories), {"keys"}), (0, set()))
            assert "started" in inputs or not keys
            assert set(inputs["memory_row"].sum(1)) <= {0, 1}
            assert not inputs["pointers"][inputs["pointer_used"][:, 0] == 0].any()


CLICKS = {"points": [(20, 20), (50, 10)], "labels": [1, 0]}


@pytest.mark.parametrize(("variant", "situations"), GUIDES.items())
def test_a_whole_video_takes_the_steps_of_the_page(variant: str, situations: tuple[Situation, ...]) -> None:
    points, mask, tracked, correction, memory, _ = situations
    recorded = Recorded(variant)
    predictor = VideoPredictor(recorded.networks)
    state = predictor.init_state(FRAMES)
    predictor.add_new_points_or_box(state, 0, 1, **CLICKS)
    recorded.check(points)
    list(predictor.propagate_in_video(state, max_frame_num_to_track=5))
    log = list(recorded.log)
    recorded.check(memory, *[tracked, memory] * 5)
    assert [inputs["binarize"].item() for name, inputs in log if name == "memory_encoder"] == [1, 0, 0, 0, 0, 0]
    assert [name for name, _ in log if name.startswith("memory_attention")] == [
        f"memory_attention_{n}" for n in (1, 4, 4, 4, 4)
    ]

    low_res = state.objects[1].output(1).low_res.copy()
    predictor.add_new_points_or_box(state, 1, 1, **CLICKS)
    ((_, inputs),) = [entry for entry in recorded.log if entry[0] == "mask_decoder"]
    assert inputs["mask_used"] == 1 and np.array_equal(inputs["mask_input"][0, 0], np.clip(low_res, -32, 32))
    recorded.check(correction)
    # The features of the frame are kept, so the encoder does not run again.
    predictor.add_new_mask(state, 1, 1, np.ones((40, 60), bool))
    recorded.check(Situation("", "", mask.steps[1:]))
    list(predictor.propagate_in_video(state, start_frame_idx=1, max_frame_num_to_track=0))
    (name, inputs), *_ = recorded.log
    assert name == "memory_encoder" and inputs["binarize"] == 1
    recorded.check(memory)


@pytest.mark.parametrize(("variant", "situations"), GUIDES.items())
def test_a_stream_takes_the_steps_of_the_page(variant: str, situations: tuple[Situation, ...]) -> None:
    _, mask, tracked, correction, memory, _ = situations
    recorded = Recorded(variant)
    tracker = Tracker(recorded.networks)
    tracker.step(FRAMES[0])
    tracker.prompt(1, mask=np.ones((40, 60), bool))
    recorded.check(mask)
    tracker.step(FRAMES[1])
    # The encoder sees the new frame before the memory of the last one is written.
    assert recorded.log[1][1]["binarize"] == 1
    recorded.check(Situation("", "", (tracked.steps[0], *memory.steps, *tracked.steps[1:])))
    tracker.prompt(1, **CLICKS)
    started = [step for step in correction.steps[1:] if step.graph != "frame_attention"]
    recorded.check(Situation("", "", tuple(started)))


@pytest.mark.parametrize(("variant", "situations"), GUIDES.items())
def test_a_single_image_takes_the_steps_of_the_page(variant: str, situations: tuple[Situation, ...]) -> None:
    recorded = Recorded(variant)
    predictor = ImagePredictor(recorded.networks)
    predictor.set_image(FRAMES[0])
    predictor.predict(CLICKS["points"], CLICKS["labels"])
    recorded.check(situations[-1])
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
