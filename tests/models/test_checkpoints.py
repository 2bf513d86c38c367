"""A checkpoint is used whole or not at all: whatever is cut or missing, the one before it is taken, or none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from workflow_scripts.artefact import write_digests
from workflow_scripts.models import checkpoints
from workflow_scripts.models.checkpoints import Checkpoint

FINGERPRINT = "0123456789abcdef"
FILES = [*checkpoints.FILES, checkpoints.DIGESTS]


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def half_zeros(file: Path) -> None:
    content = file.read_bytes()
    half = len(content) // 2
    file.write_bytes(content[:half] + bytes(len(content) - half))


def one_bit_flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def nested_too_deeply(file: Path) -> None:
    file.write_text("[" * 100_000)


def removed(file: Path) -> None:
    file.unlink()


def network(value: float) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """A layer whose weights all have this value, and its optimiser."""
    layer = torch.nn.Linear(3, 2)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(value)
    return layer, torch.optim.AdamW(layer.parameters(), lr=0.1)


def saved(folder: Path, steps: int) -> list[Path]:
    """A checkpoint after each step; the weights say which it is."""
    paths = []
    for step in range(1, steps + 1):
        layer, optimizer = network(0.0)
        layer(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.fill_(float(step))
        rows: list[dict[str, Any]] = [{"step": s, "loss": 1.0} for s in range(1, step + 1)]
        paths.append(checkpoints.save(folder, FINGERPRINT, {}, Checkpoint(step, 10.0 * step, rows), layer, optimizer))
    return paths


def test_the_last_two_are_kept_and_the_last_is_loaded_whole(tmp_path: Path) -> None:
    *_, before, last = saved(tmp_path, 4)
    assert sorted(tmp_path.iterdir()) == [before, last]
    layer, optimizer = network(0.0)
    state = checkpoints.load_last(tmp_path, FINGERPRINT, {}, layer, optimizer)
    assert state is not None
    assert (state.step, state.seconds, len(state.rows)) == (4, 40.0, 4)
    assert all(bool((parameter == 4.0).all()) for parameter in layer.parameters())
    assert all(set(optimizer.state[parameter]) == {"exp_avg", "exp_avg_sq", "step"} for parameter in layer.parameters())


def test_what_a_killed_save_left_goes_with_the_next(tmp_path: Path) -> None:
    left = tmp_path / ".step.abcdefgh.part"
    left.touch()
    left.with_suffix(".folder.part").mkdir()
    kept = saved(tmp_path, 1)
    assert list(tmp_path.iterdir()) == kept


@pytest.mark.parametrize("broken", FILES)
@pytest.mark.parametrize("breaking", [cut, emptied, nested_too_deeply, removed, half_zeros, one_bit_flipped])
def test_of_a_checkpoint_that_is_not_whole_the_one_before_is_taken(
    broken: str, breaking: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, last = saved(tmp_path, 2)
    breaking(last / broken)
    layer, optimizer = network(0.0)
    with caplog.at_level("INFO", logger="matryoshka"):
        state = checkpoints.load_last(tmp_path, FINGERPRINT, {}, layer, optimizer)
    assert state is not None
    assert state.step == 1
    assert all(bool((parameter == 1.0).all()) for parameter in layer.parameters())
    assert f"{last} is not whole" in caplog.text


@pytest.mark.parametrize("broken", FILES)
def test_where_no_checkpoint_is_whole_training_starts_over_and_says_so(
    broken: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for path in saved(tmp_path, 2):
        cut(path / broken)
    layer, optimizer = network(7.0)
    with caplog.at_level("INFO", logger="matryoshka"):
        assert checkpoints.load_last(tmp_path, FINGERPRINT, {}, layer, optimizer) is None
    assert all(bool((parameter == 7.0).all()) for parameter in layer.parameters())  # nothing half loaded
    assert not optimizer.state
    assert "no checkpoint" in caplog.text
    assert "starts over" in caplog.text


def test_the_weights_of_another_model_are_not_loaded(tmp_path: Path) -> None:
    before, last = saved(tmp_path, 2)
    other, optimizer = torch.nn.Linear(4, 2), network(0.0)[1]
    rows: list[dict[str, Any]] = [{"step": 1}, {"step": 2}]
    checkpoints.save(tmp_path / "other", FINGERPRINT, {}, Checkpoint(2, 1.0, rows), other, optimizer)
    (tmp_path / "other" / last.name / "weights.safetensors").replace(last / "weights.safetensors")
    write_digests(last / checkpoints.DIGESTS, [last / name for name in checkpoints.FILES])
    layer, optimizer = network(0.0)
    state = checkpoints.load_last(tmp_path, FINGERPRINT, {}, layer, optimizer)
    assert state is not None
    assert state.step == 1
    assert before.exists()


def test_moments_of_another_shape_are_not_loaded(tmp_path: Path) -> None:
    *_, last = saved(tmp_path, 2)
    moments = load_file(last / "optimizer.safetensors")
    save_file(moments | {"weight:exp_avg_sq": torch.zeros(5)}, last / "optimizer.safetensors")
    write_digests(last / checkpoints.DIGESTS, [last / name for name in checkpoints.FILES])
    layer, optimizer = network(0.0)
    state = checkpoints.load_last(tmp_path, FINGERPRINT, {}, layer, optimizer)
    assert state is not None
    assert state.step == 1


def test_the_state_of_another_configuration_may_be_nested_too_deeply(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    *_, last = saved(tmp_path, 1)
    nested_too_deeply(last / "state.json")
    with caplog.at_level("INFO", logger="matryoshka"):
        assert checkpoints.load_last(tmp_path, "another configuration", {}, *network(0.0)) is None
    assert "is of another configuration (unreadable)" in caplog.text
