"""Codecs: what is stored takes the bytes it says, comes back as what is scored, and ranks as faiss's own index ranks it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import faiss
import mteb
import numpy as np
import pytest
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.compression_wrappers import CompressionWrapper
from mteb.types import OutputDType

from testing.real_tasks import hashed, own_classification_task, own_retrieval_task, saved, store_of
from workflow_scripts.axes import Matrix, principal_axes
from workflow_scripts.codecs import Codec, grid, parse
from workflow_scripts.coding import state
from workflow_scripts.coding.fit import Fitted
from workflow_scripts.coding.precisions import Steps
from workflow_scripts.command_line import InputError
from workflow_scripts.evaluation.mteb_tasks import fresh_state
from workflow_scripts.scores.by_task_type import score_all
from workflow_scripts.scores.compression import OUTPUT_DTYPES
from workflow_scripts.scores.stock import model_meta, scores_by_part
from workflow_scripts.study.sections.codecs import Codecs, Precision, Transform

WIDTH = 32
TEXTS = [f"word{i} word{i % 7} word{i % 3} note{i % 31}" for i in range(400)]


def texts(count: int, seed: int = 0, width: int = WIDTH) -> Matrix:
    """Vectors with a mean and a few strong directions, as embeddings have."""
    draw = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).standard_normal((width, width)) * np.linspace(2, 0.2, width)
    vectors = draw.standard_normal((count, width)) @ mixing.T + 1
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


EVERYTHING = Codecs(
    transforms=list(get_args(Transform)),
    precisions=list(get_args(Precision)),
    random_draws=2,
    queries=["float32", "coded"],
    pq=[4],
    opq=[4],
    rabitq=True,
    mteb=["int8", "binary", "float8"],
)


def test_every_codec_takes_the_bytes_that_it_says_and_decodes_to_what_is_scored() -> None:
    fitted = Fitted(WIDTH, texts(600), unit=True)
    vectors = texts(20, 1)
    codecs = grid(EVERYTHING, [8], WIDTH)
    names = [codec.name for codec in codecs]
    assert len(set(names)) == len(names) > 100
    for codec in codecs:
        assert parse(codec.name, WIDTH) == codec
        if codec.precision in OUTPUT_DTYPES:
            continue
        precision = fitted.precision(codec)
        kept = fitted.kept(codec, fitted.full_width(codec, vectors))
        codes = precision.encode(kept)
        assert codes.dtype == np.uint8
        assert codes.shape == (20, codec.bytes), codec.name
        decoded = precision.decode(codes)
        assert decoded.shape == (20, codec.dim)
        np.testing.assert_array_equal(decoded, precision.round_trip(kept), codec.name)
        np.testing.assert_array_equal(decoded, fitted.stored(codec, vectors), codec.name)


def test_codecs_read_back_from_their_file_give_the_same_codes_queries_and_similarities(tmp_path: Path) -> None:
    for unit in (True, False):
        fitted, vectors = Fitted(WIDTH, texts(600), unit=unit), texts(20, 1)
        codecs = [codec for codec in grid(EVERYTHING, [8], WIDTH) if codec.precision not in OUTPUT_DTYPES]
        state.save(tmp_path / "fitted.safetensors", fitted, codecs, "digest")
        again, about = state.load(tmp_path / "fitted.safetensors", codecs)
        assert about.pop("codecs") == [codec.name for codec in codecs]
        assert about == {"width": WIDTH, "unit": unit, "clip": 2.5, "on": "digest", "texts": 600}
        for codec in codecs:
            ours, theirs = (
                f.precision(codec).encode(f.kept(codec, f.full_width(codec, vectors))) for f in (fitted, again)
            )
            np.testing.assert_array_equal(ours, theirs, codec.name)
            before, after = (f.similarities(codec, vectors[:5], vectors) for f in (fitted, again))
            np.testing.assert_array_equal(before, after, codec.name)
    first = (tmp_path / "fitted.safetensors").read_bytes()
    state.save(tmp_path / "fitted.safetensors", fitted, codecs, "digest")
    assert (tmp_path / "fitted.safetensors").read_bytes() == first
    with pytest.raises(InputError, match=r"fitted.safetensors: pca-4-int8 is not among its codecs"):
        state.load(tmp_path / "fitted.safetensors", [Codec("pca", 4, "int8")])
    (tmp_path / "fitted.safetensors").write_bytes(first[:100])
    with pytest.raises(InputError, match="not readable as fitted codecs"):
        state.load(tmp_path / "fitted.safetensors", codecs)


def test_fewer_bits_lose_more_and_four_bits_little() -> None:
    fitted, vectors = Fitted(WIDTH, texts(2000), unit=True), texts(300, 1)
    lost = {
        name: float(np.square(fitted.stored(Codec("prefix", WIDTH, name), vectors) - vectors).sum(axis=1).mean())
        for name in ("float32", "float16", "int8", "float8", "int4", "int2")
    }
    assert list(lost) == sorted(lost, key=lambda name: lost[name])
    assert lost["float32"] < 1e-12
    assert 10 * lost["int4"] < lost["int2"] < 0.2


def test_transforms_of_all_coordinates_keep_cosines_and_say_which_coordinates_they_keep() -> None:
    training, vectors = texts(600), texts(50, 1)
    fitted = Fitted(WIDTH, training)
    for transform in get_args(Transform):
        full = Codec(transform, WIDTH)
        shown = fitted.stored(full, vectors)
        expected = vectors - training.mean(axis=0) if transform == "pca_centered" else vectors
        assert shown @ shown.T == pytest.approx(expected @ expected.T, abs=1e-4), transform
    assert (fitted.stored(Codec("last", 3), vectors) == vectors[:, :-4:-1]).all()
    by_variance = fitted.stored(Codec("variance", WIDTH), training).var(axis=0)
    assert (np.diff(by_variance) <= 0).all()
    draws = [fitted.stored(Codec("random", 5, draw=draw), vectors) for draw in (0, 1)]
    assert not np.array_equal(draws[0], draws[1])


def test_pca_keeps_inner_products_best_and_pca_centered_the_variance() -> None:
    training = texts(2000)
    moments = training.T @ training
    uncentred = Fitted(WIDTH, training).stored(Codec("pca", 4), training)
    assert np.square(uncentred).sum() == pytest.approx(np.linalg.eigvalsh(moments)[-4:].sum(), rel=1e-4)
    centred = Fitted(WIDTH, training).stored(Codec("pca_centered", 4), training)
    assert centred.mean(axis=0) == pytest.approx(np.zeros(4), abs=1e-5)
    theirs: Any = faiss.PCAMatrix(WIDTH, 4)
    theirs.train(training)
    assert np.abs(theirs.apply(training)) == pytest.approx(np.abs(centred), abs=1e-3)
    # what `rotate: pca` puts into a model: axes of the covariance, and no mean is removed
    assert principal_axes(training)[:4] @ (training - training.mean(axis=0)).T == pytest.approx(centred.T, abs=1e-4)


def test_a_rotation_within_the_cut_spreads_what_axes_concentrate() -> None:
    training = texts(2000)
    fitted = Fitted(WIDTH, training)
    concentrated = fitted.stored(Codec("pca", 16), training)
    for transform in ("random_rotation", "itq"):
        spread = fitted.stored(Codec(transform, 16), training)
        assert spread @ spread[:9].T == pytest.approx(concentrated @ concentrated[:9].T, abs=1e-4)
        assert spread.var(axis=0).max() < 0.8 * concentrated.var(axis=0).max()

    def cosine_of_signs(codec: Codec) -> float:
        kept, bits = fitted.kept(codec, fitted.full_width(codec, training)), fitted.stored(codec, training)
        return float((kept * bits).sum() / np.linalg.norm(kept) / np.linalg.norm(bits))

    signs = {name: cosine_of_signs(Codec(name, 16, "binary")) for name in ("pca", "itq")}
    assert signs["itq"] > signs["pca"]


def test_nothing_is_fitted_without_training_texts_or_on_too_few() -> None:
    with pytest.raises(InputError, match="pca-8-float32: needs the embeddings of training texts"):
        Fitted(8).stored(Codec("pca", 8), texts(3, width=8))
    with pytest.raises(InputError, match="16 wide, the task's is 8"):
        Fitted(8, texts(5, width=16))
    with pytest.raises(InputError, match="pca-32-pq4: 255 training texts are fewer than its 256 centroids"):
        Fitted(WIDTH, texts(255)).precision(Codec("pca", WIDTH, "pq", code_bytes=4))


# ---- faiss's own indexes rank alike


def index_of(codec: Codec, fitted: Fitted) -> Any:
    """faiss's index of the codec, trained on what the codec is fitted on, empty."""
    precision = fitted.precision(codec)
    if not isinstance(precision, Steps):
        index: Any = faiss.clone_index(precision.index)  # type: ignore[attr-defined]
        if codec.precision == "rabitq":
            signs: Any = faiss.downcast_index(index.index)
            signs.qb = 0  # queries stay float32
        return index
    kinds = {"int8": faiss.ScalarQuantizer.QT_8bit, "int4": faiss.ScalarQuantizer.QT_4bit}
    index = faiss.IndexScalarQuantizer(codec.dim, kinds[codec.precision], faiss.METRIC_INNER_PRODUCT)
    index.train(np.eye(codec.dim, dtype=np.float32))
    # faiss rounds down and decodes to the middle of a step: its range begins half a step below ours.
    ranges = np.concatenate([precision.low - precision.step / 2, precision.step * precision.most])
    faiss.copy_array_to_vector(np.asarray(ranges, dtype=np.float32), index.sq.trained)
    return index


