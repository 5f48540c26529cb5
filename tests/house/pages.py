"""The documentation as tests read it: pages, fenced blocks, links, commands."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = tuple(
    sorted(
        path
        for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")]
        if path.stat().st_size
    )
)
SHELL = ("sh", "bash", "shell", "console")

_FENCE = re.compile(r"^( *)(`{3,}|~{3,}) *([\w+-]*)")
_LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)")
_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_MARK = re.compile(r"<!-- *(run|not run) *-->")


def name(page: Path) -> str:
    """Return a page's path from the repository's root, as test ids show it."""
    return (page.relative_to(ROOT) if page.is_relative_to(ROOT) else page).as_posix()


@dataclass(frozen=True)
class Block:
    """A fenced block; `mark` is "run" or "not run" where a comment before it says so."""

    page: Path
    line: int
    language: str
    text: str
    mark: str = ""

    @property
    def id(self) -> str:
        return f"{name(self.page)}:{self.line}"


def blocks(page: Path) -> tuple[Block, ...]:
    """Return the fenced blocks of a page."""
    found: list[Block] = []
    opened: tuple[int, str, str, str, str] | None = None
    body: list[str] = []
    mark = ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if opened is None and fence:
            indent, ticks, language = fence.groups()
            opened, body = (number, indent, ticks, language, mark), []
        elif opened is not None and fence and fence[2].startswith(opened[2]) and not fence[3]:
            start, indent, _, language, before = opened
            text = "\n".join(row.removeprefix(indent) for row in body) + "\n"
            found.append(Block(page, start + 1, language, text, before))
            opened, mark = None, ""
        elif opened is not None:
            body.append(line)
        elif line.strip():
            comment = _MARK.fullmatch(line.strip())
            mark = comment[1] if comment else ""
    if opened is not None:
        raise AssertionError(f"{name(page)}:{opened[0]}: a fence that is never closed")
    return tuple(found)


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    lines = page.read_text(encoding="utf-8").splitlines()
    for block in blocks(page):
        for number in range(block.line - 2, block.line + block.text.count("\n")):
            lines[number] = ""
    return "\n".join(lines)


def links(page: Path) -> tuple[str, ...]:
    """Return the targets of the links and images of a page."""
    return tuple(_LINK.findall(_SPAN.sub("", prose(page))))


def spans(page: Path) -> tuple[str, ...]:
    """Return what stands in single backquotes."""
    return tuple(_SPAN.findall(prose(page)))


def anchors(page: Path) -> frozenset[str]:
    """Return the names that a page's headings can be linked by."""
    titles = re.findall(r"^#+ +(.+?)(?: *#*)$", prose(page), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", title.lower()).strip() for title in titles)
    return frozenset(re.sub(r"[ ]", "-", title) for title in plain)


def script(block: Block) -> str:
    """Return what a reader would type of a shell block: prompts and output taken off."""
    text = re.sub(r"\\\n\s*", " ", block.text)
    lines = text.splitlines()
    if any(line.startswith("$ ") for line in lines):
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return "\n".join(lines) + "\n"


def commands(block: Block) -> Iterator[list[str]]:
    """Split a shell block into commands: comments, variables and redirections taken off."""
    for line in script(block).splitlines():
        for part in re.split(r"\s(?:&&|\|\|?|;)\s", line):
            words = shlex.split(re.sub(r"\s(?:>{1,2}|<)\s*\S+", "", part), comments=True)
            while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
                words = words[1:]
            if words:
                yield words
