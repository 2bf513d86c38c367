"""The training throughput of a study's base on this machine, which its plan in hours stands on.

Takes a study and the folder of its results; leaves tokens per second, measured here for a few seconds or by an earlier
`snakemake plan` on a GPU (`plan.json`).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from workflow_scripts.artefact import read_json
from workflow_scripts.command_line import first_line
from workflow_scripts.launch.costs import tokens_per_triple
from workflow_scripts.study.configuration import Study
from workflow_scripts.study.errors import StudyError
from workflow_scripts.study.references import package_model_folder, parse_reference

CALIBRATION_SECONDS = 5.0


def calibrate(study: Study, results: Path) -> tuple[float, str | None]:
    """(tokens/s, the GPU's name, None on a processor): forward and backward passes of the base's architecture with
    random weights, for a few seconds, at the study's precision and mean text length. Raises StudyError where the
    architecture is not known here, or is not run by tokens alone.
    """
    try:
        return _calibrate(study, results)
    except (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, StudyError):
            raise
        raise StudyError(
            f"no throughput is given (budget: tokens_per_second) and the base cannot be run here to measure it ({first_line(error)})"
        ) from error


def _calibrate(study: Study, results: Path) -> tuple[float, str | None]:
    import torch
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(_configuration(study, _measured_root(study), results), trust_remote_code=False)
    if (dropout := study.training.dropout) is not None:
        for key in ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout"):
            if hasattr(config, key):
                setattr(config, key, dropout)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = AutoModel.from_config(config).to(device).train()  # type: ignore[no-untyped-call]
    length = int(min(max(tokens_per_triple(study, results) / 3, 8), study.training.max_length))
    rows = max(1, min(study.training.micro_tokens, 2048 if device.type == "cpu" else 65536) // length)
    tokens = torch.randint(5, int(config.vocab_size), (rows, length), device=device)
    autocast = study.training.dtype != "fp32" and device.type == "cuda"
    done, started = 0, time.monotonic()
    for step in range(10_000):
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            loss = model(input_ids=tokens).last_hidden_state.float().square().mean()
        loss.backward()
        loss.item()  # waits for the device
        if step == 1:  # the first two steps warm up
            done, started = 0, time.monotonic()
        done += tokens.numel()
        if step > 2 and time.monotonic() - started > CALIBRATION_SECONDS:
            break
    rate = (done - tokens.numel()) / (time.monotonic() - started)
    return rate, torch.cuda.get_device_name() if device.type == "cuda" else None


def _configuration(study: Study, root: str, results: Path) -> str:
    """A folder with the architecture's config.json: the fetched model, the package's or path's, or the hub's."""
    from workflow_scripts.hub.client import download_snapshot
    from workflow_scripts.hub.retries import HubError

    made = results / "models" / root / f"s{study.seeds[0]}"
    if (made / "config.json").is_file():
        return str(made)
    kind, name, revision = parse_reference(study.graph.reference_of(root))
    folder = package_model_folder(name) if kind == "pypi" else Path(name)
    if kind == "hub":
        folder = results / ".plan"
        try:
            download_snapshot(name, revision or "main", folder, "model", ("config.json",), waits=())
        except HubError as error:
            raise StudyError(
                f"no throughput is given (budget: tokens_per_second) and none can be measured here ({error})"
            ) from None
    assert folder is not None  # the study was checked
    return str(folder)


def _measured_root(study: Study) -> str:
    """The fetched model whose throughput stands for the study's: that of the first trained one."""
    trained = [model for model in study.graph.models if study.graph.is_trained(model)]
    return study.graph.root_of((trained or study.graph.encoders)[0])


def measured_for(study: Study) -> dict[str, Any]:
    """What a throughput depends on."""
    recipe = {key: getattr(study.training, key) for key in ("max_length", "dtype", "dropout", "micro_tokens")}
    return {"model": study.graph.reference_of(_measured_root(study)), **recipe}


def measured_before(study: Study, results: Path) -> float | None:
    """The throughput that `plan` measured on a GPU for this base and recipe; None where it has not."""
    measured = results / "plan.json"
    if not measured.is_file():
        return None
    content = read_json(measured)
    fits = content.get("gpu") and content.get("measured_for") == measured_for(study)
    return float(content["tokens_per_second"]) if fits else None
