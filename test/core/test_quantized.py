"""Quantised weights: products are close to those in floats, and rows do not depend on each other."""

import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peer import make_peer, make_processor, save_peer, shape
from safetensors.torch import load_file, save_file

from kosmos2_core import engine as engine_module
from kosmos2_core.boxes import iou
from kosmos2_core.checkpoint import QUANTIZED_FILE, load_model, quantize_checkpoint
from kosmos2_core.decoding import Decoding
from kosmos2_core.engine import Engine
from kosmos2_core.errors import InputError, ModelError
from kosmos2_core.images import load_image
from kosmos2_core.quantized import (
    FbgemmKernel,
    OneDnnKernel,
    QuantizedEmbedding,
    QuantizedLinear,
    choose_kernel,
    quantize_matrix,
    quantize_rows,
    stack_matrices,
)
from kosmos2_core.requests import Caption, Locate

MODEL = Path(__file__).resolve().parents[2] / "models/tabletop-tiny"
IMAGE = Path(__file__).resolve().parents[2] / "docs/tabletop.jpg"
REQUESTS = [
    Locate("[the yellow banana] and [the red box]", min_presence=0.0),
    Locate("the leftmost object", min_presence=0.0),
]

needs_vnni = pytest.mark.skipif(not torch.cpu._is_vnni_supported(), reason="for processors with VNNI")
kernels = pytest.mark.parametrize(
    "kernel",
    [pytest.param(OneDnnKernel(), marks=needs_vnni), FbgemmKernel()],
    ids=lambda kernel: kernel.name,
)
needs_kernel = pytest.mark.skipif(choose_kernel() is None, reason="this processor has no kernel for int8")


def random_layer(kernel, outputs=40, inputs=96):
    generator = torch.Generator().manual_seed(0)
    weight, bias = (
        torch.randn(outputs, inputs, generator=generator),
        torch.randn(outputs, generator=generator),
    )
    layer = QuantizedLinear(quantize_matrix(weight), kernel)
    layer.bias = torch.nn.Parameter(bias, requires_grad=False)
    return layer, weight, bias


@needs_kernel
@kernels
@pytest.mark.parametrize("shape", [(1, 96), (7, 96), (2, 5, 96), (0, 96)])
@torch.inference_mode()
def test_a_layer_computes_the_product_within_three_percent(kernel, shape):
    layer, weight, bias = random_layer(kernel)
    x = torch.randn(shape)
    exact = x @ weight.T
    assert layer(x).shape == exact.shape
    error = (layer(x) - bias - exact).norm(dim=-1)
    assert bool((error <= 0.03 * exact.norm(dim=-1)).all())


@needs_kernel
@kernels
@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(-20, 20), st.integers(0, 2**31))
@torch.inference_mode()
def test_a_row_has_the_same_result_alone_and_beside_rows_of_any_magnitude(kernel, rows, exponent, seed):
    layer, _, _ = random_layer(kernel)
    x = torch.randn(rows, 96, generator=torch.Generator().manual_seed(seed))
    neighbours = torch.cat([x[:1] * 10.0**exponent, x, torch.zeros(1, 96)])
    together = layer(neighbours)
    for number in range(rows):
        assert torch.equal(layer(x[number : number + 1])[0], together[number + 1])
    assert torch.equal(together[-1], layer.bias)


@needs_kernel
@kernels
@torch.inference_mode()
def test_stacked_matrices_give_the_outputs_of_each(kernel):
    matrices = [quantize_matrix(torch.randn(outputs, 96)) for outputs in (8, 40, 16)]
    x = torch.randn(3, 96)
    stacked = QuantizedLinear(stack_matrices(matrices), kernel)(x)
    assert torch.equal(stacked, torch.cat([QuantizedLinear(matrix, kernel)(x) for matrix in matrices], -1))


@needs_kernel
@kernels
@torch.inference_mode()
def test_an_embedding_looks_up_tokens_and_gives_the_logits_of_any_range(kernel):
    weight = torch.randn(500, 64)
    embedding = QuantizedEmbedding(quantize_matrix(weight), kernel)
    ids = torch.tensor([[3, 499], [0, 3]])
    torch.testing.assert_close(embedding(ids), weight[ids], rtol=0, atol=0.02)
    hidden = torch.randn(2, 3, 64)
    logits = embedding.logits(hidden, slice(None))
    assert bool(((logits - hidden @ weight.T).norm(dim=-1) <= 0.03 * logits.norm(dim=-1)).all())
    assert torch.equal(embedding.logits(hidden, slice(100, 140)), logits[..., 100:140])


def test_quantised_values_use_the_whole_range_and_come_back():
    x = torch.tensor([[1.0, -4.0, 2.0], [0.0, 0.0, 0.0]])
    rows = quantize_rows(x)
    assert rows.values.tolist() == [[32, -127, 64], [0, 0, 0]]
    torch.testing.assert_close(rows.values * rows.scales, x, rtol=0.01, atol=0.02)


# Checkpoints and engines.


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantized") / "int8"
    quantize_checkpoint(MODEL, folder)
    return folder


def boxes_of(engine):
    answers = engine.look(load_image(IMAGE)).run(*REQUESTS)
    return [(phrase.presence, phrase.boxes) for answer in answers for phrase in answer.phrases]


@needs_kernel
def test_a_quantised_checkpoint_answers_as_its_source_does_when_quantised_at_loading(quantized):
    at_loading, stored = Engine.load(MODEL, quantize="int8"), Engine.load(quantized)
    assert at_loading.precision == stored.precision == f"int8 ({choose_kernel().name})"
    assert boxes_of(at_loading) == boxes_of(stored)
    assert boxes_of(stored)[0][1][0].score


