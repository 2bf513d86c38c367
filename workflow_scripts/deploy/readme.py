"""The README.md of a bundle: what it is, what it is expected to keep, and how it is used.

Takes what `codec.json` says and the search's stages; leaves Markdown, whose code blocks are run by the tests as they
stand there.
"""

from __future__ import annotations

from typing import Any

from workflow_scripts.codecs import Codec
from workflow_scripts.deploy import engines, numpy_lines


def percent(share: float | None) -> str:
    return "not known" if share is None else f"{100 * share:.1f}%"


def _fitted_on(fitted: dict[str, Any]) -> str:
    if fitted["held_out"]:
        return f"{fitted['texts']} vectors of {fitted['task']}"
    return f"{fitted['texts']} training texts (digest `{fitted['digest'][:16]}…`)"


def readme(about: dict[str, Any], stages: list[tuple[Codec, int]], final: Codec, limit: float, command: str) -> str:
    """The whole page. `limit`: see `engines.sections`; `command`: what checks the bundle on one's own vectors."""
    codecs = [*(codec for codec, _ in stages), final]
    names = numpy_lines.stage_names(len(codecs))
    expected, measured, model = about["expected"], about["measured"], about["model"]
    interval = (
        f" ({percent(expected['low'])} to {percent(expected['high'])}, {percent(about['confidence'])} confidence)"
    )
    lines = [
        f"# {about['name']}: `{about['choice']}`",
        "",
        f"{about['words'][:1].upper()}{about['words'][1:]}." if about["words"] else "",
        "",
        f"- **{about['bytes_in_memory']} bytes in memory a vector**, instead of {4 * about['width']} in float32.",
        f"- Expected to keep **{percent(expected['kept'])}**{interval if expected['low'] is not None else ''} of the full width's score,"
        f" mean over the study's tasks of type {about['task_type']}.",
        f"- Measured on {measured['task']}: {measured['metric']} {measured['score']:.4f}; full width {measured['full_width']:.4f}.",
        f"- Vectors: `{model['name']}` of the study `{about['study']}` ({model['reference']}); no model is here: embed with the one that made them."
        if about["fitted_on"]["held_out"]
        else f"- Model: `{model['name']}`, seed {model['seed']}, of the study `{about['study']}`; licence: {model['licence'] or 'not stated by its source'}.",
        f"- Fitted on {_fitted_on(about['fitted_on'])}, none of which is scored."
        if any(codec.is_fitted for codec in codecs)
        else "- Nothing is fitted.",
        "",
        "| file | what it is |",
        "|---|---|",
        *(["| `model/` | the sentence-transformers model (below) |"] if about["model"]["folder"] else []),
        "| `codec.safetensors`, `codec.json` | all that was fitted; what it is, on what it was fitted, digests |",
        "| `index.faiss` | a faiss index, trained and empty |",
        "",
    ]
    if model["folder"]:
        cut = (
            f"Its vectors end at {about['coordinates']} of {about['width']} coordinates."
            if about["coordinates"] < about["width"]
            else "Its vectors are whole."
        )
        lines += [
            "```python",
            "from sentence_transformers import SentenceTransformer",
            "",
            f'model = SentenceTransformer("model", truncate_dim={about["coordinates"]})',
            "vectors = model.encode(texts)",
            "```",
            "",
            f"It needs sentence-transformers {model['sentence_transformers']} or newer. {cut}",
            "",
        ]
    lines += [
        "## Codes with NumPy",
        "",
        "In this folder. `vectors` and `queries` are float32, `(n, coordinates)`, as the model gives them. Needs numpy, safetensors.",
        "",
        "```python",
        numpy_lines.source(codecs, about["unit"]).rstrip(),
    ]
    plan = engines.plan(stages, final)
    searched = about["unit"]
    if searched:
        lines += [engines.rescoring_source(plan).rstrip()] if plan.later else []
    lines += [
        "```",
        "",
        "They are the codes that were measured, bit for bit, where NumPy multiplies matrices as it did there; elsewhere a",
        "coordinate on the edge between two codes may fall to the other side. `check` holds a few vectors and their codes:",
        "",
        "```python",
        *(
            f'print((encode{f"_{stage}" if stage else ""}(a["check"]) == a["{numpy_lines.array_key(stage, "check_codes")}"]).mean())  # 1.0'
            for stage in names
        ),
        "```",
        "",
    ]
    if any(codec.precision in ("opq", "rabitq") for codec in codecs):
        lines += [
            "faiss rotates with its own matrix product: the correction scalars of RaBitQ are equal to about 1e-6, and codes but for ties.",
            "",
        ]
    if not searched:
        lines += [
            f"{about['task_type']} compares decoded numbers: train and predict on `decode(encode(vectors))`.",
            "",
        ]
    lines += [
        "## faiss",
        "",
        "```python",
        "import faiss",
        "",
        'index = faiss.read_index("index.faiss")  # it transforms, cuts and normalises by itself',
        f"index.add(vectors[:, :{about['coordinates']}])",
        f"similarities, ids = index.search(queries[:, :{about['coordinates']}], {engines.TOP})",
        "```",
        "",
        f"Its kind as a factory string: `{about['faiss']['factory']}` ({about['coordinates']} coordinates, inner product)."
        " It compares with every vector; an IVF in front of it was not measured.",
        "",
    ]
    for section in engines.sections(plan, limit) if searched else []:
        lines += [f"## {section.title}", ""]
        lines += [f"{note}\n" for note in section.notes]
        for language, block in section.blocks:
            lines += [f"```{language}", block, "```", ""]
    lines += [
        "## On your own data",
        "",
        "Vectors as the model gives them, whole, as `.npy`. It prints the share of the ten nearest by float32 that the",
        "bundle finds, with its interval over queries:",
        "",
        "```sh",
        command,
        "```",
        "",
    ]
    return "\n".join(lines)
