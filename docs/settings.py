#!/usr/bin/env python3
"""Writes docs/src/settings.md from deploy/config/pinnersage.toml.

    docs/settings.py            # writes the page
    docs/settings.py --check    # exits with 1 if the page is out of date

Each key stands below the comment that explains it; keys that follow each other without a
comment share one. A comment before a [section] explains the section.
"""

import re
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "deploy/config/pinnersage.toml"
PAGE = ROOT / "docs/src/settings.md"

HEAD = """\
# Settings

<!-- Made by docs/settings.py from deploy/config/pinnersage.toml. Do not edit. -->

Every setting has a default, which is part of the binary
([`deploy/config/pinnersage.toml`](https://github.com/pinnersage/pinnersage/blob/main/deploy/config/pinnersage.toml)).
`--config FILE` changes single keys. An environment variable changes a key of both. An unknown key or a value out of
range is refused by name, with exit code 64, before anything starts.

```sh
printf '[index]\\nef_construction = 200\\n' >settings.toml
pinnersage catalog build --config settings.toml --pins pins-*.parquet --out catalog       # a file
PINNERSAGE__INDEX__EF_CONSTRUCTION=64 \\
    pinnersage catalog build --pins pins-*.parquet --out catalog                          # the environment
```

Durations are written as `"30s"`, `"5min"` or `"7days"`, sizes as `"64MiB"`.
"""


@dataclass
class Group:
    """Keys that share a comment."""

    comment: list
    keys: list = field(default_factory=list)


@dataclass
class Section:
    """A table of the file: the comment before it, and its groups of keys."""

    name: str
    comment: list
    groups: list = field(default_factory=list)


def parse(text):
    """The sections of a settings file, in its order."""
    sections, comment = [], []
    for line in text.splitlines():
        if line.startswith("#"):
            comment.append(line[1:].removeprefix(" "))
        elif match := re.fullmatch(r"\[([\w.]+)\]", line):
            sections.append(Section(match[1], comment))
            comment = []
        elif match := re.fullmatch(r"(\w+) = (.+)", line):
            groups = sections[-1].groups
            if comment or not groups:
                groups.append(Group(comment))
            groups[-1].keys.append((match[1], match[2]))
            comment = []
        elif line.strip():
            sys.exit(f"{SOURCE.name}: cannot read the line: {line}")
        else:
            # A comment that stands alone, such as the head of the file, explains no key.
            comment = []
    return sections


def prose(comment):
    """A comment as Markdown: lines that are set in become a block of code."""
    blocks, code = [[]], False
    for line in comment:
        if line.startswith("  ") != code:
            code = not code
            blocks.append([])
        blocks[-1].append(line)
    texts = []
    for block in filter(None, blocks):
        if block[0].startswith("  "):
            texts.append("\n".join(["```toml", *(line[2:] for line in block), "```"]))
        else:
            texts.append("\n".join(line.replace("<", "\\<").replace("*", "\\*") for line in block))
    return "\n\n".join(texts)


def page(sections):
    """The Markdown page."""
    parts = [HEAD]
    for section in sections:
        parts.append(f"## [{section.name}]\n")
        if section.comment:
            parts.append(prose(section.comment) + "\n")
        for group in section.groups:
            names = ", ".join(f"`{key}`" for key, _ in group.keys)
            defaults = ", ".join(f"`{key} = {value}`" for key, value in group.keys)
            parts.append(f"### {names}\n")
            if group.comment:
                parts.append(prose(group.comment) + "\n")
            parts.append(f"Default: {defaults}\n")
    return "\n".join(parts)


def leaves(table):
    """How many keys a table and those in it have."""
    return sum(leaves(value) if isinstance(value, dict) else 1 for value in table.values())


def main():
    text = SOURCE.read_text()
    sections = parse(text)
    found = sum(len(group.keys) for section in sections for group in section.groups)
    if found != leaves(tomllib.loads(text)):
        sys.exit(f"{SOURCE.name}: {found} keys were read of {leaves(tomllib.loads(text))}")
    made = page(sections)
    if "--check" in sys.argv[1:]:
        if not PAGE.exists() or PAGE.read_text() != made:
            sys.exit("docs/src/settings.md is out of date: run docs/settings.py")
        print(f"docs/src/settings.md has all {found} settings")
    else:
        PAGE.write_text(made)


if __name__ == "__main__":
    main()
