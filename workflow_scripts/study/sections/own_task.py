"""An entry of `tasks` or `decontaminate`, which may be evaluation data of the user's own: its files, its name, and what is wrong with them.

Takes a path, or the files by what they hold; leaves which file is which. Looks at the names of files alone, since every
cluster job parses the configuration again; what they hold is read by the room `tasks`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, SerializerFunctionWrapHandler, Tag, model_serializer, model_validator

from workflow_scripts.study.errors import StudyError
from workflow_scripts.study.names import names_in
from workflow_scripts.study.paths import exists, is_file, is_folder
from workflow_scripts.study.sections.section import Section
from workflow_scripts.vector_headers import ONLY_VECTORS

SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
# What a file of a folder holds, by its name without suffix.
STEMS = {
    "documents": ("corpus", "documents"),
    "queries": ("queries",),
    "judgements": ("qrels", "judgements"),
    "train": ("train",),
    "test": ("test",),
}
FILES = tuple(STEMS)
NOT_JUDGED = "Retrieval without judgements"  # stands for a task type in scores: its metric is averaged with no other
WITHOUT_TEXTS = ("documents", "queries")  # may be vectors alone, where every variant has `vectors`: ids are row numbers
# For the plan: how many times as large a file is unpacked, and a text that is neither short nor long.
PACKED = {".gz": 3, ".parquet": 2}
CHARACTERS_PER_TEXT = 500


class OwnTask(Section):
    """An evaluation task from files of your own, in place of a name in `tasks`; a path alone is `{path: …}`. See docs/own_data.md."""

    path: str | None = Field(
        None,
        description="A folder (BEIR's `corpus`, `queries` and `qrels/`; or `train` and `test`), or one file of labelled texts or of pairs with scores.",
    )
    name: str | None = Field(None, description="Name of the task; null: that of the folder or file.")
    documents: str | None = Field(
        None,
        description="File of documents: `_id`, `text`, and `title` where there is one. Where every variant has `vectors`, no text is needed, and a file of vectors will do.",
    )
    queries: str | None = Field(None, description="File of queries: `_id`, `text`.")
    judgements: str | None = Field(
        None,
        description="File of judgements: `query-id`, `corpus-id`, `score`; null: scored by agreement with the full-width ranking.",
    )
    train: str | None = Field(None, description="File of labelled texts to learn from: `text`, `label`.")
    test: str | None = Field(None, description="File of labelled texts to predict: `text`, `label`.")
    split: str = Field("test", description="Which file of a folder's `qrels/` has the judgements.")

    @model_validator(mode="before")
    @classmethod
    def _has_a_name(cls, given: Any) -> Any:
        """The name, where none is given: of the folder or file, and characters that a file's name may not have gone."""
        if not isinstance(given, dict) or given.get("name") is not None:
            return given
        named = next((given[key] for key in ("path", "documents", "train") if isinstance(given.get(key), str)), None)
        if named is None:
            return given
        path = Path(named)
        if "path" not in given and path.stem.split(".")[0] in (stem for stems in STEMS.values() for stem in stems):
            path = path.absolute().parent
        return given | {"name": re.sub(r"[^A-Za-z0-9_.-]+", "_", stem_of(path.absolute())).strip("_.-")}

    @model_validator(mode="after")
    def _names_what_goes_together(self) -> OwnTask:
        given = [key for key in FILES if getattr(self, key) is not None]
        if self.path is not None and given:
            raise ValueError(f"'path' names all files, and so does {given[0]!r}; give one or the other")
        known = (["documents", "queries"], ["documents", "queries", "judgements"], ["train", "test"])
        if self.path is None and given not in known:
            raise ValueError(
                f"found {' and '.join(given) or 'no file'}; expected path, or documents and queries (and judgements), or train and test"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_given(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in dump(self).items() if value is not None}

    def files(self) -> dict[str, Path]:
        """Each file by what it holds: `documents`, `queries`, `judgements`; or `train`, `test`; or `rows`, a single file of
        labelled texts or pairs. Raises StudyError, in one line, for what is not there or not readable by its name."""
        if self.path is None:
            return {
                key: existing_file(Path(getattr(self, key)), key) for key in FILES if getattr(self, key) is not None
            }
        if not is_folder(self.path):
            return {"rows": existing_file(Path(self.path), "rows")}
        return self._files_of_folder(Path(self.path))

    def types(self) -> tuple[str, ...]:
        """The types of task that the files may make: which of two a single file does, its columns say."""
        files = self.files()
        if "documents" in files:
            return ("Retrieval",)
        return ("Classification", "STS") if "rows" in files else ("Classification",)

    def described(self) -> dict[str, Any]:
        """As the catalogue describes mteb's tasks; how much text there is, from the sizes of the files. A single file counts as
        Classification until its columns are read."""
        files = self.files()
        type_ = "Classification"
        if "documents" in files:
            type_ = "Retrieval" if "judgements" in files else NOT_JUDGED
        texts = [path for key, path in files.items() if key != "judgements" and path.suffix not in ONLY_VECTORS]
        size = sum(PACKED.get(path.suffix, 1) * path.stat().st_size for path in texts)
        return {
            "type": type_,
            "dataset": None,
            "revision": None,
            "benchmarks": [],
            "texts": 1 + size // CHARACTERS_PER_TEXT,
            "characters": size,
        }

    def _files_of_folder(self, folder: Path) -> dict[str, Path]:
        here = sorted(path for path in folder.iterdir() if path.is_file() and path.name.endswith(SUFFIXES))
        found: dict[str, Path] = {}
        for key, stems in STEMS.items():
            files = [path for path in here if stem_of(path) in stems]
            if len(files) > 1:
                raise StudyError(f"{folder}: both {files[0].name} and {files[1].name} hold {key}; keep one")
            if not files and key in WITHOUT_TEXTS:
                files = sorted(path for path in folder.iterdir() if path.suffix in ONLY_VECTORS and path.stem in stems)
            found |= dict.fromkeys([key], files[0]) if files else {}
        if (folder / "qrels").is_dir() and "judgements" not in found:
            found["judgements"] = self._judgements(folder / "qrels")
        if {"documents", "queries"} <= found.keys():
            return {key: found[key] for key in ("documents", "queries", "judgements") if key in found}
        if {"train", "test"} <= found.keys():
            return {key: found[key] for key in ("train", "test")}
        raise StudyError(
            f"{folder}: holds no task; found {names_in(folder)}; expected corpus and queries (BEIR), or train and test ({', '.join(SUFFIXES)}; of vectors {', '.join(ONLY_VECTORS)})"
        )

    def _judgements(self, folder: Path) -> Path:
        files = sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIXES))
        of_split = [path for path in files if stem_of(path) == self.split]
        if len(of_split) != 1:
            raise StudyError(
                f"{folder}: {len(of_split) or 'no'} files of split {self.split!r}; found {', '.join(path.name for path in files) or 'nothing'}; name one with `split`"
            )
        return of_split[0]


