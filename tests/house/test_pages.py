"""The reader of pages itself: it must see what is on a page."""

from pathlib import Path

import pytest

from tests.house.pages import anchors, blocks, commands, links, script, spans

PAGE = """# A page: with *signs*

<!-- run -->
```console
$ FAST=1 cellwright train a.txt \\
    --cell lstm   # a comment
loss 1.0 --not-an-option
$ make test && cd "my folder"
$ printf "a b" > c.txt
```

Text with [a link](other.md#there), `--flag` and `[no](link)`.

<!-- not run -->

```python
[also](no-link)
```
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(PAGE, encoding="utf-8")
    return path


def test_blocks_know_language_line_and_mark(page):
    found = [(b.language, b.line, b.mark) for b in blocks(page)]
    assert found == [("console", 5, "run"), ("python", 17, "not run")]
    assert blocks(page)[1].text == "[also](no-link)\n"


def test_commands_leave_out_prompts_comments_variables_and_output(page):
    assert list(commands(blocks(page)[0])) == [
        ["cellwright", "train", "a.txt", "--cell", "lstm"],
        ["make", "test"],
        ["cd", "my folder"],
        ["printf", "a b"],
    ]
    assert script(blocks(page)[0]).endswith('\nprintf "a b" > c.txt\n')


def test_links_spans_and_anchors(page):
    assert links(page) == ("other.md#there",)
    assert spans(page) == ("--flag", "[no](link)")
    assert anchors(page) == {"a-page-with-signs"}


def test_an_open_fence_is_refused(tmp_path):
    page = tmp_path / "open.md"
    page.write_text("```python\nx = 1\n", encoding="utf-8")
    with pytest.raises(AssertionError, match=r"open\.md:1|never closed"):
        blocks(page)
