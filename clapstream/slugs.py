"""Names as topics can carry them."""

from __future__ import annotations

import hashlib
import re
import unicodedata

LONGEST_SLUG = 64
HASH_DIGITS = 8

_WITHOUT_DECOMPOSITION = str.maketrans(
    {"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ħ": "h", "ı": "i", "ŋ": "n"}
)
"""Latin letters that Unicode does not split into a base letter and an accent."""


def slugify(name: str) -> str:
    """Fold a name to `[a-z0-9_]`, 1 to 64 characters, the same on every machine and in every release.

    Accents go (ä becomes a). A hash of the name is appended when letters of another script were lost or the name
    was too long, and stands alone when nothing else is left, so that different names rarely share a slug.
    """
    folded = _fold(name)
    slug = re.sub(r"[^a-z0-9]+", "_", folded).strip("_")
    letters_lost = any(character.isalnum() and not character.isascii() for character in folded)
    if slug and not letters_lost and len(slug) <= LONGEST_SLUG:
        return slug
    digest = hashlib.sha256(folded.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_DIGITS]
    shortened = slug[: LONGEST_SLUG - HASH_DIGITS - 1].rstrip("_")
    return f"{shortened}_{digest}" if shortened else digest


def _fold(name: str) -> str:
    """Lower case without accents; compatibility forms (full-width, ligatures) become plain letters."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold())
    without_marks = "".join(character for character in decomposed if not unicodedata.combining(character))
    return without_marks.translate(_WITHOUT_DECOMPOSITION)
