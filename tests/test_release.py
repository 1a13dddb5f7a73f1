"""
The script that prepares a release.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
from datetime import date
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
FILES = ("README.md", "CHANGELOG.md", "pyproject.toml", "src/crochet/__init__.py")
HOME = "https://example.com/crochet/"
DAY = date(2026, 12, 1)


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release", ROOT / "tools" / "release.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


release = _script()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """
    Make a folder with what a release edits.
    """
    for name in FILES:
        tmp_path.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_says_the_version_wherever_it_stands(checkout: Path) -> None:
    """
    Where one were left behind, test_package.py would fail after the release.
    """
    release.prepare(checkout, "3.9.0", HOME, DAY)
    project = (checkout / "pyproject.toml").read_text()
    assert '\nversion = "3.9.0"\n' in project
    assert '\n[project.urls]\nSource = "https://example.com/crochet"\n' in project
    assert '__version__ = "3.9.0"' in (checkout / FILES[3]).read_text()
    changes = (checkout / "CHANGELOG.md").read_text()
    assert "## [3.9.0] - 2026-12-01" in changes
    assert "Unreleased" not in changes


def test_says_how_to_install_from_the_index(checkout: Path) -> None:
    """
    In the one place that has it, which the documentation includes.
    """
    release.prepare(checkout, "3.9.0", HOME, DAY)
    readme = (checkout / "README.md").read_text()
    assert 'pip install "crochet>=3"' in readme
    assert "not on the package index" not in readme
    assert readme.count("pip install") == 1


def test_gives_the_readme_links_that_lead_somewhere_from_the_index(checkout: Path) -> None:
    """
    Pictures as they are, pages as they are shown; what is an address already stays as it is.
    """
    release.prepare(checkout, "3.9.0", HOME, DAY)
    readme = (checkout / "README.md").read_text()
    assert "](https://example.com/crochet/blob/main/docs/tutorial.md)" in readme
    assert "](https://example.com/crochet/raw/main/docs/pictures/round-trip.svg)" in readme
    assert "](https://twisted.org)" in readme
    assert not re.search(r"\]\((?!https:|#)", readme)


def test_can_be_repeated_for_the_next_one(checkout: Path) -> None:
    """
    The addresses are replaced and not added.
    """
    release.prepare(checkout, "3.9.0", HOME, DAY)
    changes = checkout / "CHANGELOG.md"
    changes.write_text(changes.read_text().replace("## [3.9.0]", "## [Unreleased]\n\n## [3.9.0]"))
    release.prepare(checkout, "3.10.0", "https://example.com/other", DAY)
    project = (checkout / "pyproject.toml").read_text()
    assert project.count("[project.urls]") == 1
    assert '\nSource = "https://example.com/other"\n' in project
    assert HOME not in project


@pytest.mark.parametrize("version", ["3", "v3.0.0", "3.0.0-1"])
def test_refuses_what_is_no_version(checkout: Path, version: str) -> None:
    """
    Before anything is edited.
    """
    with pytest.raises(ValueError, match="no version"):
        release.prepare(checkout, version, HOME, DAY)
    assert (checkout / "README.md").read_text() == (ROOT / "README.md").read_text()


def test_refuses_files_that_have_changed_their_form(checkout: Path) -> None:
    """
    Rather than leave one as it was.
    """
    (checkout / "CHANGELOG.md").write_text("# Changelog")
    with pytest.raises(ValueError, match=r"CHANGELOG.md has 0 places"):
        release.prepare(checkout, "3.9.0", HOME, DAY)
