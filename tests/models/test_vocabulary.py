"""A tokenizer of the right size that is not the model's own is refused, as far as files and weights tell."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from transformers import AutoTokenizer

from tests.models.conftest import fetched, tiny_model
from workflow_scripts.command_line import InputError

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
Change = Callable[[Path], None]


def words_of(folder: Path) -> dict[str, int]:
    vocabulary: dict[str, int] = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    return vocabulary


def with_ids(of: Callable[[dict[str, int]], dict[str, int]], *, keep: tuple[str, ...] = SPECIAL) -> Change:
    """Words with the ids that `of` gives them; `keep` keep theirs."""

    def change(folder: Path) -> None:
        path = folder / "tokenizer.json"
        content = json.loads(path.read_text())
        vocabulary = content["model"]["vocab"]
        vocabulary |= of({word: i for word, i in vocabulary.items() if word not in keep})
        path.write_text(json.dumps(content))

    return change


def drawn(words: dict[str, int]) -> dict[str, int]:
    ids = np.random.default_rng(0).permutation(list(words.values()))
    return dict(zip(words, ids.tolist(), strict=True))


def next_one(words: dict[str, int]) -> dict[str, int]:
    ids = sorted(words.values())
    following = dict(zip(ids, [*ids[1:], ids[0]], strict=True))
    return {word: following[i] for word, i in words.items()}


def some_rows(where: slice) -> Change:
    def change(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        weights["embeddings.word_embeddings.weight"][where] = 0
        save_file(weights, folder / "model.safetensors", {"format": "pt"})

    return change


def no_first_line(folder: Path) -> None:
    """vocab.txt alone, without the padding token that is its first."""
    words = sorted(words_of(folder), key=words_of(folder).__getitem__)
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(words[1:]) + "\n")


def beside(name: str, change: Change) -> Change:
    """The right vocabulary in a file of its own, beside a tokenizer.json that is changed."""

    def both(folder: Path) -> None:
        words = words_of(folder)
        text = json.dumps(words) if name == "vocab.json" else "\n".join(sorted(words, key=words.__getitem__)) + "\n"
        (folder / name).write_text(text)
        change(folder)

    return both


@pytest.mark.parametrize("change", [with_ids(drawn), with_ids(next_one)], ids=["drawn", "next"])
def test_a_trained_table_tells_another_tokenizer_by_plurals(change: Change, minilm: Path, tmp_path: Path) -> None:
    shutil.copytree(minilm, tmp_path / "model")
    (tmp_path / "model" / "vocab.txt").unlink(missing_ok=True)
    change(tmp_path / "model")
    with pytest.raises(
        InputError, match=r"a word is closer to its plural .* in (49|50|51)% of \d+ cases, as by chance"
    ):
        fetched(tmp_path, tmp_path / "model", 384)


@pytest.mark.parametrize("change", [None, with_ids(drawn)], ids=["right", "drawn"])
def test_static_embeddings_are_told_by_plurals_too(change: Change | None, minilm: Path, tmp_path: Path) -> None:
    [table] = [w for name, w in load_file(minilm / "model.safetensors").items() if "word_embeddings" in name]
    tokenizer = AutoTokenizer.from_pretrained(minilm).backend_tokenizer
    static = StaticEmbedding(tokenizer, embedding_weights=table[:, :64].contiguous().float().numpy())
    SentenceTransformer(modules=[static], device="cpu").save(str(tmp_path / "model"), create_model_card=False)
    if change is None:
        assert fetched(tmp_path, tmp_path / "model", 64).is_file()
        return
    [folder] = [path.parent for path in (tmp_path / "model").rglob("tokenizer.json")]
    change(folder)
    with pytest.raises(InputError, match="as by chance, so its rows are another tokenizer's"):
        fetched(tmp_path, tmp_path / "model", 64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            with_ids(drawn, keep=()),
            r"config\.json pads with token 0, which is '.*' in its tokenizer, where padding is \d+",
        ),
        (
            no_first_line,
            r"pads with token 0, which is '\[unused0\]' in its tokenizer, where padding is 30521; expected",
        ),
        (
            beside("vocab.txt", with_ids(drawn)),
            r"vocab\.txt and tokenizer\.json are two vocabularies: '\[unused0\]' is token 1",
        ),
        (beside("vocab.json", with_ids(next_one)), r"vocab\.json and tokenizer\.json are two vocabularies"),
        (some_rows(slice(None)), "30522 of the 30522 rows of its embedding table are zero"),
        (some_rows(slice(15000, None)), "15523 of the 30522 rows of its embedding table are zero"),
    ],
)
def test_a_tokenizer_that_its_own_files_contradict_is_refused(
    change: Change, message: str, minilm: Path, tmp_path: Path
) -> None:
    tiny_model("bert", minilm, tmp_path / "raw")
    change(tmp_path / "raw")
    with pytest.raises(InputError, match=message) as caught:
        fetched(tmp_path, tmp_path / "raw")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [beside("vocab.txt", lambda _: None), some_rows(slice(30500, None))])
def test_a_second_copy_of_the_vocabulary_and_unused_rows_are_no_fault(
    change: Change, minilm: Path, tmp_path: Path
) -> None:
    tiny_model("bert", minilm, tmp_path / "raw")
    change(tmp_path / "raw")
    assert fetched(tmp_path, tmp_path / "raw").is_file()


def test_random_rows_tell_nothing_of_a_tokenizer(minilm: Path, tmp_path: Path) -> None:
    tiny_model("bert", minilm, tmp_path / "raw")
    with_ids(drawn)(tmp_path / "raw")
    assert fetched(tmp_path, tmp_path / "raw").is_file()


def test_a_model_that_gives_one_embedding_for_every_text_is_refused(minilm: Path, tmp_path: Path) -> None:
    tiny_model("bert", minilm, tmp_path / "raw")
    weights = load_file(tmp_path / "raw" / "model.safetensors")
    for name in weights:
        if "layer.1." in name:
            weights[name] = torch.zeros_like(weights[name])
    weights["encoder.layer.1.output.LayerNorm.bias"] += 1
    save_file(weights, tmp_path / "raw" / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="gives every text the same embedding; expected sound weights"):
        fetched(tmp_path, tmp_path / "raw")