@pytest.mark.parametrize(
    "codec",
    [
        Codec("prefix", WIDTH, "int8"),
        Codec("pca", 16, "int8"),
        Codec("prefix", WIDTH, "int4"),
        Codec("pca", 16, "pq", code_bytes=8),
        Codec("prefix", WIDTH, "opq", code_bytes=4),
        Codec("prefix", WIDTH, "rabitq", code_bytes=12),
    ],
    ids=lambda codec: codec.name,
)
def test_the_ten_best_are_those_of_faiss_own_index_but_for_ties(codec: Codec) -> None:
    fitted, documents, queries = Fitted(WIDTH, texts(1500), unit=True), texts(3000, 1), texts(100, 2)
    ours = fitted.similarities(codec, queries, documents)
    index = index_of(codec, fitted)
    index.add(fitted.kept(codec, fitted.full_width(codec, documents)))
    _, found = index.search(fitted.query(codec, queries), 10)
    tenth = np.sort(ours, axis=1)[:, -10]
    theirs = np.take_along_axis(ours, found, 1).min(axis=1)
    assert theirs == pytest.approx(tenth, abs=2e-6)


# ---- mteb's own compression


class Encoder(AbsEncoder):
    """Encodes every text anew, as sentence-transformers does with `truncate_dim`."""

    def __init__(self, dim: int, encode_as: Any) -> None:
        self.dim, self.encode_as = dim, encode_as
        self.mteb_model_meta = model_meta("tests/hashed", "none", dim)

    def encode(self, inputs: Any, **_: Any) -> Any:
        return self.encode_as([text for batch in inputs for text in batch["text"]])[:, : self.dim].copy()


