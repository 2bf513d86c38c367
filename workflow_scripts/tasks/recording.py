"""An encoder that writes down what mteb asks it for; it exists so that mteb itself says which texts a task needs."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta, ScoringFunction

WIDTH = 8


class RecordingEncoder(AbsEncoder):
    """Collects (prompt type, text) in `texts`, each once, in order; answers with vectors that depend on the text."""

    def __init__(self) -> None:
        self.texts: dict[tuple[str, str], None] = {}
        self.mteb_model_meta = ModelMeta.create_empty(
            overwrites={"name": "matryoshka-curves/recording", "similarity_fn_name": ScoringFunction.COSINE}
        )

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any,  # noqa: ARG002
        hf_split: str,  # noqa: ARG002
        hf_subset: str,  # noqa: ARG002
        prompt_type: Any = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        texts = [text for batch in inputs for text in batch["text"]]
        kind = prompt_type.value if prompt_type is not None else ""
        self.texts.update(dict.fromkeys((kind, text) for text in texts))
        return np.stack([_vector(text) for text in texts])


def _vector(text: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return np.frombuffer(digest[:WIDTH], dtype=np.uint8).astype(np.float32) - 127.5
