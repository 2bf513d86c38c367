"""A saved copy is compared with its model in every role, and keeps what sentence-transformers itself does not save; what a
folder lacks of a tokenizer is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from transformers import AutoConfig, AutoModel, AutoTokenizer

from tests.models.conftest import tiny_model
from workflow_scripts.command_line import InputError
from workflow_scripts.encoder import loading
from workflow_scripts.encoder.loading import EncoderError
from workflow_scripts.models.checks import check_copy
from workflow_scripts.models.fetch import open_model
from workflow_scripts.models.folder import export


@pytest.fixture(scope="module")
def router(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Queries by a transformer with a cased tokenizer and `do_lower_case`; documents, by default, by static embeddings."""
    folder = tmp_path_factory.mktemp("router")
    encoder: Any = tiny_model("bert", minilm, folder / "raw")
    static = StaticEmbedding(AutoTokenizer.from_pretrained(minilm).backend_tokenizer, embedding_dim=32)
    routes = Router.for_query_document(
        query_modules=list(encoder),
        document_modules=[static],
        default_route="document",
    )
    SentenceTransformer(modules=[routes], device="cpu").save(str(folder / "model"), create_model_card=False)
    saved = folder / "model" / "query_0_Transformer"
    for name, key in (("tokenizer.json", "normalizer"), ("tokenizer_config.json", None)):
        content = json.loads((saved / name).read_text())
        (content[key] if key else content)["lowercase" if key else "do_lower_case"] = False
        (saved / name).write_text(json.dumps(content))
    settings = json.loads((saved / "sentence_bert_config.json").read_text())
    (saved / "sentence_bert_config.json").write_text(json.dumps(settings | {"do_lower_case": True}))
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


@pytest.mark.parametrize("whole", [False, True], ids=["a checkpoint", "a sentence-transformers folder"])
@pytest.mark.parametrize(
    ("family", "files", "said"),
    [
        (
            "xlm-roberta",
            {"sentencepiece.bpe.model": "cut"},
            r"found sentencepiece\.bpe\.model and no tokenizer\.json; expected tokenizer\.json, or the package sentencepiece",
        ),
        (
            "roberta",
            {"vocab.json": '{"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4}'},
            r"found vocab\.json and no tokenizer\.json; expected tokenizer\.json, or all files that it is made from",
        ),
    ],
)
def test_a_tokenizer_that_lacks_a_file_is_named_with_the_files_there_are(
    family: str, files: dict[str, str], said: str, whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {
        "vocab_size": 8,
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 8,
    }
    make: Any = AutoModel.from_config
    make(AutoConfig.for_model(family, **sizes)).save_pretrained(tmp_path)
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    if whole:
        module = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
        (tmp_path / "modules.json").write_text(json.dumps([module]))
        (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 16}')
    monkeypatch.setattr(loading, "find_spec", lambda _: None)  # sentencepiece, where it is installed
    with pytest.raises(InputError, match=said):
        open_model(tmp_path, "tiny")
