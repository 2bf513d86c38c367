"""A saved copy is compared with its model in every role, and keeps what sentence-transformers itself does not save."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from transformers import AutoTokenizer

from tests.models.conftest import tiny_model
from workflow_scripts.encoder.loading import EncoderError
from workflow_scripts.models.checks import check_copy
from workflow_scripts.models.folder import export


@pytest.fixture(scope="module")
def router(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Queries by a transformer with a cased tokenizer and `do_lower_case`; documents, by default, by static embeddings."""
    folder = tmp_path_factory.mktemp("router")
    static = StaticEmbedding(AutoTokenizer.from_pretrained(minilm).backend_tokenizer, embedding_dim=32)
    routes = Router.for_query_document(
        query_modules=list(tiny_model("bert", minilm, folder / "raw")),
        document_modules=[static],
        default_route="document",
    )
    SentenceTransformer(modules=[routes], device="cpu").save(str(folder / "model"), create_model_card=False)
    encoder = folder / "model" / "query_0_Transformer"
    for name, key in (("tokenizer.json", "normalizer"), ("tokenizer_config.json", None)):
        content = json.loads((encoder / name).read_text())
        (content[key] if key else content)["lowercase" if key else "do_lower_case"] = False
        (encoder / name).write_text(json.dumps(content))
    settings = json.loads((encoder / "sentence_bert_config.json").read_text())
    (encoder / "sentence_bert_config.json").write_text(json.dumps(settings | {"do_lower_case": True}))
    return folder / "model"


def test_every_route_of_a_router_keeps_its_lower_case(router: Path, tmp_path: Path) -> None:
    source = SentenceTransformer(str(router), device="cpu")
    export(source, tmp_path / "s0" / "model.json", {"model": "tiny"})  # compares the copy's embeddings in every role
    settings = json.loads((tmp_path / "s0" / "query_0_Transformer" / "sentence_bert_config.json").read_text())
    assert settings["do_lower_case"] is True


def test_a_copy_that_differs_as_a_query_alone_is_refused(router: Path, tmp_path: Path) -> None:
    source = SentenceTransformer(str(router), device="cpu")
    source.save(str(tmp_path / "copy"), create_model_card=False)  # loses do_lower_case
    with pytest.raises(EncoderError, match=r"tiny: its saved copy embeds '.*' otherwise as a query, by"):
        check_copy(source, tmp_path / "copy", "tiny")
