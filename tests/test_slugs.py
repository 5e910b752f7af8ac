import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import hostile

from clapstream.slugs import slugify


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("dog barking", "dog_barking"),
        ("Dog-Barking!", "dog_barking"),
        ("Tür öffnet", "tur_offnet"),
        ("Straße", "strasse"),
        ("smørrebrød", "smorrebrod"),
        ("a/b#c+d\0e", "a_b_c_d_e"),
        ("ding 🔔 dong", "ding_dong"),
        ("ＤＯＧ", "dog"),
    ],
)
def test_slug_of_ordinary_names(name: str, slug: str) -> None:
    assert slugify(name) == slug


def test_composed_and_decomposed_accents_share_a_slug() -> None:
    assert slugify("caf\u00e9 \u4e2d") == slugify("cafe\u0301 \u4e2d")


def test_names_that_lose_letters_stay_distinct() -> None:
    slugs = {slugify(name) for name in ("犬", "猫", "🔔", "🚪", "犬 dog", "猫 dog", "dog", "x" * 300, "x" * 301)}
    assert len(slugs) == 9


def test_slug_is_stable_over_releases() -> None:
    """Topics and Home Assistant's unique ids are made of it."""
    assert slugify("犬") == "1e82f9b0"
    assert slugify("x" * 300) == "x" * 55 + "_0d4e2ca9"


@settings(max_examples=hostile.inputs(100))
@given(st.text())
def test_every_slug_is_topic_safe(name: str) -> None:
    slug = slugify(name)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9_]*[a-z0-9])?", slug)
    assert len(slug) <= 64
    assert slugify(slug) == slug
