"""The README.md of a bundle: what it is, what it is expected to keep, and how it is used.

Takes what `codec.json` says and the search's stages; leaves Markdown, whose code blocks are run by the tests as they
stand there.
"""

from __future__ import annotations

from typing import Any

from workflow_scripts.codecs import CODED, Codec
from workflow_scripts.deploy import engines, numpy_lines

CHECK = "python -m workflow_scripts.deploy.check"


def percent(share: float | None) -> str:
    return "not known" if share is None else f"{100 * share:.1f}%"


def _fitted_on(fitted: dict[str, Any]) -> str:
    if fitted["held_out"]:
        return f"{fitted['texts']} vectors of {fitted['task']}"
    return f"{fitted['texts']} training texts (digest `{fitted['digest'][:16]}…`)"


def _of_adaptor(adaptor: dict[str, Any] | None) -> str:
    if adaptor is None:
        return ""
    learned = (
        "their principal axes: pairs made it no better"
        if adaptor["is_a_rotation"]
        else f"learned on {adaptor['pairs']:,} pairs"
    )
    return (
        f" They are multiplied with the matrix `{numpy_lines.ADAPTOR}` of `codec.safetensors` ({learned}) before all else, by the lines and the index below:"
        " give them whole."
    )


def readme(about: dict[str, Any], stages: list[tuple[Codec, int]], final: Codec, limit: float, folder: str) -> str:
    """The whole page. `limit`: see `engines.sections`; `folder`: the bundle's own."""
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
        + _of_adaptor(model["adaptor"])
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
        *(["| `index.faiss` | a faiss index, trained and empty |"] if about["faiss"] else []),
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
            f"It needs sentence-transformers {model['sentence_transformers']} or newer; name `truncate_dim` as here: version 5 does not read it",
            f"from the folder. {cut}",
            "",
        ]
    lines += [
        "## Codes with NumPy",
        "",
        "In this folder. `vectors` and `queries` are float32, `(n, coordinates)`, as the model gives them. Needs numpy, safetensors.",
        "",
        "```python",
        numpy_lines.source(codecs, about["unit"], model["adaptor"] is not None).rstrip(),
    ]
    plan = engines.plan(stages, final)
    lines += [engines.rescoring_source(plan).rstrip()] if about["faiss"] and plan.later else []
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
    if not about["faiss"]:
        return "\n".join([*lines, *_not_searched(about, folder)])
    if any(codec.precision in ("opq", "rabitq") for codec in codecs):
        lines += [
            "faiss rotates with its own matrix product: the correction scalars of RaBitQ are equal to about 1e-6, and codes but for ties.",
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
    if any(codec.queries == CODED for codec in codecs):
        lines += [
            "It compares float32 queries with the codes, and so does the check below; queries were measured rounded as documents are, as the NumPy lines have them.",
            "",
        ]
    for section in engines.sections(plan, limit):
        lines += [f"## {section.title}", ""]
        lines += [f"{note}\n" for note in section.notes]
        for language, block in section.blocks:
            lines += [f"```{language}", block, "```", ""]
    lines += [
        "## On your own data",
        "",
        "Vectors as the model gives them, whole, as `.npy`. It prints the share of the ten nearest by float32"
        + (" (of adapted vectors)" if model["adaptor"] else "")
        + " that the",
        "bundle finds, with its interval over queries:",
        "",
        "```sh",
        f"{CHECK} --bundle {folder} --documents documents.npy --queries queries.npy",
        "```",
        "",
    ]
    return "\n".join(lines)


def _not_searched(about: dict[str, Any], folder: str) -> list[str]:
    """Where decoded numbers are compared or learned from: how, and how that is checked on one's own data."""
    if about["task_type"] != "Classification":
        return [
            f"{about['task_type']} compares decoded numbers: use `decode(encode(vectors))` in place of the vectors. To check it on",
            "your own data, measure these as a task of a study (docs/own_data.md).",
            "",
        ]
    return [
        "## A classifier",
        "",
        "Store codes, train and predict on what they decode to. `labels` are those of the training rows. Needs scikit-learn.",
        "",
        "```python",
        "from sklearn.linear_model import LogisticRegression",
        "",
        "train_codes, test_codes = encode(train), encode(test)",
        "classifier = LogisticRegression().fit(decode(train_codes), labels)",
        "predicted = classifier.predict(decode(test_codes))",
        "```",
        "",
        "The study measured this classifier as mteb does: on a few training rows of each label, drawn several times.",
        "",
        "## On your own data",
        "",
        "Vectors as the model gives them, whole, as `.npy`; beside each a table of their rows' labels (column `label`, in the same",
        "order). It prints the accuracy of this classifier on all training rows, and the share of that with float32 vectors,",
        "with its interval over test rows:",
        "",
        "```sh",
        f"{CHECK} --bundle {folder} --train train.npy train.csv --test test.npy test.csv",
        "```",
        "",
    ]
