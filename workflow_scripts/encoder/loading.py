"""A sentence-transformers folder, loaded for inference.

Takes a folder on this machine; leaves the model, in float32. Safetensors alone, no code of the folder is run.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open

from workflow_scripts.artefact import log
from workflow_scripts.command_line import InputError, first_line

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

TOKENIZER_FILES = (
    "vocab*",
    "merges.txt",
    "*.model",
    "*.bpe",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
)
SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
TEXT_LENGTHS = ("query_length", "document_length")  # of a model that reads these two differently
LFS_POINTER = b"version https://git-lfs"


class EncoderError(InputError):
    """The model folder cannot be used; the message is one line that says what was found and expected."""


def load_encoder(
    folder: str | Path, device: str | torch.device | None = None, max_length: int | None = None
) -> SentenceTransformer:
    """Load a sentence-transformers folder for inference, in float32, on a GPU where there is one.

    Weights come from safetensors alone and no code from the folder is run. `max_length` (tokens) lowers the
    model's own maximum, which is never above the positions that it has. Raises `EncoderError` where the folder holds no
    such model, whatever the libraries raise.
    """
    from sentence_transformers import SentenceTransformer

    # cuDNN's attention plans anew for every shape of a batch, and nearly every batch has its own: of 60 training steps of a
    # small model on an H200 three quarters of the time (torch 2.11). The other kernels need no plan.
    torch.backends.cuda.enable_cudnn_sdp(False)
    folder = Path(folder)
    if not (folder / "modules.json").exists():
        raise EncoderError(f"{folder}: no modules.json there; expected a sentence-transformers folder")
    check_files(folder, str(folder))
    try:
        model = SentenceTransformer(
            str(folder),
            device=str(device or default_device()),
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True, "dtype": torch.float32},
        )
    except Exception as error:
        why = _fault_in_files(folder) or loading_fault(error)
        raise EncoderError(f"{folder}: not loadable as a sentence-transformers model ({why})") from error
    if not any(hasattr(model[0], name) for name in ("preprocess", "tokenize")):
        raise EncoderError(
            f"{folder}: the first module of modules.json is a {type(model[0]).__name__}, which reads no texts; expected the "
            "encoder first"
        )
    limit_length(model, max_length, str(folder))
    return model.eval()


def loading_fault(error: Exception) -> str:
    """The first line of what a library says; of weights that do not fit it says only how to go on without them."""
    said = first_line(error)
    return "its weights have other shapes than its config.json says" if "ignore_mismatched_sizes" in said else said


def _fault_in_files(folder: Path) -> str | None:
    """What is wrong with the files of a model that cannot be loaded, where a library's error does not say it: the first
    one that is no JSON, or else the first module without its configuration (Normalize alone needs none), or a matrix without its
    weights."""
    for path in sorted(folder.rglob("*.json")):
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            return f"{path.relative_to(folder)} is not readable as JSON: {first_line(error)}"
    paths = _module_paths(folder)
    if not paths:
        return "modules.json: expected a list of modules, each with its path and type"
    lacking = [path for path in paths if not list((folder / path).glob("*.json"))]
    if lacking:
        return f"modules.json names {lacking[0]}, but there is no {lacking[0]}/config.json"
    bare = [path for path in _module_paths(folder, (".Dense", ".LayerNorm")) if not _has_weights(folder / path)]
    if bare:
        return f"modules.json names {bare[0]}, but its weights are missing: expected {bare[0]}/model.safetensors"
    encoders = sorted(path.parent for path in folder.rglob("sentence_bert_config.json"))
    return next((fault for path in encoders if (fault := tokenizer_fault(path)) is not None), None)


def tokenizer_fault(folder: Path) -> str | None:
    """Which files of a tokenizer there are, where transformers cannot make one of them: it names neither them nor what is
    missing. None where it can, or where tokenizer.json is there, which says all by itself."""
    from transformers import AutoConfig, AutoTokenizer

    if (folder / "tokenizer.json").is_file():
        return None
    load: Any = AutoTokenizer.from_pretrained
    try:
        config: Any = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception:  # its configuration is at fault, whatever the tokenizer is
        return None
    try:
        load(str(folder), config=config, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        found = sorted({path.name for pattern in TOKENIZER_FILES for path in folder.glob(pattern)})
        why = f"all files that it is made from: {first_line(error)}"
        if any(name.endswith(".model") for name in found) and find_spec("sentencepiece") is None:
            why = "the package sentencepiece, which is not installed, to read the .model"
        return (
            f"its tokenizer: found {', '.join(found) or 'no file of one'} and no tokenizer.json; "
            f"expected tokenizer.json, or {why.rstrip(': ')}"
        )
    return None


def _has_weights(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("model.safetensors", "pytorch_model.bin"))


def _module_paths(folder: Path, kinds: tuple[str, ...] = ("",)) -> list[str]:
    """Where the modules of a sentence-transformers folder keep their files, of types that end so, but for Normalize, which has
    none; none where modules.json is not there or no list of modules."""
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        found = [(str(module["path"]), str(module["type"])) for module in modules]
        return [path for path, kind in found if kind.endswith(kinds) and not kind.endswith(".Normalize")]
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return []


def check_files(folder: Path, name: str) -> None:
    """Raises `EncoderError` for weights that are cut, files that are only a pointer of Git LFS, an adapter without its
    model, a model of another kind, and prompts that are not a name and a text each."""
    for path in (path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            if file.read(len(LFS_POINTER)) == LFS_POINTER:
                raise EncoderError(
                    f"{name}: {path.relative_to(folder)} is a pointer of Git LFS, not the file; run `git lfs pull` there"
                )
    for weights in folder.rglob("*.safetensors"):
        try:
            with safe_open(weights, framework="pt"):
                pass
        except SafetensorError as error:
            raise EncoderError(
                f"{name}: {weights.relative_to(folder)}: {weights.stat().st_size} bytes that are no whole safetensors file "
                f"({first_line(error)}); copy or download it again"
            ) from None
    for part in ["", *_module_paths(folder)]:
        if (folder / part / "adapter_config.json").is_file():
            raise EncoderError(
                f"{name}: {Path(part, 'adapter_config.json')} is there, so its weights are an adapter's; expected a whole "
                "model: merge the adapter (peft's merge_and_unload) and save the result"
            )
    _check_configuration(folder / "config_sentence_transformers.json", name)


def _check_configuration(path: Path, name: str) -> None:
    """Raises `EncoderError` where a model's own configuration is no object or that of a sparse or a cross encoder, of which
    sentence-transformers would make another model; where it compares in a way that there is not; or where its prompts are not a name and a text each."""
    if not path.is_file():
        return
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return  # loading it fails, and then says why
    kind = content.get("model_type", "SentenceTransformer") if isinstance(content, dict) else "SentenceTransformer"
    if kind != "SentenceTransformer":
        raise EncoderError(f"{name}: {path.name} says that it is a {kind}; expected a SentenceTransformer")
    similarity = content.get("similarity_fn_name") if isinstance(content, dict) else None
    if similarity not in (None, *SIMILARITIES):  # sentence-transformers would take the cosine without a word
        raise EncoderError(
            f"{name}: {path.name}: similarity_fn_name is {similarity!r}; expected one of {', '.join(SIMILARITIES)}"
        )
    prompts = content.get("prompts", {}) if isinstance(content, dict) else content
    if not isinstance(prompts, dict) or not all(isinstance(prompt, str | None) for prompt in prompts.values()):
        raise EncoderError(
            f'{name}: {path.name}: expected an object whose `prompts` are names and texts, as {{"query": "query: "}}; '
            f"found {json.dumps(prompts)[:60]}"
        )


def limit_length(model: SentenceTransformer, max_length: int | None, name: str = "the model") -> None:
    """Cut texts at `max_length` tokens, where given, and at the positions that the model has; what is cut is logged.

    A model without a length of its own (static embeddings) is left as it is. Raises `EncoderError` where the model's
    own length is no number, or what is left is taken by special tokens alone, so that all texts would be one.
    """
    first: Any = model[0]
    own = _own_length(model.max_seq_length, name)
    positions = positions_of(model)
    if own is not None and positions is not None and own > positions:
        log.info(
            "the model's own maximum is %s tokens, but it has positions for %d: texts are cut there", own, positions
        )
    limits = [limit for limit in (own, positions, max_length) if limit is not None]
    if max_length is not None and limits and min(limits) < max_length:
        log.info("max_length is %d tokens, the model reads %s: texts are cut there", max_length, min(limits))
    if limits and (type(model.max_seq_length) is not int or min(limits) < model.max_seq_length):
        try:
            model.max_seq_length = int(min(limits))
        except AttributeError:
            log.info("the model has no maximum length: texts are encoded whole")
    for kind in TEXT_LENGTHS:
        if (length := _own_length(getattr(first, kind, None), name)) is not None:
            limits.append(length)
            setattr(first, kind, min([length, *(limit for limit in (positions, max_length) if limit is not None)]))
    if limits and min(limits) <= (special := special_tokens(model)):
        raise EncoderError(
            f"{name}: texts are cut at {min(limits)} tokens, and {special} are special ones: none is left for a word"
        )


@contextlib.contextmanager
def limited_length(model: SentenceTransformer, max_length: int) -> Iterator[None]:
    """Cut texts at `max_length` tokens while the block runs; all lengths of the model are its own again behind it, as they
    are saved with it. Raises as `limit_length`."""
    first: Any = model[0]
    own = {name: getattr(first, name) for name in ("max_seq_length", *TEXT_LENGTHS) if hasattr(first, name)}
    try:
        limit_length(model, max_length)
        yield
    finally:
        for name, length in own.items():
            if getattr(first, name) != length:  # what was not lowered may have no setter
                setattr(first, name, length)


def _own_length(length: Any, name: str) -> int | None:
    """A length that a model's files state; None where they state none, as of static embeddings."""
    if length is None or length == float("inf"):
        return None
    if isinstance(length, bool) or not isinstance(length, int | float) or length % 1 != 0:
        raise EncoderError(f"{name}: its maximum length is {length!r}; expected a whole number of tokens")
    return int(length)


