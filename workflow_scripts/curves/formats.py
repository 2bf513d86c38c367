"""Numbers and names as a reader sees them: in sentences, in tables, escaped wherever they come from data.

Takes values; leaves text, or `Markup` where a name carries markup of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup, escape

NOT_KNOWN = "–"  # noqa: RUF001
MINUS = "−"  # noqa: RUF001
METRICS = {
    "ndcg_at_10": "nDCG@10",
    "overlap_at_10": "overlap@10",
    "overlap_at_100": "overlap@100",
    "same_first_hit": "same first hit",
}


def plain(value: object) -> str:
    """Anything from data as text on one line."""
    return " ".join(str(value).split())


def code(value: object) -> Markup:
    """A name in the type of code, which may break after its joints."""
    return Markup("<code>{}</code>").format(Markup("<wbr>").join(re.split("(?<=[_/.-])", plain(value))))


def number(value: float | None, digits: int = 4) -> str:
    return NOT_KNOWN if value is None else f"{value:.{digits}f}"


def percent(share: float) -> str:
    """A share that was chosen, such as a confidence: as few digits as it needs."""
    return f"{100 * share:.4g}%"


def kept(share: float | None) -> str:
    """A share that was measured, to a tenth of a percent."""
    return NOT_KNOWN if share is None else f"{100 * share:.1f}%"


def lost(share: float) -> str:
    """The share that is lost; a minus where more than all was kept."""
    missing = 100 * (1 - share)
    return f"{MINUS if missing < -0.05 else ''}{abs(missing):.1f}%"


def between(low: float | None, high: float | None, form: str = "{:.1f}", scale: float = 100) -> str:
    """The ends of an interval: `98.9 to 100.3`; empty where none is known."""
    return "" if low is None or high is None else f"{form.format(scale * low)} to {form.format(scale * high)}"


def quantity(value: float | None) -> str:
    """A count with a unit prefix, three digits."""
    if value is None:
        return NOT_KNOWN
    rounded = float(f"{value:.3g}")  # first, so that 999.7 G is 1 T
    for size, prefix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(rounded) >= size:
            return f"{rounded / (1e3 if prefix == 'k' else size):.3g} {prefix}"
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def storage(size: float | None) -> str:
    """Bytes in decimal units."""
    if size is None:
        return NOT_KNOWN
    return f"{quantity(size)}{'' if quantity(size)[-1].isalpha() else ' '}B"


def byte_count(size: float) -> str:
    """Bytes of one vector: `1,536`, `16.5`."""
    return f"{size:,.0f}" if float(size).is_integer() else f"{size:,.1f}"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return NOT_KNOWN
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def ratio(value: float) -> str:
    return f"{100 * value:,.0f}%" if value >= 0.1 else f"{100 * value:.2g}%"


def listed(values: Sequence[object], last: str = "and") -> Markup:
    """`a, b and c`, each escaped unless it is markup already."""
    words = [value if isinstance(value, Markup) else escape(plain(value)) for value in values]
    if len(words) < 2:
        return Markup("").join(words)
    return Markup("{} {} {}").format(Markup(", ").join(words[:-1]), last, words[-1])


def runs(dims: Sequence[int], measured: Sequence[int]) -> list[str]:
    """Dimensions as words, three or more neighbours among those measured as `8 to 32`."""
    places = [measured.index(dim) for dim in sorted(dims)]
    said: list[str] = []
    start = 0
    for i in range(len(places)):
        if i + 1 < len(places) and places[i + 1] == places[i] + 1:
            continue
        stretch = [str(measured[place]) for place in places[start : i + 1]]
        said += [f"{stretch[0]} to {stretch[-1]}"] if len(stretch) > 2 else stretch
        start = i + 1
    return said


def metric_name(metric: str) -> str:
    return METRICS.get(metric, metric)


def count(number: int, noun: str) -> str:
    """`1 task`, `3 tasks`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
