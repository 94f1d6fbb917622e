"""The way from a fresh clone to an environment."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from billing_site.serving.environment import uv_variables

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with a blank in its name that holds what `make environment` needs, and one tiny requirement."""
    folder = tmp_path / "a clone"
    (folder / "billing_site" / "serving").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copy(ROOT / "billing_site" / "serving" / "environment.py", folder / "billing_site" / "serving")
    (folder / "requirements.txt").write_text("rich==15.0.0\n")
    return folder


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=kept | environment, capture_output=True, text=True, timeout=200
    )


@pytest.mark.slow
def test_an_environment_is_made_once_and_again_only_when_something_has_changed(clone: Path) -> None:
    """One story instead of three tests: each installation costs seconds. There is no home to write to in it."""
    first = make(clone, "environment", HOME="/proc/nobody")
    python = clone / ".venv" / "bin" / "python"
    second = make(clone, "environment", HOME="/proc/nobody")
    (clone / "requirements.txt").write_text("rich==15.0.0\npyyaml==6.0.3\n")
    third = make(clone, "environment", HOME="/proc/nobody")
    imported = subprocess.run([python, "-c", "import rich, yaml"], check=False)
    python.unlink()
    python.symlink_to("/nowhere/python3")
    fourth = make(clone, "environment", HOME="/proc/nobody")

    assert first.returncode == 0, first.stderr
    assert "Installed into .venv" in first.stderr
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert "Making" not in third.stderr and "Installed" in third.stderr
    assert imported.returncode == 0
    assert fourth.returncode == 0, fourth.stderr
    assert "Making .venv" in fourth.stderr


def test_without_a_new_enough_python_make_says_so_and_what_to_do(clone: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bin"
    bare.mkdir()
    for name in ("sh", "make"):
        found = shutil.which(name)
        assert found is not None
        (bare / name).symlink_to(found)
    old = bare / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)

    refused = make(clone, "environment", PATH=str(bare))

    assert refused.returncode != 0
    assert "This needs Python 3.11 or newer" in refused.stderr
    assert "make PYTHON=" in refused.stderr


def test_a_python_that_can_make_no_environment_says_which_package_is_missing(clone: Path) -> None:
    script = clone / "billing_site" / "serving" / "environment.py"
    hidden = (
        "import importlib.util, runpy, sys\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name: None if name in ('pip', 'ensurepip') else find(name)\n"
        f"sys.argv = [{str(script)!r}, 'requirements.txt']\n"
        f"runpy.run_path({str(script)!r}, run_name='__main__')\n"
    )

    refused = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True, check=False)

    assert refused.returncode != 0
    assert "apt-get install python3-venv" in refused.stderr


def test_uv_is_told_what_pip_is_configured_to_do() -> None:
    listing = """:env:.cert='/etc/ssl/some.pem'
global.extra-index-url='file:///one/simple file:///two/simple'
global.find-links='/wheels\\n/more'
global.timeout='60'
freeze.proxy='nobody'"""

    told = uv_variables(listing=listing)

    assert told == {
        "SSL_CERT_FILE": "/etc/ssl/some.pem",
        "UV_INDEX": "file:///one/simple file:///two/simple",
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }


def test_uv_is_told_nothing_where_pip_has_no_configuration() -> None:
    assert uv_variables(listing="") == {}


def test_make_help_lists_the_targets() -> None:
    listed = make(ROOT, "help").stdout

    assert all(f"make {target}" in listed for target in ("demo", "test", "lint", "clean"))
