"""bf16 rounds, `mixed` rounds less, and the model is left as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from workflow_scripts.encoder.arithmetic import Precision, arithmetic, computes_in_bf16
from workflow_scripts.encoder.encoding import encode_texts
from workflow_scripts.encoder.loading import load_encoder

needs_bf16 = pytest.mark.skipif(
    not computes_in_bf16(torch.device("cpu")),
    reason="a processor without arithmetic in bf16, where no layer is packed for it",
)


def test_a_processor_that_computes_as_one_with_avx2_has_no_bf16() -> None:
    asked = "import torch; from workflow_scripts.encoder.arithmetic import computes_in_bf16 as has; print(has(torch.device('cpu')))"
    emulated = os.environ | {"ATEN_CPU_CAPABILITY": "avx2"}
    said = subprocess.run([sys.executable, "-c", asked], env=emulated, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"


def test_mixed_is_nearer_than_bf16(model: Path, utterances: list[str]) -> None:
    encoder = load_encoder(model, device="cpu")
    texts = utterances[:40]
    exact = encode_texts(encoder, texts)

    def off(precision: Precision) -> float:
        return float(np.linalg.norm(encode_texts(encoder, texts, precision=precision) - exact, axis=1).mean())

    assert 0 < off("mixed") < 0.9 * off("bf16")


def test_mixed_leaves_the_last_third_of_the_linear_layers_in_fp32(model: Path) -> None:
    encoder = load_encoder(model, device="cpu")
    linears = [module for module in encoder.modules() if isinstance(module, torch.nn.Linear)]
    with arithmetic(encoder, "mixed"):
        types = [linear(torch.zeros(1, linear.in_features)).dtype for linear in linears]
    third = -(-len(linears) // 3)
    assert types == [torch.bfloat16] * (len(linears) - third) + [torch.float32] * third


@pytest.mark.parametrize("precision", ["bf16", "mixed"])
@pytest.mark.parametrize("linears", [0, 1])
def test_a_model_of_few_or_no_linear_layers_is_rounded_as_well(linears: int, precision: Precision) -> None:
    class Encoder(torch.nn.Sequential):
        device = torch.device("cpu")

    encoder = Encoder(*(torch.nn.Linear(2, 2) for _ in range(linears)))
    with arithmetic(encoder, precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


@pytest.mark.parametrize("precision", ["fp32", "mixed", pytest.param("bf16", marks=needs_bf16)])
def test_the_model_is_left_as_it_was_even_after_an_error(model: Path, precision: Precision) -> None:
    encoder = load_encoder(model, device="cpu")
    changed: list[bool] = []

    def use() -> None:
        with arithmetic(encoder, precision):
            changed.append(any("forward" in part.__dict__ for part in encoder.modules()))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        use()
    assert changed == [True]
    assert not any("forward" in part.__dict__ for part in encoder.modules())
