"""reStructuredText made into prose to learn from: tables, link targets and generated lists taken out."""

import re

SHORTEST = 300  # characters of a document
SHORTEST_REPEAT = 40  # characters of a block: a shorter one may be said again
LONGEST_WORD = 100
MOSTLY = 0.6  # of a block's characters are letters and spaces
TYPOGRAPHY = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "--"}
    | {"\u2026": "...", "\u00a0": " ", "\u2022": "*", "\t": "    ", "\u200b": ""}
)
TABLE = re.compile(r"^\s*(\+[-=+]{3,}|=+( +=+)+\s*$|\|.*\|\s*$)", re.MULTILINE)
UNDERLINE = re.compile(r"^\s*([^\w\s])\1{2,}$", re.MULTILINE)  # of a title
WITHOUT_PROSE = re.compile(
    r":orphan:|:tocdepth:|\.\. *($|_|\||\[|image|figure|raw|csv-table|list-table|table|tabularcolumns|index"
    r"|toctree|contents|include|literalinclude|auto\w+|module|currentmodule|currentlibrary|highlight|meta"
    r"|default-domain|plot|graphviz|copyright|licensed|this work|sectionauthor|only|ifconfig|default-role"
    r"|role|testsetup)",
    re.IGNORECASE,
)


def clean(text: str) -> list[str]:
    """Return the blocks of a document that hold sentences or code, as ASCII, in order.

    A directive that holds no prose goes with everything indented below it. A block
    is what stands between blank lines.
    """
    kept: list[str] = []
    below: int | None = None  # indentation of a dropped directive
    for block in re.split(r"\n\s*\n", text.translate(TYPOGRAPHY).replace("\r", "")):
        block = block.strip("\n").rstrip()
        margin = len(block) - len(block.lstrip())
        if below is not None and margin > below:
            continue
        below = margin if WITHOUT_PROSE.match(block.lstrip()) else None
        if below is None and readable(block):
            kept.append(block.encode("ascii", "ignore").decode())
    return kept


def readable(block: str) -> bool:
    """Return whether a block is neither a table, nor data without spaces, nor in another script."""
    if not block or TABLE.search(block) or max(map(len, block.split())) > LONGEST_WORD:
        return False
    said = UNDERLINE.sub("", block)
    plain = sum(letter.isascii() and (letter.isalpha() or letter.isspace()) for letter in said)
    return plain >= MOSTLY * len(said)


def without_repeats(blocks: list[str], seen: set[str]) -> str:
    """Return the blocks not in `seen` as one text and add them to it; too short a rest is no document: ""."""
    kept = []
    for block in blocks:
        key = " ".join(block.split())
        if len(key) < SHORTEST_REPEAT or key not in seen:
            kept.append(block)
            seen.add(key)
    text = "\n\n".join(kept)
    return text if len(text) >= SHORTEST else ""