def special_tokens(model: SentenceTransformer) -> int:
    """Tokens that the tokenizer puts around every text; 0 where the model has none of the usual kind."""
    from transformers import PreTrainedTokenizerBase

    tokenizer = getattr(model[0], "tokenizer", None)
    return tokenizer.num_special_tokens_to_add() if isinstance(tokenizer, PreTrainedTokenizerBase) else 0


def positions_of(model: SentenceTransformer) -> int | None:
    """Tokens that the encoder has learned positions for, None where it has no such table.

    RoBERTa's positions begin behind the padding token's id: of 514, 512 are for tokens.
    """
    first: Any = model[0]
    encoder = getattr(first, "model", None)
    if not isinstance(encoder, torch.nn.Module):
        return None
    tables = [m for name, m in encoder.named_modules() if name.rpartition(".")[2] == "position_embeddings"]
    counts = [
        table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
        for table in tables
        if isinstance(table, torch.nn.Embedding)
    ]
    return min(counts, default=None)


def known_positions(model: SentenceTransformer) -> int | None:
    """Tokens that the encoder was made for: those of `positions_of`, or what its configuration says where it computes
    positions; None where neither says it."""
    config: Any = getattr(getattr(model[0], "model", None), "config", None)
    positions = positions_of(model)
    positions = getattr(config, "max_position_embeddings", None) if positions is None else positions
    return None if positions is None else int(positions)


def default_device() -> torch.device:
    """The GPU where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
