"""The rules of the house that a program can check."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("billing_site", "metering", "invoicing", "dunning", "marketplaces")


def sources() -> list[Path]:
    return [path for room in ROOMS for path in (ROOT / room).rglob("*.py") if "migrations" not in path.parts]


def test_imports_run_downwards() -> None:
    run = subprocess.run(
        [Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.requirement("S0-099")
@pytest.mark.requirement("S0-109")
def test_no_float_touches_money_or_quantity() -> None:
    # Seconds and pixels, nothing that is billed: clocks, waits, supervision, drawings.
    clocks_and_pixels = (
        "billing_site/backoffice",
        "billing_site/database",
        "billing_site/demo",
        "billing_site/display",
        "billing_site/management",
        "billing_site/sandbox",
        "billing_site/serving",
        "billing_site/api/throttling.py",
        "billing_site/settings.py",
        "metering/management/commands/roll_up.py",
        "metering/rolling.py",
        "metering/rollup.py",
    )
    found = []
    for path in sources():
        name = path.relative_to(ROOT).as_posix()
        if name.startswith(clocks_and_pixels):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            literal = isinstance(node, ast.Constant) and isinstance(node.value, float)
            call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float"
            field = isinstance(node, ast.Attribute) and node.attr == "FloatField"
            if literal or call or field:
                found.append(f"{name}:{node.lineno}")

    assert found == []


def test_money_is_never_summed_across_currencies() -> None:
    """A Sum over a money column stands in a function that groups by currency or filters one invoice or account."""
    money_sum = re.compile(r"Sum\(\"(?:\w+__)?(amount|total|subtotal|amount_paid)\"\)")
    offenders = []
    for path in sources():
        tree = ast.parse(path.read_text())
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            body = ast.get_source_segment(path.read_text(), function) or ""
            if money_sum.search(body) and "currency" not in body:
                offenders.append(f"{path.relative_to(ROOT)}:{function.name}")

    assert offenders == []


# Customers download it and read it: it is one file on purpose.
ONE_FILE = {"invoicing/checker/check_invoice.py": 500}


def test_files_stay_small_enough_to_read() -> None:
    long = {
        name: length
        for path in sources()
        if (length := len(path.read_text().splitlines())) > ONE_FILE.get(name := path.relative_to(ROOT).as_posix(), 400)
    }

    assert long == {}


def test_nothing_is_kept_that_others_wrote_and_packed() -> None:
    """Libraries are named and pinned, never kept: no wheel, archive or program."""
    packed = {".whl", ".egg", ".jar", ".zip", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".so", ".exe"}
    entries = [one for one in ROOT.iterdir() if not one.name.startswith(".") and one.name != "staticfiles"]
    kept = [path for entry in entries for path in (entry, *entry.rglob("*")) if path.suffix in packed]

    assert kept == []


def test_every_public_function_says_what_it_does() -> None:
    silent = []
    for path in sources():
        for node in ast.parse(path.read_text()).body:
            if (
                isinstance(node, ast.FunctionDef | ast.ClassDef)
                and not node.name.startswith("_")
                and not ast.get_docstring(node)
            ):
                silent.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")

    assert silent == []
