"""Products on packed weights are the layers' own, and a layer that has none computes as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from workflow_scripts.encoder import packed
from workflow_scripts.encoder.arithmetic import arithmetic, computes_in_bf16
from workflow_scripts.encoder.encoding import encode_texts
from workflow_scripts.encoder.loading import load_encoder
from workflow_scripts.encoder.packed import packed_product

needs_packing = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in packed.MEASURED_ON, reason="a processor on which nothing is packed"
)


@needs_packing
@pytest.mark.parametrize("shape", [(0, 384), (1, 384), (3, 5, 384)])
@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_a_packed_product_is_the_layers_own(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    linear, x = nn.Linear(384, 100, bias=bias), torch.randn(shape)
    product = packed_product(linear)
    assert product is not None
    torch.testing.assert_close(product(x), linear(x), rtol=0, atol=1e-5)
    rounded = product(x.bfloat16())
    assert rounded.dtype == torch.float32, "what autocast rounded before it is taken back to float32"


@needs_packing
@pytest.mark.skipif(not computes_in_bf16(torch.device("cpu")), reason="a processor without arithmetic in bf16")
@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_a_packed_product_in_bf16_is_autocasts(bias: bool) -> None:
    torch.manual_seed(0)
    linear, x = nn.Linear(384, 100, bias=bias), torch.randn(7, 384)
    product = packed_product(linear, torch.bfloat16)
    assert product is not None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = linear(x)
    assert product(x).dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(product(x), expected, rtol=2**-7, atol=1e-6)  # one rounding


class Scaled(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    "linear",
    [Scaled(4, 4), nn.Linear(4, 4, dtype=torch.bfloat16), nn.Linear(4, 4, device="meta")],
    ids=["a subclass", "weights in bf16", "on another device"],
)
def test_a_layer_of_another_kind_computes_as_it_is(linear: nn.Linear) -> None:
    assert packed_product(linear) is None


@needs_packing
def test_of_a_large_weight_no_copy_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    linear = nn.Linear(8, 8)
    assert packed_product(linear) is not None
    monkeypatch.setattr(packed, "LARGEST", 63)
    assert packed_product(linear) is None


def test_without_torchs_operator_a_model_computes_as_it_is(
    model: Path, utterances: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load_encoder(model, device="cpu")
    texts = utterances[:8]
    expected = encode_texts(encoder, texts)
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "DEFAULT")
    with arithmetic(encoder, "fp32"):
        assert not any("forward" in part.__dict__ for part in encoder.modules())
    found = encode_texts(encoder, texts)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
