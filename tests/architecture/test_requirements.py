"""docs/requirements.md lists exactly the requirements that tests serve, with a test that exists."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NUMBER = re.compile(r"S[0-4]-\d{3}")
ROW = re.compile(r"^\| (S[0-4]-\d{3}) \| (.+) \| `([\w/.]+)::(\w+)` \|$", re.MULTILINE)


def numbers_in_tests() -> set[str]:
    found: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for marker in re.findall(r"requirement\(([^)]*)\)", path.read_text()):
            found |= set(NUMBER.findall(marker))
    return found


def test_every_requirement_that_a_test_names_is_in_the_list() -> None:
    listed = {number for number, *_ in ROW.findall((ROOT / "docs/requirements.md").read_text())}

    assert numbers_in_tests() - listed == set()


def test_every_row_of_the_list_names_a_test_that_exists_and_carries_the_number() -> None:
    rows = ROW.findall((ROOT / "docs/requirements.md").read_text())
    wrong = []
    for number, _, path, test in rows:
        text = (ROOT / path).read_text() if (ROOT / path).is_file() else ""
        if f"def {test}(" not in text or number not in text:
            wrong.append((number, path, test))

    assert rows
    assert wrong == []
