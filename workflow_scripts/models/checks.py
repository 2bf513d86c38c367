"""Whether a model is what its files say, before anything is scored or trained with it.

Takes a loaded sentence-transformers model; raises `EncoderError` where weights were missing and drawn at random, where
they are another architecture's, or where a saved copy gives other embeddings than its source. It exists
because the libraries load such models with a warning at most, and their scores look like any other's.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import safe_open

from workflow_scripts.artefact import log, read_json
from workflow_scripts.command_line import users_file
from workflow_scripts.encoder.encoding import Role, encode_texts
from workflow_scripts.encoder.loading import EncoderError, load_encoder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

COPY_AGREEMENT = 1e-4  # largest difference of unit embeddings between a model and its copy
NOT_NUMBERS = re.compile(r"[IU]\d|F[468](_|\Z)")  # types of safetensors that a weight matrix has once quantised
# What multiplies or shifts the integers of a weight: compressed-tensors and ModelOpt, DeepSeek, GPTQ and AWQ, bitsandbytes.
SCALES = re.compile(r"(?P<module>.+?)(\.weight)?\.(weight_(scale(_inv|_2)?|zero_point)|scales|qzeros|absmax|SCB)\Z")
TEXTS = (
    "The quick brown fox jumps over 12 lazy dogs.",
    "PARIS is the capital of France; Berlin of GERMANY",
    "Où est la bibliothèque ? Ça coûte 5 €, naïve façade",
    "東京は日本の首都です 🙂👍🏽",
    "",
    "word " * 700,
)


def check_weights(model: SentenceTransformer, folder: Path, reference: str) -> None:
    """Raises EncoderError where a weight of the encoder is not in the files in `folder`, but for a pooler's that nobody reads.

    Weights in the files that the encoder has no place for (layers that the configuration does not count, a classifier) are
    logged; stock libraries leave them out as well. Quantised ones that no library has made numbers of are refused.
    """
    for name, module in transformers_of(model):
        encoder = module.model
        path = folder / path_of(folder, name)
        with users_file(f"{reference}: its weights are not readable"):
            _, found = type(encoder).from_pretrained(
                str(path), config=encoder.config, output_loading_info=True, use_safetensors=True, local_files_only=True
            )
        _check_architecture(encoder.config, reference)
        quantised = (
            getattr(encoder.config, "quantization_config", None)
            or _quantised_matrix(path)
            or _scales(encoder, found["unexpected_keys"])
        )
        if quantised and getattr(encoder, "hf_quantizer", None) is None:
            raise EncoderError(
                f"{reference}: its weights are quantised ({str(quantised)[:60]}); expected them as floating-point numbers"
            )
        outputs = [mode.get("method_output_name") for mode in module.modality_config.values()]
        missing = sorted(
            key for key in found["missing_keys"] if "pooler" not in key.split(".") or "pooler_output" in outputs
        )
        if missing:
            raise EncoderError(
                f"{reference}: {len(missing)} weights are not in its files, the first is {missing[0]!r}; "
                f"expected all weights of a {type(encoder).__name__} under its names"
            )
        if beyond := sorted(key for key in found["unexpected_keys"] if not key.endswith("position_ids")):
            log.info("%s: %d weights are not used, the first is %s", reference, len(beyond), beyond[0])


def check_copy(model: SentenceTransformer, folder: Path, reference: str) -> None:
    """Raises EncoderError where the model saved in `folder`, encoded as the embeddings room does, embeds a few texts (upper
    case, accents, emoji, none, long; under each prompt, and as each role that the model reads in its own way) otherwise
    than `model` does with sentence-transformers."""
    copy = load_encoder(folder, device=model.device)
    width, expected_width = copy.get_embedding_dimension(), model.get_embedding_dimension()
    prompts = {name: prompt for name, prompt in (model.prompts or {}).items() if prompt}
    if (copy.prompts or {}) != (model.prompts or {}) or copy.default_prompt_name != model.default_prompt_name:
        raise EncoderError(f"{reference}: its saved copy has other prompts")
    model.eval()
    cases: list[tuple[str, Role]] = [(prompt, "") for prompt in dict.fromkeys(["", *prompts.values()])]
    for prompt, role in [*cases, *(("", role) for role in _roles(model))]:
        expected = np.asarray(_embedded(model, prompt, role), dtype=np.float32)
        if expected.ndim != 2 or expected.shape[1] != expected_width or width != expected_width:
            raise EncoderError(
                f"{reference}: says that its embeddings are {expected_width} wide, its saved copy {width}; they are "
                f"{expected.shape[-1]}"
            )
        if not np.isfinite(expected).all():
            raise EncoderError(f"{reference}: its embeddings are not numbers (NaN or infinite); expected sound weights")
        if not (np.abs(_unit(expected[1:]) - _unit(expected[:1])) > COPY_AGREEMENT).any():
            raise EncoderError(f"{reference}: gives every text the same embedding; expected sound weights")
        found = encode_texts(copy, list(TEXTS), prompt=prompt, role=role)
        differences = np.abs(_unit(found) - _unit(expected)).max(axis=1)
        worst = int(differences.argmax())
        if not differences[worst] < COPY_AGREEMENT:
            as_role = f" as a {role}" if role else ""
            raise EncoderError(
                f"{reference}: its saved copy embeds {(prompt + TEXTS[worst])[:50]!r} otherwise{as_role}, by "
                f"{differences[worst]:.2g}; expected the same embeddings"
            )


def _check_architecture(config: Any, reference: str) -> None:
    """Raises EncoderError where config.json says that the model is of another architecture than its `model_type`, or of one
    that is code of its own: weights that fit would compute something else."""
    import transformers

    for name in config.architectures or []:
        known = getattr(getattr(transformers, name, None), "config_class", None)
        own_code = known is None and "AutoModel" in (getattr(config, "auto_map", None) or {})
        if own_code or (known is not None and known is not type(config)):
            raise EncoderError(
                f"{reference}: config.json says that it is a {name}, but its model_type is {config.model_type!r}; expected a "
                "model that transformers has itself"
            )


def _embedded(model: SentenceTransformer, prompt: str, role: Role) -> Any:
    """The texts as sentence-transformers embeds them."""
    encode: dict[Role, Any] = {"": model.encode, "query": model.encode_query, "document": model.encode_document}
    return encode[role](list(TEXTS), prompt=prompt, show_progress_bar=False)


def _roles(model: SentenceTransformer) -> list[Role]:
    """The roles that the model reads in a way of their own: by a route of a Router, or by a length or an expansion of queries.
    For any other model a role decides the prompt alone."""
    from sentence_transformers.base.modules import Router

    roles: tuple[Role, ...] = ("query", "document")
    keys = {"query": ("query_length", "query_expansion"), "document": ("document_length",)}
    return [
        role
        for role in roles
        if any(isinstance(module, Router) and role in module.sub_modules for module in model.modules())
        or any(getattr(module, key, None) is not None for _, module in transformers_of(model) for key in keys[role])
    ]


def transformers_of(model: SentenceTransformer) -> Iterator[tuple[str, Any]]:
    """The modules with a transformers encoder, by name: one at the front, or one behind each route of a Router."""
    from sentence_transformers.base.modules import Transformer

    for name, module in model.named_modules():
        if isinstance(module, Transformer) and module.backend == "torch":
            yield name, module


def path_of(folder: Path, name: str) -> str:
    """Where the module called `name` (`0`, or `0.sub_modules.query.0`) keeps its files within the model's folder."""
    if not (folder / "modules.json").is_file():
        return ""
    first, _, inner = name.partition(".sub_modules.")
    path = next((str(m["path"]) for m in read_json(folder / "modules.json") if str(m["idx"]) == first), "")
    if not inner:
        return path
    route, _, place = inner.partition(".")
    found = sorted((folder / path).glob(f"{glob.escape(route)}_{place}_*"))
    return str(found[0].relative_to(folder)) if found else path


def _quantised_matrix(folder: Path) -> str | None:
    """The first matrix in the weights of a folder of a type that needs a scale (whole numbers, floats of 8 bits or fewer),
    with its type; None where there is none."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            names: list[str] = file.keys()
            for key in names:
                part = file.get_slice(key)
                if (
                    len(part.get_shape()) > 1
                    and not key.endswith("position_ids")
                    and NOT_NUMBERS.match(part.get_dtype())
                ):
                    return f"{key} is {part.get_dtype()}"
    return None


def _scales(encoder: Any, unused: Iterable[str]) -> str | None:
    """The first unused weight that is named as the scale or the zero point of a module that the encoder has."""
    modules = {f".{name}" for name, _ in encoder.named_modules() if name}
    for key in sorted(unused):
        if (match := SCALES.match(key)) and any(f".{match['module']}".endswith(name) for name in modules):
            return f"{key} is not used"
    return None


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))
