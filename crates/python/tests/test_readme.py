"""The example of the README runs as it is printed, and says what is printed below it."""

import re
import subprocess
import sys
from pathlib import Path

from conftest import REPOSITORY

README = (Path(__file__).parents[1] / "README.md").read_text()
EXAMPLE = re.search(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)[1]
PRINTED = re.search(r"^```text\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)[1]


def test_the_readme_of_the_repository_prints_the_same_example():
    assert EXAMPLE in (REPOSITORY / "README.md").read_text()


def test_the_example_runs_in_an_empty_folder_as_it_is_printed(tmp_path):
    (tmp_path / "models").symlink_to(REPOSITORY / "models")
    ran = subprocess.run([sys.executable, "-c", EXAMPLE], cwd=tmp_path, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == PRINTED