def _kind(entry: Any) -> Literal["tagged-name", "tagged-own"]:
    return "tagged-own" if isinstance(entry, Mapping | OwnTask) else "tagged-name"


TaskEntry = Annotated[Annotated[str, Tag("tagged-name")] | Annotated[OwnTask, Tag("tagged-own")], Discriminator(_kind)]


def name_of(entry: TaskEntry) -> str:
    """The name of an entry: of a task, a benchmark, an aggregate task, data of the user's own."""
    return entry if isinstance(entry, str) else str(entry.name)


def is_path(text: str) -> bool:
    """Whether an entry that is no task's name looks like a path."""
    return "/" in text or text.endswith(SUFFIXES) or exists(text)


def stem_of(path: Path) -> str:
    """A file's name without the suffixes that say its format; a folder's name."""
    suffix = next((suffix for suffix in sorted(SUFFIXES, key=len, reverse=True) if path.name.endswith(suffix)), "")
    return path.name.removesuffix(suffix)


def existing_file(path: Path, key: str) -> Path:
    """The file itself. Raises StudyError where it is not there, or of a format that is not read for `key`."""
    if not is_file(path):
        raise StudyError(f"{path}: there is no such file" + (" or folder" if not path.suffix else ""))
    if not path.name.endswith(SUFFIXES + (ONLY_VECTORS if key in WITHOUT_TEXTS else ())):
        raise StudyError(f"{path}: of an unknown format; expected {', '.join(SUFFIXES)}")
    return path
