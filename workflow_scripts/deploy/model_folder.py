"""A model's folder as others load it: any sentence-transformers from 5.0 on, no trace of the machine that made it.

Takes a model of the study; leaves a copy of what its digest covers. The room `models` saves what the installed
sentence-transformers 6 saves: names of modules and keys that 5 does not know, and in `tokenizer_config.json` that the
files lay on this machine. Both versions read what is written here, and embed the same.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from workflow_scripts.artefact import read_json, write_json
from workflow_scripts.command_line import InputError

OLDEST = "5.0"  # of sentence-transformers
# What transformers writes about the machine: where the files lay, and that they were not fetched.
OF_THE_MACHINE = ("is_local", "local_files_only", "name_or_path", "_name_or_path", "cache_dir", "_commit_hash")
POOLING_MODES = ("cls", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
# Modules that sentence-transformers 5 has under `sentence_transformers.models`, as 6 still reads.
MODULES = (
    "Transformer",
    "Pooling",
    "Normalize",
    "Dense",
    "LayerNorm",
    "StaticEmbedding",
    "WordEmbeddings",
    "BoW",
    "CNN",
    "LSTM",
)
TASK, SENTENCE = "feature-extraction", "sentence_embedding"
TEXT_ALONE = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}


def export(source: Path, target: Path, truncate_dim: int | None) -> str:
    """Copy the files that `model.sha256` names, portably; return the oldest sentence-transformers that loads them."""
    listed = [line.split("  ", 1)[1] for line in (source / "model.sha256").read_text().splitlines()]
    for name in listed:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)
    modules = read_json(target / "modules.json")
    oldest = OLDEST
    for module in modules:
        kind = module["type"].rpartition(".")[2]
        if (
            kind in MODULES
            and module["type"].startswith("sentence_transformers.")
            and _both_read(target / module["path"], kind)
        ):
            module["type"] = f"sentence_transformers.models.{kind}"
        else:
            oldest = "6.0"
    write_json(target / "modules.json", modules)
    for name in ("tokenizer_config.json", "config.json"):
        if (path := target / name).is_file():
            write_json(path, {key: value for key, value in read_json(path).items() if key not in OF_THE_MACHINE})
    path = target / "config_sentence_transformers.json"
    write_json(path, (read_json(path) if path.is_file() else {}) | {"truncate_dim": truncate_dim})
    for path in target.rglob("*.json"):
        if (
            found := next((word for word in ("local_files_only", str(Path.cwd())) if word in path.read_text()), None)
        ) is not None:
            raise InputError(
                f"{source / path.relative_to(target)}: names this machine ({found}); expected a model that loads anywhere"
            )
    return oldest


def _both_read(folder: Path, kind: str) -> bool:
    """Write a module's configuration with the keys that both versions know; False where it says what 5 cannot."""
    config: dict[str, Any]
    if kind == "Transformer":
        path = folder / "sentence_bert_config.json"
        config = read_json(path) if path.is_file() else {}
        if config.get("modality_config", TEXT_ALONE) != TEXT_ALONE or config.get("transformer_task", TASK) != TASK:
            return False
        tokenizer = folder / "tokenizer_config.json"
        length = config.get("max_seq_length") or (
            read_json(tokenizer).get("model_max_length") if tokenizer.is_file() else None
        )
        length = length if isinstance(length, int) and length < 10**9 else None
        write_json(path, {"max_seq_length": length, "do_lower_case": bool(config.get("do_lower_case", False))})
    elif kind == "Pooling":
        config = read_json(folder / "config.json")
        modes = config.get("pooling_mode")
        if modes is None:
            return True  # as version 5 wrote it
        modes = [modes] if isinstance(modes, str) else modes
        keys = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens", "weightedmean": "weightedmean_tokens"}
        flags = {f"pooling_mode_{keys.get(mode, mode)}": mode in modes for mode in POOLING_MODES}
        width = config.get("embedding_dimension") or config["word_embedding_dimension"]
        write_json(
            folder / "config.json",
            {"word_embedding_dimension": width, **flags, "include_prompt": config["include_prompt"]},
        )
        return set(modes) <= set(POOLING_MODES)
    elif kind == "Normalize":
        write_json(folder / "config.json", {})  # 5 reads none; without a file git would drop the folder
    elif kind == "Dense":
        config = read_json(folder / "config.json")
        if {config.get(key, SENTENCE) for key in ("module_input_name", "module_output_name")} != {SENTENCE}:
            return False
        known = ("in_features", "out_features", "bias", "activation_function")
        write_json(folder / "config.json", {key: config[key] for key in known if key in config})
    return True
