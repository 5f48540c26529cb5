"""One-file pages: a shell that asks no other machine for anything, and data that cannot leave it.

What a page is made of lies beside this file: `page.html`, and the styles and scripts of each view.
"""

import base64
import html
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

LARGEST = 3_000_000  # bytes of a page


def asset(name: str) -> str:
    """Return a file of this room as text."""
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


def page(
    title: str,
    *,
    styles: Sequence[str],
    body: str,
    data: Mapping[str, Any],
    blobs: Mapping[str, bytes],
    scripts: Sequence[str],
) -> str:
    """Return a page; `styles` and `scripts` name files of this room, `data` is JSON by its id.

    `blobs` are bytes by their id, a whole number of 4-byte words each. The page forbids itself
    every request, and without `scripts` every script too. Nothing in `data` can end the element
    that holds it.
    """
    held = [
        f'<script type="application/json" id="{name}">{as_json(value)}</script>'
        for name, value in data.items()
    ]
    held += [
        f'<script type="text/plain" id="{name}">{as_text(value)}</script>'
        for name, value in blobs.items()
    ]
    script = "\n".join(map(asset, scripts))
    run = f'<script>\n"use strict";\n{{\n{script}\n}}\n</script>' if scripts else ""
    slots = {
        "title": html.escape(title),
        "style": "\n".join(map(asset, styles)),
        "body": body,
        "data": "\n".join(held),
        "may": " script-src 'unsafe-inline';" if scripts else "",
        "script": run,
    }
    parts = asset("page.html").split("{{")
    made = [parts[0]]
    for part in parts[1:]:
        slot, _, rest = part.partition("}}")
        made += [slots[slot.strip()], rest]
    return "".join(made)


def is_page(start: bytes) -> bool:
    """Whether a file that begins like this is a page of ours, which may be replaced."""
    return (
        start.startswith(b"<!DOCTYPE html>") and b'name="generator" content="Cellwright"' in start
    )


def as_json(value: object) -> str:
    """Return JSON that a script element can hold: no `<` in it, so no tag begins or ends there."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def as_text(data: bytes) -> str:
    """Return bytes as base 85, five signs for four bytes, with a comma for `<`."""
    return base64.b85encode(data).decode("ascii").replace("<", ",")
