"""Decontamination: copies of evaluation texts are found, innocent texts stay."""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from tests.corpus.pairs import evaluation_task, prepared, real_rows, row, write_jsonl
from workflow_scripts.corpus.decontaminate import Index, heads
from workflow_scripts.corpus.normalise import words_of

STORY = "The quick brown fox jumps over the lazy dog while nobody in the whole village is looking at the old red barn"


def strings(texts: list[str]) -> pa.LargeStringArray:
    return pa.array(texts, pa.large_string())


INVISIBLE = {0x34F, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}


APOSTROPHES = "'`\u00b4\u2018\u2019\u02b9\u02ba\u02bb\u02bc\u2032\uff07\u0384\u1fbd\u1fbf\u1fef\u1ffd\u1ffe\ua78b\ua78c"
SPACING_ACCENTS = "\u00a8\u00af\u00b8\u02d8\u02d9\u02da\u02db\u02dc\u02dd"

WITHOUT_SPACES = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")  # begin the names of their letters


def plainly_normalised(text: str) -> str:
    text = re.sub(r"</?[a-z][a-z0-9]*( [a-z]+=[^<>]*)? ?/?>", " ", html.unescape(text), flags=re.IGNORECASE)
    seen = "".join(c for c in text if unicodedata.category(c) != "Cf" and ord(c) not in INVISIBLE)
    seen = "".join(c for c in seen if unicodedata.category(c) != "Cc" or c.isspace())
    seen = "".join("'" if c in APOSTROPHES else c for c in seen if c not in SPACING_ACCENTS)
    lower = unicodedata.normalize("NFKC", seen).lower().replace("ß", "ss")
    kept = (c if unicodedata.category(c)[0] in "LMN" else " " for c in lower)
    kept = (f" {c} " if unicodedata.name(c, "").split(" ")[0] in WITHOUT_SPACES else c for c in kept)
    return " ".join("".join(kept).split())


def plain_grams(text: str) -> list[tuple[str, ...]]:
    words = plainly_normalised(text).split()
    return [tuple(words[i : i + 8]) for i in range(len(words) - 7)]


def plainly_found(texts: list[str], evaluation: list[str], threshold: float) -> list[int]:
    """The definition, written as it is read: 1 exact, 2 near, 0 clean."""
    forms = {plainly_normalised(text) for text in evaluation} - {""}
    gram_sets = [set(plain_grams(form)) for form in forms]
    kinds = []
    for text in texts:
        own = plain_grams(text)
        shares = [sum(gram in grams for gram in own) / len(own) for grams in gram_sets] if own else []
        near = threshold < 1 and any(share >= threshold - 1e-9 for share in shares)
        kinds.append(1 if plainly_normalised(text) in forms else 2 if near else 0)
    return kinds


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (STORY, 1),
        (f"  {STORY.upper()}!!! ", 1),
        (STORY.replace(" ", " … "), 1),
        (f"{STORY} today", 2),
        (f"And so: {STORY}", 2),
        (STORY.rsplit(" ", 6)[0], 2),
        (STORY.replace("lazy", "sleepy"), 0),  # 8 of 14 grams are broken by the middle word
        ("The quick brown fox jumps over the lazy", 2),  # one gram, and it is there
        ("The quick brown fox", 0),
        ("An innocent text about the weather, which says nothing of any animal in any village at all", 0),
        ("?!", 0),
    ],
)
def test_a_copy_is_told_from_an_innocent_text(text: str, kind: int) -> None:
    assert Index([[strings([STORY, "Is it?", "?"])]], 0.8).look(strings([text])).kinds.tolist() == [kind]


THIRTY = f"{STORY}, and nine more fine words of the office stand behind it"


