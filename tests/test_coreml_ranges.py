"""Values that half precision cannot hold, found in small programs where they are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("coreml_programs", reason="coremltools is not installed")

from coreml_programs import mb, saved_program

from etam_onnx import Bundle
from etam_onnx.conversion.coreml.interpreter import Interpreter, read_package
from etam_onnx.conversion.coreml.ranges import LARGEST, NORMAL, Range, Ranges, main, ranges_of, table
from etam_onnx.graphs.errors import BundleError
from etam_onnx.verification import open_vectors

HALF = np.float16


def measured(folder: Path, build: Callable[..., Any], *arrays: Any, target: str = "iOS18") -> dict[str, Range]:
    """Operators of a program by kind, the inputs by name."""
    declared = [array.astype(HALF) for array in arrays]
    ranges = Ranges(read_package(saved_program(folder / "program.mlpackage", build, declared, target)))
    ranges.run({f"x{i}": np.asarray(array, np.float32) for i, array in enumerate(arrays)})
    return {each.place if each.kind == "input" else each.kind: each for each in ranges.ranges}


def test_an_overflow_is_seen_although_its_result_is_small(tmp_path: Path) -> None:
    x = np.float32([[300.0, -3.0]])
    found = measured(tmp_path, lambda x0: mb.mul(x=mb.sqrt(x=mb.square(x=x0)), y=HALF(0.5)), x)
    assert found["x0"].largest == 300 and not found["x0"].noteworthy
    assert found["square"].largest == 90_000 > LARGEST and found["square"].noteworthy
    assert found["sqrt"].largest == 300 and found["mul"].largest == 150
    (declared,) = Interpreter(tmp_path / "program.mlpackage")(x0=x).values()
    assert np.isinf(declared[0, 0]), "what half precision makes of it"


def test_partial_sums_of_products(tmp_path: Path) -> None:
    """400 x 100 and as much taken away: no result, but a sum of 80,000 magnitudes on the way."""
    x, weight = np.float32([[400.0, 400.0]]), np.array([[100.0, -100.0]], HALF)
    for each in (
        measured(tmp_path / "a", lambda x0: mb.linear(x=x0, weight=weight), x)["linear"],
        measured(tmp_path / "b", lambda x0: mb.matmul(x=x0, y=weight, transpose_y=True), x)["matmul"],
        measured(tmp_path / "c", lambda x0: mb.conv(x=x0, weight=weight[..., None]), x[..., None])["conv"],
    ):
        assert (each.largest, each.total) == (0, 80_000) and each.noteworthy, each
    assert "linear" in measured(tmp_path / "d", lambda x0: mb.linear(x=x0, weight=weight), x / 1000)


def test_sums_of_reductions_and_windows(tmp_path: Path) -> None:
    x = np.full((1, 1, 4, 4), 1500, np.float32)
    x[..., ::2] *= -1
    mean = measured(tmp_path / "a", lambda x0: mb.reduce_mean(x=x0, axes=[2, 3], keep_dims=False), x)["reduce_mean"]
    assert (mean.largest, mean.total) == (0, 24_000)
    window = {"kernel_sizes": [2, 2], "strides": [2, 2], "pad_type": "valid"}
    pool = measured(tmp_path / "b", lambda x0: mb.avg_pool(x=x0, **window), x)["avg_pool"]
    assert (pool.largest, pool.total) == (0, 6_000)


def test_attention_as_one_operator(tmp_path: Path) -> None:
    """Scores of 128 x 1024 / 2, values of 2 in 16 equal parts."""
    query, key = np.full((1, 1, 1, 4), 128.0), np.full((1, 1, 16, 4), 1.0)
    query[..., 2:] *= -1
    value = np.full((1, 1, 16, 4), -2.0)
    found = measured(
        tmp_path,
        lambda x0, x1, x2: mb.scaled_dot_product_attention(query=x0, key=x1, value=x2),
        *(array.astype(np.float32) for array in (query, key, value)),
    )["scaled_dot_product_attention"]
    assert (found.largest, found.total, found.dropped) == (2, 128 * 4 / 2, 0)


def test_divisors(tmp_path: Path) -> None:
    x = np.float32([[1e-5, 0.5, 0.0, -2e-5]])
    ratio = measured(tmp_path / "a", lambda x0: mb.real_div(x=HALF(1), y=x0), x)["real_div"]
    assert (ratio.divisor, ratio.small) == (pytest.approx(1e-5), 2) and ratio.noteworthy
    root = measured(tmp_path / "b", lambda x0: mb.rsqrt(x=x0, epsilon=HALF(1e-6)), np.abs(x))["rsqrt"]
    assert (root.divisor, root.small) == (pytest.approx(1e-6, rel=0.05), 3)


def test_normalisation(tmp_path: Path) -> None:
    """Of a row that hardly varies, variance and epsilon are no normal number; of one that does, squares add up."""
    x = np.float32([[1.0, 1.001] * 4, [100.0, -100.0] * 4])
    norm = lambda x0: mb.layer_norm(x=x0, axes=[1], epsilon=HALF(1e-6))  # noqa: E731
    found = measured(tmp_path, norm, x)["layer_norm"]
    assert found.divisor == pytest.approx(0.0005**2 + 1e-6, rel=0.05) and found.divisor < NORMAL
    assert (found.small, found.total) == (1, 80_000)


def test_probabilities_that_are_dropped(tmp_path: Path) -> None:
    """20,000 equal scores: each probability is 5e-5, less than the smallest normal number."""
    softmax = lambda x0: mb.softmax(x=x0, axis=-1)  # noqa: E731
    many = measured(tmp_path / "a", softmax, np.zeros((1, 20_000), np.float32))["softmax"]
    assert many.dropped == pytest.approx(1) and many.total == 20_000 and many.noteworthy
    few = measured(tmp_path / "b", softmax, np.float32([[0, 0, -10]]))["softmax"]
    assert few.dropped == pytest.approx(np.exp(-10) / 2, rel=1e-3) and not few.noteworthy


def test_single_precision_is_left_out(tmp_path: Path) -> None:
    build = lambda x0: mb.cast(x=mb.square(x=mb.cast(x=x0, dtype="fp32")), dtype="fp16")  # noqa: E731
    found = measured(tmp_path, build, np.float32([[200.0]]))
    assert set(found) == {"x0", "cast"} and found["cast"].largest == 40_000


def test_what_is_not_a_number_counts_as_too_large(tmp_path: Path) -> None:
    found = measured(tmp_path, lambda x0: mb.sqrt(x=x0), np.float32([[-1.0, 4.0]]))
    assert np.isinf(found["sqrt"].largest) and found["sqrt"].noteworthy


def test_results_are_the_interpreters_and_calls_add_up(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    build = lambda x0: mb.softmax(x=mb.mul(x=x0, y=x0), axis=-1)  # noqa: E731
    package = read_package(saved_program(tmp_path / "program.mlpackage", build, [x.astype(HALF)]))
    ranges = Ranges(package)
    outputs = ranges.run({"x0": x})
    for name, expected in Interpreter(package, rounding=None)(x0=x).items():
        np.testing.assert_array_equal(outputs[name], expected)
    ranges.run({"x0": x / 2})
    product = next(each for each in ranges.ranges if each.kind == "mul")
    assert product.largest == np.square(x).max()


def test_the_table_names_graph_and_operator(tmp_path: Path) -> None:
    found = measured(tmp_path, lambda x0: mb.real_div(x=HALF(1), y=mb.square(x=x0)), np.float32([[300.0, 5e-3]]))
    lines = list(table({"some_graph": (1, list(found.values()))}))
    assert "some_graph: 1 calls, 3 inputs and operators in half precision" in lines
    square, ratio = f"square {found['square'].place}", f"real_div {found['real_div'].place}"
    assert f"  largest value               9e+04  {square}; 2 above a quarter" in lines
    assert f"  smallest divisor         2.50e-05  {ratio}; 1 not normal" in lines
    assert lines[-2:] == [f"    {square}: value 9e+04", f"    {ratio}: value 4e+04, 1 divisors from 2.5e-05"]


def test_a_bundle_is_looked_at_by_its_vectors(small_packages: Path) -> None:
    """The small model, whose memory encoder has a threshold with a slope of 32,768."""
    bundle = Bundle.open(small_packages)
    found = ranges_of(bundle, "coreml-ios18")
    calls = [graph for graph, _, _ in open_vectors(bundle).calls()]
    assert {graph: count for graph, (count, _) in found.items()} == {graph: calls.count(graph) for graph in set(calls)}
    ranges = {graph: each for graph, (_, each) in found.items()}
    slopes = [each for each in ranges["memory_encoder"] if each.largest == 32_768]
    assert [each.kind for each in slopes] == ["mul", "mul"] and all(each.noteworthy for each in slopes)
    inputs = [each.place for each in ranges["memory_encoder"] if each.kind == "input"]
    assert inputs == ["features", "mask_logits", "binarize"]
    (frame,) = (each for each in ranges["image_encoder"] if each.kind == "cast")
    assert 200 < frame.largest <= 255, "a frame goes in as it is"
    assert max(each.largest for each in ranges["mask_decoder"]) > 5_000, "masks of unused prompts"


def test_what_cannot_be_looked_at(small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(small_bundle)]) == main([str(tmp_path / "nowhere")]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("error: the bundle") and first.endswith("variants [], asked for is 'coreml-ios18'")
    assert second.startswith("error: ") and "nowhere" in second
    bundle = Bundle.open(small_bundle)
    manifest = replace(bundle.manifest, variants={"coreml-ios18": {}}, files={})
    with pytest.raises(BundleError, match="has no test vectors"):
        ranges_of(Bundle(bundle.root, manifest), "coreml-ios18")
