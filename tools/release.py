"""
Prepare a release: the version, the changelog's heading, how to install, where the project lives.

    python tools/release.py 3.0.0 https://github.com/OWNER/REPOSITORY

It edits the files of the checkout and nothing else: look at what it did, run the gate, commit, tag.
How to install stands in one place, README.md, between two comments; the documentation includes it.
Links of the README become addresses, for the package index.
"""

from __future__ import annotations

import argparse
import re
from datetime import date
from pathlib import Path

INSTALL = """
```console
$ pip install "crochet>={major}"
```

"""
URLS = """
[project.urls]
Source = "{home}"
Documentation = "{home}/blob/main/docs/index.md"
Changelog = "{home}/blob/main/CHANGELOG.md"
Issues = "{home}/issues"
Security = "{home}/security/policy"

"""


def replace(path: Path, pattern: str, text: str) -> None:
    """
    Replace the one place in a file that *pattern* finds.

    Raises:
        ValueError: there is none, or there are several.
    """
    content, number = re.subn(pattern, lambda _: text, path.read_text(), flags=re.M | re.S)
    if number != 1:
        raise ValueError(f"{path.name} has {number} places that look like {pattern!r}, not one")
    path.write_text(content)


def prepare(root: Path, version: str, home: str, day: date) -> None:
    """
    Edit the files below *root* for the release of *version*.

    Raises:
        ValueError: one of them does not look as it should; or *version* is no version.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", version):
        raise ValueError(f"{version} is no version such as 3.0.0 or 3.1.0rc1")
    home = home.rstrip("/")
    replace(root / "pyproject.toml", r'^version = "[^"]+"$', f'version = "{version}"')
    replace(
        root / "src/crochet/__init__.py", r'^__version__ = "[^"]+"$', f'__version__ = "{version}"'
    )
    replace(root / "CHANGELOG.md", r"^## \[Unreleased\]$", f"## [{version}] - {day}")
    install = INSTALL.format(major=version.partition(".")[0])
    marks = "<!-- how to install -->", "<!-- end: how to install -->"
    replace(root / "README.md", f"{marks[0]}.*{marks[1]}", f"{marks[0]}\n{install}{marks[1]}")
    # The package index shows it, too, where there are no files beside it.
    text = (root / "README.md").read_text()
    text = re.sub(r"(!\[[^\]]*\]\()(?!\w+:|#)", rf"\g<1>{home}/raw/main/", text)
    text = re.sub(r"(\]\()(?!\w+:|#)", rf"\g<1>{home}/blob/main/", text)
    (root / "README.md").write_text(text)
    # Those of the release before, if there are any, stand before this.
    mark = "# Beside the package and not in it"
    urls = URLS.format(home=home).lstrip()
    replace(root / "pyproject.toml", rf"^(\[project\.urls\]\n[^\[]*?)?{mark}", urls + mark)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Prepare a release.")
    parser.add_argument("version")
    parser.add_argument("home", help="the address of the project's repository")
    arguments = parser.parse_args()
    prepare(Path(__file__).parent.parent, arguments.version, arguments.home, date.today())