def small_retrieval(queries: int = 30) -> Any:
    judged = {f"q{i}": {f"d{(i * 7 + n) % 400}": 1 + n % 2 for n in range(4)} for i in range(queries)}
    corpus = {"id": [f"d{i}" for i in range(400)], "text": TEXTS}
    asked = {"id": list(judged), "text": [f"{text} more" for text in TEXTS[:queries]]}
    return own_retrieval_task("Small", corpus, asked, judged)


def small_classification() -> Any:
    rows = [(text, i % 3) for i, text in enumerate(TEXTS)]
    return own_classification_task("Small", rows[:200], rows[200:])


def assert_scores_as_its_wrapper(task: Any, folder: Path, encode_as: Any, precisions: Sequence[str]) -> None:
    store = store_of(task, folder, encode_as)
    codecs = [Codec("prefix", dim, name, queries="coded") for name in precisions for dim in (8, 32)]
    for one in score_all(saved(task), store, Fitted(store.width), codecs):
        fresh_state(task)
        encoder: Any = Encoder(one.codec.dim, encode_as)
        wrapped: Any = CompressionWrapper(encoder, OutputDType(OUTPUT_DTYPES[one.codec.precision]))
        theirs = mteb.evaluate(wrapped, task, cache=None, co2_tracker=False, show_progress_bar=False).task_results[0]
        assert one.result is not None
        as_text = [  # in which nan equals nan
            json.dumps([*found.values()], sort_keys=True)
            for found in (one.result.of_parts, scores_by_part(task, theirs))
        ]
        assert as_text[0] == as_text[1], one.codec.name
        assert one.score == theirs.get_score()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("make", [small_retrieval, small_classification])
def test_mtebs_own_compression_scores_as_its_wrapper_scores(make: Any, tmp_path: Path) -> None:
    assert_scores_as_its_wrapper(make(), tmp_path, hashed, list(OUTPUT_DTYPES))


def constant_in_documents(texts: list[str]) -> Matrix:
    vectors = hashed(texts)
    vectors[[not text.endswith("more") for text in texts], 3] = 0.1
    return vectors


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize(("encode_as", "queries"), [(hashed, 1), (constant_in_documents, 30)])
def test_similarities_that_are_not_numbers_score_as_in_mteb(encode_as: Any, queries: int, tmp_path: Path) -> None:
    assert_scores_as_its_wrapper(small_retrieval(queries), tmp_path, encode_as, ["mteb_int8"])


def test_compressed_vectors_that_are_not_finite_train_no_classifier(tmp_path: Path) -> None:
    task = small_classification()
    store = store_of(task, tmp_path, lambda texts: hashed(texts) * (np.arange(WIDTH) != 5))
    codec = Codec("prefix", WIDTH, "mteb_int8", queries="coded")
    with pytest.raises(
        InputError, match=f"^Small: {codec.name} has numbers that are not finite: coordinate 5 is the same"
    ):
        list(score_all(saved(task), store, Fitted(store.width), [codec]))