@pytest.mark.parametrize(
    "hidden",
    [
        THIRTY.replace("village", "vil\u00adlage"),
        THIRTY.replace("village", "vil\u200blage"),
        THIRTY.replace("village", "village\ufe0f"),
        THIRTY.replace("village", "vil\u2060la\u200dge"),
        THIRTY.replace("village", "vil\x00lage"),
        THIRTY.replace("fine", "\ufb01ne").replace("office", "o\ufb03ce"),
        THIRTY.replace("village", "\uff56\uff49\uff4c\uff4c\uff41\uff47\uff45"),
        f"\ufeff{THIRTY}",
        THIRTY.replace("village", "\u0336".join("village")),
        THIRTY.replace("village", "\u0332".join("village")),
        THIRTY.replace("village", "v\u20ddillage"),
        THIRTY.replace("village", "vil\u0640lage"),
        THIRTY.replace("village", "vil\ufffclage"),
        THIRTY.replace("village", "vil\ufffelage"),
        f"<p class='x'>{THIRTY.replace(', ', '&nbsp;<BR />')}</p>",
        THIRTY.replace("village", "<b>village</b>").replace("and", "&#97;nd &quot;"),
    ],
    ids=[
        *("soft hyphen", "zero width", "variation", "joiners", "control", "ligatures", "full width", "byte order mark"),
        *("struck out", "underlined", "circled", "lengthened", "object"),
        *("noncharacter", "tags", "entities"),
    ],
)
@pytest.mark.parametrize("more", ["", " and so on"])
def test_one_character_does_not_hide_a_copy(hidden: str, more: str) -> None:
    kind = 2 if more else 1
    assert Index([[strings([THIRTY])]], 0.8).look(strings([hidden + more])).kinds.tolist() == [kind]
    assert Index([[strings([hidden])]], 0.8).look(strings([THIRTY + more])).kinds.tolist() == [kind]


@pytest.mark.parametrize("character", APOSTROPHES, ids=lambda c: f"U+{ord(c):04X}")
def test_whatever_is_used_as_an_apostrophe_is_one(character: str) -> None:
    evaluation = STORY.replace("nobody", "I didn't know and nobody")
    text = evaluation.replace("'", character)
    for more, kind in (("", 1), (" today", 2)):
        assert Index([[strings([evaluation])]], 0.8).look(strings([text + more])).kinds.tolist() == [kind]
        assert Index([[strings([text])]], 0.8).look(strings([evaluation + more])).kinds.tolist() == [kind]


@pytest.mark.parametrize("character", SPACING_ACCENTS, ids=lambda c: f"U+{ord(c):04X}")
def test_an_accent_that_stands_alone_splits_no_word(character: str) -> None:
    text = STORY.replace("village", f"vil{character}lage").replace("fox", f"fox {character}")
    for more, kind in (("", 1), (" today", 2)):
        assert Index([[strings([STORY])]], 0.8).look(strings([text + more])).kinds.tolist() == [kind]


@pytest.mark.parametrize(
    ("text", "copy"),
    [
        ("你好\uff0c世界。", "你好世界"),
        ("吾輩は猫である。名前はまだ無い。", "吾輩は猫である 名前はまだ無い"),
        ("コーヒーを、二つください", "ｺｰﾋｰを二つください"),
        ("สวัสดี ชาวโลก", "สวัสดีชาวโลก"),
        ("ສະບາຍດີ ຊາວໂລກ", "ສະບາຍດີຊາວໂລກ"),
        ("សួស្តី ពិភពលោក", "សួស្តីពិភពលោក"),
        ("မင်္ဂလာပါ၊ ကမ္ဘာ", "မင်္ဂလာပါကမ္ဘာ"),
    ],
)
def test_a_copy_is_found_in_scripts_without_spaces(text: str, copy: str) -> None:
    assert Index([[strings([text])]], 0.8).look(strings([copy])).kinds.tolist() == [1]


def test_a_near_copy_is_found_in_scripts_without_spaces() -> None:
    text = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。"
    looked = [f"さて、{text}", text[:16], "名前はある。どこで生れたかは言わない。犬である。"]
    assert Index([[strings([text])]], 0.8).look(strings(looked)).kinds.tolist() == [2, 2, 0]


def test_what_only_looks_like_markup_is_text() -> None:
    words = words_of(pl.Series(["a <b and b> c", "R&D; I < p", "List<String> &bogus;"])).to_list()
    assert words == [["a", "b", "and", "b", "c"], ["r", "d", "i", "p"], ["list", "string", "bogus"]]


def test_decomposed_letters_and_other_digits_are_the_same_text() -> None:
    composed = "Un caf\u00e9 \u00e0 la m\u00eame heure que les 12 \u00e9l\u00e8ves de la Stra\u00dfe l\u00e0"
    other = unicodedata.normalize("NFD", composed).replace("12", "\uff11\uff12").replace("\u00df", "SS")
    assert Index([[strings([composed])]], 0.8).look(strings([other])).kinds.tolist() == [1]


