"""The searches in stages: which of them a study measures, how each is named, and what it costs.

Takes the section `search` of a study and a model's width; leaves the list of searches to measure. Measuring them is
`scores/searches.py`'s; this module only says what there is.
"""

from __future__ import annotations

from dataclasses import dataclass

from workflow_scripts.codecs import Codec, parse
from workflow_scripts.study.sections.search import Search as Section


@dataclass(frozen=True)
class Search:
    """Stages of (codec, candidates kept), then the codec of the final ranking."""

    stages: tuple[tuple[Codec, int], ...]
    rescore: Codec

    @property
    def name(self) -> str:
        """`prefix-384-binary@100>prefix-384-int8`; a codec alone has the codec's name."""
        return ">".join([*(f"{codec.name}@{kept}" for codec, kept in self.stages), self.rescore.name])

    @property
    def codecs(self) -> list[Codec]:
        """The codec of each stage, then that of the final ranking."""
        return [*(codec for codec, _ in self.stages), self.rescore]

    @property
    def bytes_in_memory(self) -> int:
        """Per vector: what the first stage reads of every document. What later stages read may lie on disk."""
        return self.stages[0][0].bytes if self.stages else self.rescore.bytes

    def _reads(self, documents: int) -> list[tuple[Codec, int]]:
        """Each stage's codec and how many stored vectors it reads: all of them, then what the stage before kept."""
        counts = [documents]
        for _, kept in self.stages:
            counts.append(min(counts[-1], kept))
        return list(zip(self.codecs, counts, strict=True))

    def bytes_read(self, documents: int) -> int:
        """Per query."""
        return sum(codec.bytes * count for codec, count in self._reads(documents))

    def multiply_adds(self, documents: int, width: int) -> int:
        """Per query: comparing it, and transforming it once for each transform."""
        transforms = {codec.query_key: codec.query_multiply_adds(width) for codec, _ in self._reads(documents)}
        return sum(transforms.values()) + sum(codec.multiply_adds * count for codec, count in self._reads(documents))


def grid(section: Section, width: int) -> list[Search]:
    """The section's searches for a model of `width` coordinates: each codec alone; each shortlist and number of
    candidates with each re-scoring codec; each pair of shortlists, re-scored by the finest."""
    shortlist, rescore = (
        sorted((codec for name in names if (codec := parse(name, width))), key=lambda codec: codec.bytes)
        for names in (section.shortlist, section.rescore)
    )
    sizes = sorted(section.candidates, reverse=True)
    if not shortlist or not rescore:
        return []
    found = [Search((), codec) for codec in [*shortlist, *rescore]]
    for codec in shortlist:
        found += [Search(((codec, kept),), fine) for kept in sizes for fine in rescore if fine.bytes > codec.bytes]
    for i, first in enumerate(shortlist):
        for second in shortlist[i + 1 :]:
            if not first.bytes < second.bytes < rescore[-1].bytes:
                continue
            for j, many in enumerate(sizes):
                found += [Search(((first, many), (second, few)), rescore[-1]) for few in sizes[j + 1 :]]
    return list({one.name: one for one in found}.values())  # `full` may be a dimension that is named as well