@needs_kernel
def test_int8_answers_nearly_as_the_float_model_does(quantized):
    integers, floats = boxes_of(Engine.load(quantized)), boxes_of(Engine.load(MODEL))
    assert [presence > 0.5 for presence, _ in floats] == [True, False, True]
    for (presence, boxes), (other_presence, others) in zip(integers, floats, strict=True):
        assert abs(presence - other_presence) < 0.1
        assert iou(boxes[0], others[0]) > 0.8 or other_presence < 0.5


def test_without_quantisation_its_weights_become_floats(quantized):
    engine = Engine.load(quantized, quantize="none")
    assert engine.precision == "float32"
    weight, original = (load_model(folder).decoder.blocks[0].fc1.weight for folder in (quantized, MODEL))
    torch.testing.assert_close(weight, original, rtol=0, atol=float(original.abs().max()) / 127)
    assert boxes_of(engine)


def test_a_quantised_checkpoint_takes_about_a_quarter_and_keeps_the_other_files(quantized):
    source = (MODEL / "model.safetensors").stat().st_size
    assert (quantized / QUANTIZED_FILE).stat().st_size < 0.3 * source
    assert not (quantized / "model.safetensors").exists()
    for name in ("config.json", "tokenizer.json", "calibration.json"):
        assert (quantized / name).read_bytes() == (MODEL / name).read_bytes()


@needs_kernel
def test_answers_do_not_depend_on_their_neighbours(quantized):
    engine = Engine.load(quantized)
    view = engine.look(load_image(IMAGE))
    decoding = Decoding(max_new_tokens=8, scores=False)
    together = view.run(*REQUESTS, Caption(), decoding=decoding)
    for request, answer in zip((*REQUESTS, Caption()), together, strict=True):
        [alone] = view.run(request, decoding=decoding)
        assert alone.text == answer.text
        for phrase, other in zip(alone.phrases, answer.phrases, strict=True):
            assert phrase.presence == pytest.approx(other.presence, abs=0.02)


@needs_kernel
def test_auto_quantises_wide_models_alone(tmp_path):
    widths = shape("2000 1024 1 64 16", "32 64 1 2 28 14", 8)
    folder = save_peer(make_peer(widths), tmp_path)
    make_processor(1900).save_pretrained(folder)
    assert Engine.load(folder, "cpu").precision.startswith("int8")
    assert Engine.load(folder, "cpu", dtype="bfloat16").precision == "bfloat16"
    assert Engine.load(folder, "cpu", quantize="none").precision == "float32"
    assert Engine.load(MODEL, "cpu").precision == "float32"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"quantize": "int4"}, "int4 would not be faster than int8 on this machine: choose int8 or auto."),
        ({"quantize": "int3"}, "quantize int3 is not known: choose auto, none, int8."),
        ({"quantize": "int8", "dtype": "bfloat16"}, "int8 computes in float32, and dtype is bfloat16"),
    ],
)
def test_a_quantisation_that_cannot_be_is_refused_before_the_model_is_loaded(options, sentence):
    with pytest.raises(InputError, match=sentence):
        Engine.load("nowhere", "cpu", **options)


def test_a_processor_without_kernel_computes_in_floats(quantized, monkeypatch):
    monkeypatch.setattr(engine_module, "choose_kernel", lambda: None)
    assert Engine.load(quantized, "cpu").precision == "float32"
    with pytest.raises(InputError, match="no fast int8 kernel for this processor: choose none or auto"):
        Engine.load(MODEL, "cpu", quantize="int8")


def test_a_quantised_checkpoint_is_not_quantised_again_and_nothing_is_overwritten(quantized, tmp_path):
    with pytest.raises(ModelError, match="is quantised already"):
        quantize_checkpoint(quantized, tmp_path / "again")
    with pytest.raises(InputError, match="exists"):
        quantize_checkpoint(MODEL, quantized)
    assert not (tmp_path / "again").exists()


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"int8 cannot be written to \(.*\): choose a folder"):
        quantize_checkpoint(MODEL, tmp_path / "file/int8")


def test_weights_in_floats_come_before_quantised_ones_in_the_same_folder(quantized, tmp_path):
    folder = shutil.copytree(quantized, tmp_path / "both")
    shutil.copyfile(MODEL / "model.safetensors", folder / "model.safetensors")
    assert Engine.load(folder, "cpu").precision == "float32"


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("text_model.model.layers.0.ffn.fc1.weight", lambda x: x.float(), "with scales, it must be int8"),
        ("text_model.model.layers.0.ffn.fc1.weight", lambda x: x[1:].clone(), "has shape"),
        ("text_model.model.layers.0.ffn.fc1.weight_scales", lambda x: x * float("nan"), "not finite"),
        ("text_model.model.layers.0.ffn.fc1.weight_scales", None, "only floating-point weights are known"),
    ],
)
def test_a_damaged_quantised_checkpoint_is_refused(quantized, tmp_path, name, change, sentence):
    folder = shutil.copytree(quantized, tmp_path / "damaged")
    tensors = load_file(folder / QUANTIZED_FILE)
    tensor = tensors.pop(name)
    save_file(tensors | ({name: change(tensor)} if change else {}), folder / QUANTIZED_FILE)
    with pytest.raises(ModelError, match=sentence):
        load_model(folder)
