"""Whether the codecs and searches of a study fit its models and its training texts, told before any job.

Takes the sections `codecs` and `search`, the graph of models and the number of training texts; leaves nothing, or one line
that says what does not fit, and what would.
"""

from __future__ import annotations

import itertools

from workflow_scripts.codecs import CENTROIDS, MTEB_BITS, Codec, grid, parse
from workflow_scripts.command_line import InputError
from workflow_scripts.study.errors import StudyError
from workflow_scripts.study.graph import Graph
from workflow_scripts.study.names import listed
from workflow_scripts.study.sections.codecs import Codecs
from workflow_scripts.study.sections.search import Search


def check_codecs(codecs: Codecs, search: Search, graph: Graph, sample_texts: int) -> None:
    """Raises StudyError for a code that no dimension can have, fewer training texts than a codebook has centroids, and a
    search that does not refine."""
    dimensions = sorted({dim for model in graph.models for dim in graph.dimensions_of(model)})
    for key, lengths in (("pq", codecs.pq), ("opq", codecs.opq)):
        for length in lengths:
            if not any(dim % length == 0 for dim in dimensions):
                fitting = [n for n in range(1, dimensions[-1] + 1) if any(dim % n == 0 for dim in dimensions)]
                raise StudyError(
                    f"codecs.{key}: {length} bytes divide none of the dimensions {listed(dimensions)}; these do: {listed(fitting)}"
                )
    widths = {graph.width_of(model) for model in graph.models}
    for key in ("shortlist", "rescore"):
        for name in getattr(search, key):
            if not any(_codec_of_search(key, name, width) for width in widths):
                raise StudyError(
                    f"search.{key}: {name!r} is above the width {max(widths)} of the widest model; use at most {max(widths)}"
                )
    for width in widths:
        shortlist, rescore = (_searched(search, key, width) for key in ("shortlist", "rescore"))
        for codec in [*grid(codecs, dimensions, width), *shortlist, *rescore]:
            if codec.precision in ("pq", "opq") and sample_texts < CENTROIDS:
                raise StudyError(
                    f"corpus.sample_texts: {sample_texts} training texts are fewer than the {CENTROIDS} centroids of {codec.name}; use at least {CENTROIDS}"
                )
    for first, last in itertools.product(search.shortlist, search.rescore):
        of_widths = [(parse(first, width), parse(last, width)) for width in sorted(widths)]
        pairs = [(coarse, fine) for coarse, fine in of_widths if coarse and fine]  # the widest model has all
        if all(fine.bytes <= coarse.bytes for coarse, fine in pairs):
            coarse, fine = pairs[-1]
            raise StudyError(
                f"search.rescore: {fine.name} ({fine.bytes} bytes a vector) is not finer than the shortlist's {coarse.name} ({coarse.bytes}); put it in search.shortlist or take it out"
            )


def _searched(search: Search, key: str, width: int) -> list[Codec]:
    """The codecs of a key of `search` for a model of `width` coordinates."""
    found = [_codec_of_search(key, name, width) for name in getattr(search, key)]
    return [codec for codec in found if codec is not None]


def _codec_of_search(key: str, name: str, width: int) -> Codec | None:
    """The codec of a name in a key of `search`; None where the model is too narrow for it."""
    try:
        codec = parse(name, width)
    except InputError as error:
        raise StudyError(f"search.{key}: {error}") from None
    if codec is not None and codec.precision in MTEB_BITS:
        raise StudyError(
            f"search.{key}: {name!r} is mteb's own compression, which is fitted to each call of its encoder and has no stages; take {name.replace('mteb_', '')!r}"
        )
    return codec
