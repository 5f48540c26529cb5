"""One-file pages: what is put into them stays data, and they may ask for nothing."""

import base64
import json
import re

import pytest

from cellwright.compiler.build import EPSILON
from cellwright.inspect.walk import back as walk_back
from cellwright.inspect.walk import facts as walk_facts
from cellwright.inspect.walk import page as pages
from cellwright.inspect.walk import past as walk_past
from cellwright.web import as_json, as_text, asset, is_page, page

ODD = '</script><script>alert(1)</script><!-- & "quoted" \u2028 é\u0301 \u05d0 😀 {{ title }}'


def made(**data: object) -> str:
    return page(
        ODD, styles=["page.css"], body="<main></main>", data=data, blobs={}, scripts=["walk.js"]
    )


def test_data_cannot_end_its_element():
    text = as_json({"text": ODD})
    assert "<" not in text
    assert "\u2028" not in text
    assert json.loads(text) == {"text": ODD}


def test_numbers_that_json_lacks_are_refused():
    with pytest.raises(ValueError, match="JSON"):
        as_json({"loss": float("nan")})


def test_bytes_are_held_as_signs_that_begin_no_tag():
    data = bytes(range(256)) * 40
    text = as_text(data)
    assert not set("<'\"\\") & set(text)
    assert len(text) == 5 * len(data) // 4
    assert base64.b85decode(text.replace(",", "<")) == data


def test_a_page_forbids_itself_every_request():
    text = made(facts=ODD)
    assert "default-src 'none'" in text
    assert re.findall(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//", text) == []
    assert "@import" not in text and "url(" not in text


def test_a_text_is_not_read_as_the_page():
    text = made(facts=ODD)
    assert text.count("<script") == 2
    assert "<title>&lt;/script&gt;" in text
    assert "{{ title }}" in text  # the reader's own braces are no slots


def test_our_pages_are_known():
    assert is_page(made(facts=1).encode()[:1024])
    assert not is_page(b"<!DOCTYPE html><html><head><title>Another's</title>")


@pytest.mark.parametrize(
    ("file", "name", "value"),
    [
        ("walk_engine.js", "EPSILON", EPSILON),
        ("walk_engine.js", "FURTHEST", walk_back.FURTHEST),
        ("walk_engine.js", "REPLACEMENTS", walk_back.REPLACEMENTS),
        ("walk_text.js", "MOST_TOKENS", pages.MOST_TOKENS),
        ("walk_text.js", "BEST", walk_facts.BEST),
        ("walk_text.js", "FURTHEST_PAST", walk_past.FURTHEST_PAST),
    ],
)
def test_both_sides_have_the_same_numbers(file, name, value):
    found = re.search(rf"\b{name} = ([\d.e-]+)[,;]", asset(file))
    assert found and float(found[1]) == value
