"""
Everything works when the package is imported from a zip archive.
"""

import os
import tempfile
import zipfile
from pathlib import Path

from _everything import PROGRAM
from _verdict import check, judge, run_python

import crochet


def hazard():
    package = os.path.dirname(crochet.__file__)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "packages.zip")
        with zipfile.ZipFile(path, "w") as archive:
            for file in Path(package).rglob("*.py"):
                archive.write(file, f"crochet/{file.relative_to(package)}")
        first = f"import sys; sys.path.insert(0, {path!r}); import crochet; "
        first += "assert 'packages.zip' in crochet.__file__\n"
        ended = run_python(first + PROGRAM).check_clean()
    check(ended.out == "done\n", f"it says {ended.out!r}")
    return "works"


judge(hazard)
