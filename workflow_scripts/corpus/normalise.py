"""The forms in which texts are compared: the words that a reader sees, and the text without what nobody sees.

Takes columns of texts; leaves columns. Exists so that cleaning and decontamination agree on what is invisible: format
characters (soft hyphen, zero-width space and joiners, marks of direction), variation selectors and the like.
"""

from __future__ import annotations

import html
import re

import polars as pl

INVISIBLE = r"[\p{Cf}\p{Default_Ignorable_Code_Point}[\p{Cc}--\s]]+"
BLANK = r"[\s\x{2800}]+"  # white space, and the Braille pattern without dots
# What stands for an apostrophe: accents, quotation marks, primes and modifier letters; NFKC would make a space and an
# accent of some, and the others are letters.
APOSTROPHE = r"[\x{B4}`\x{2018}\x{2019}\x{2B9}-\x{2BC}\x{384}\x{1FBD}\x{1FBF}\x{1FEF}\x{1FFD}\x{1FFE}\x{2032}\x{A78B}\x{A78C}\x{FF07}]"
SPACING_ACCENT = r"[\x{A8}\x{AF}\x{B8}\x{2D8}-\x{2DD}]"  # NFKC would put a space before each
# What is drawn through, under, over or around letters, which it leaves the same (struck out, underlined, circled), the stroke
# that lengthens Arabic ones, and the sign for an object that a copy left out.
# Noncharacters too: programs that take text out of PDFs leave U+FFFE where a line broke within a word.
ORNAMENT = r"[\p{Noncharacter_Code_Point}\p{Me}\x{305}\x{332}-\x{338}\x{20D0}-\x{20F0}\x{640}\x{FFFC}]"
TAG = (
    r"</?(?:a|b|big|blockquote|br|center|code|del|div|em|font|h[1-6]|hr|i|img|ins|kbd|li|ol|p|pre|s|small|span|strike"
    r"|strong|sub|sup|table|tbody|td|th|thead|tr|tt|u|ul)(?:\s+[\w:-]+\s*=[^<>]*)?\s*/?>"
)
MARKUP = rf"(?i)&#?\w+;|{TAG}"
# Scripts that are written without spaces between words: each of their characters is a word.
WITHOUT_SPACES = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
LETTER = r"\p{L}\p{M}\p{N}"
WORD = rf"[[{LETTER}]&&[{WITHOUT_SPACES}]]|[[{LETTER}]--[{WITHOUT_SPACES}]]+"
NOT_PLAIN = r"[^\t-\r\x20-\x7E]"  # not ASCII, or an invisible control character
UNTIDY = rf"{NOT_PLAIN}|^\s|\s\z|\s\s|[\s--\x20]"


def words_of(texts: pl.Series) -> pl.Series:
    """Each text's words, a list per text: NFKC (ligatures, full-width forms and composed letters become the plain ones),
    lower case (and ß as ss), without invisible characters, punctuation, ornaments of letters, accents that stand
    alone and HTML's tags and entities. Whatever is used as an apostrophe is one, and ends a word as `'` does. Where words
    have no spaces between them, each character is one."""
    texts = _where(texts, MARKUP, pl.col("text").map_elements(_without_markup, pl.String))
    foreign = pl.col("text").str.replace_all(INVISIBLE, "").str.replace_all(APOSTROPHE, "'")
    foreign = foreign.str.replace_all(f"{SPACING_ACCENT}|{ORNAMENT}", "").str.normalize("NFKC").str.to_lowercase()
    foreign = foreign.str.replace_all("ß", "ss", literal=True)
    return _where(texts, NOT_PLAIN, foreign).str.to_lowercase().str.extract_all(WORD)


def visible(texts: pl.Series) -> pl.Series:
    """Each text as a reader sees it: NFC, without invisible characters, white space as one space and none at the ends."""
    tidied = pl.col("text").str.replace_all(INVISIBLE, "").str.normalize("NFC").str.replace_all(BLANK, " ")
    return _where(texts, UNTIDY, tidied.str.strip_chars(" "))


def _without_markup(text: str) -> str:
    return re.sub(TAG, " ", html.unescape(text), flags=re.IGNORECASE)


def _where(texts: pl.Series, pattern: str, changed: pl.Expr) -> pl.Series:
    """The texts, with `changed` of those that fit the pattern, which are few."""
    rows = texts.str.contains(pattern).arg_true()
    if not len(rows):
        return texts
    return texts.clone().scatter(rows, texts.gather(rows).to_frame("text").select(changed).to_series())