@pytest.mark.parametrize("threshold", [0.3, 0.8, 1.0])
def test_the_join_finds_what_the_definition_says(threshold: float, shared_data: Path) -> None:
    texts = [
        r["query"][1] for r in real_rows(shared_data, "boolq_passage", "quora_duplicates", "nl2bash_command", most=60)
    ]
    texts += [r["pos"][1][:600] for r in real_rows(shared_data, "xquad_en_passage", "scitldr_abstract", most=60)]
    texts += ["Ünïcode — “quoted”, naïve café words, élan vital: déjà vu", "漢字 かな", "İstanbul ǅ ß", "", "\u00a0"]
    draw = np.random.default_rng(0)
    evaluation = [texts[i] for i in draw.permutation(len(texts))[:80]]
    mutated = []
    for text in evaluation[:60]:
        words = text.split()
        for _ in range(draw.integers(4)):
            words.insert(draw.integers(len(words) + 1), ["zebra", "—", "Ωmega"][draw.integers(3)])
        mutated.append(" ".join(words[draw.integers(3) : len(words) - draw.integers(5)]))
    looked = texts + mutated
    found = Index([[strings(evaluation[:20]), strings(evaluation[20:40])], [strings(evaluation[40:])]], threshold).look(
        strings(looked)
    )
    assert found.kinds.tolist() == plainly_found(looked, evaluation, threshold)
    assert Counter(found.kinds.tolist())[1] >= 80


def test_the_words_agree_with_the_unicode_tables(shared_data: Path) -> None:
    texts = [r["pos"][1] for r in real_rows(shared_data, "medquad_answer", "xquad_en_passage", "agnews_title_body")]
    texts += ["", " ", "—", "ÀÉ-b_c", "İ", "e\u0301te\u0301", "x" * 3_000_000 + "."]
    texts += [
        "so\u00adft",
        "zero\u200bwidth",
        "\ufb01ne o\ufb03ce",
        "\uff11\uff12 你好\uff0cabc한국어",
        "\u2764\ufe0f x\ufe0fy",
        "\u212b",
    ]
    assert [" ".join(words) for words in words_of(pl.Series(texts)).to_list()] == [plainly_normalised(t) for t in texts]


def test_a_head_is_long_enough_and_whole_for_few_words() -> None:
    texts = ["one two three", "word " * 100, "é " * 50, "a-b-c-d-e-f-g-h-i-j-k", ""]
    words = words_of(pl.Series(texts))
    head = heads(words, 0.8).to_list()
    assert all(whole[: len(start)] == start for whole, start in zip(words.to_list(), head, strict=True))
    assert head[0] == ["one", "two", "three"]
    assert len(head[1]) == 26  # 93 grams, of which 75 must be found: one among the first 19


def test_the_account_says_what_each_task_lost_to_which_evaluation_task(tmp_path: Path) -> None:
    fox = evaluation_task(tmp_path / "FoxRetrieval", [STORY], seen=["may be trained on"])
    dog = evaluation_task(tmp_path / "DogClassification", ["Good dog.", STORY.lower()])
    rows = [
        row("what jumps?", "nothing", "may be trained on", task="innocent"),
        row("good DOG", "praise", "blame", task="labels"),
        row("what jumps?", f"{STORY} today", "nothing", task="stories"),
        row("what jumps not?", "a stone", STORY, task="stories"),
        row("what jumps not?", "a stone", STORY, task="stories"),
    ]
    manifest, pairs = prepared(write_jsonl(tmp_path / "pairs.jsonl", rows), tmp_path / "out", [fox, dog])
    assert [p["task_name"] for p in pairs] == ["innocent"]
    assert manifest["decontaminated_against"] == ["FoxRetrieval", "DogClassification"]
    assert manifest["drops"] == {
        "exact duplicate": {"stories": 1},
        "contaminated, exact": {"labels": 1, "stories": 1},
        "contaminated, near": {"stories": 1},
    }
    assert manifest["tasks"]["labels"]["contaminated"] == {"DogClassification": 1}
    assert manifest["tasks"]["stories"]["contaminated"] == {"FoxRetrieval": 2, "DogClassification": 2}
    exact_only, _ = prepared(tmp_path / "pairs.jsonl", tmp_path / "exact", [fox, dog], near_duplicate=1)
    assert "contaminated, near" not in exact_only["drops"]
