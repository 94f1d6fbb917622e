"""Make the project's `.venv` and install requirement files into it; nothing happens where that is done already.

Run by path, before anything is installed, by any Python from 3.11 on: `python3 environment.py requirements.txt ...`.
It imports the standard library only.

uv installs in seconds what takes pip half a minute, so pip is asked for uv first, and uv is given pip's own
configuration (indexes, certificates). Where uv is not to be had, or fails, pip does it all.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / ".venv"
UV = "uv==0.13.*"
# pip's options and the variables by which uv is told the same.
UV_VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}
NO_VENV = """This Python ({python}) can make no environment: it has neither ensurepip nor pip.
Debian and Ubuntu keep that in a package of its own: apt-get install python3-venv
Then start again; or name another interpreter: make PYTHON=/path/to/python3.12 ..."""


def main(names: list[str]) -> None:
    """Bring the environment to what the named requirement files say; one process at a time."""
    if sys.version_info < (3, 11):  # noqa: UP036 - run by whatever Python there is
        sys.exit(f"This needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}.")
    files = [ROOT / name for name in names]
    with _alone():
        stamp = ENVIRONMENT / f"installed-{'-'.join(file.stem for file in files)}"
        wanted = _digest(files=files)
        if stamp.exists() and stamp.read_text() == wanted and _python_works():
            return
        began = time.monotonic()
        _make_environment()
        _install(files=files)
        stamp.write_text(wanted)
        _say(f"Installed into {ENVIRONMENT.name} in {time.monotonic() - began:.0f} s.")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Hold a lock that two `make` at once would fight over; the kernel gives it back however we end."""
    with (ROOT / "requirements.txt").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _digest(*, files: list[Path]) -> str:
    """Return what the environment depends on: the files, the interpreter, and the place (scripts hold its path)."""
    digest = hashlib.sha256(f"{ENVIRONMENT}\0{sys.version}\0".encode(errors="surrogateescape"))
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _make_environment() -> None:
    """Make `.venv` with pip in it; one that is broken, of another Python or of another place is made anew."""
    marker = ENVIRONMENT / "made-for"
    made_for = f"{ENVIRONMENT} {sys.version}"
    if _python_works() and (not marker.exists() or marker.read_text() == made_for):
        return
    _say(f"Making {ENVIRONMENT.name} with Python {sys.version.split()[0]} ...")
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    bare = importlib.util.find_spec("ensurepip") is None
    if bare and importlib.util.find_spec("pip") is None:
        sys.exit(NO_VENV.format(python=sys.executable))
    options = ["--without-pip"] if bare else []
    made = subprocess.run(
        [sys.executable, "-m", "venv", *options, str(ENVIRONMENT)],
        env=_quiet_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        sys.exit(f"{made.stdout}{made.stderr}\n{NO_VENV.format(python=sys.executable)}")
    marker.write_text(made_for)


def _python_works() -> bool:
    """Tell whether the environment's interpreter runs (it is a link, and may point to nothing any more)."""
    python = ENVIRONMENT / "bin" / "python"
    return python.exists() and subprocess.run([str(python), "-c", ""], check=False).returncode == 0


def _install(*, files: list[Path]) -> None:
    """Install with uv, or with pip where that does not work."""
    requirements = [argument for file in files for argument in ("-r", str(file))]
    _say(f"Installing {' and '.join(file.name for file in files)} ...")
    environment = _quiet_environment()
    python = str(ENVIRONMENT / "bin" / "python")
    if _pip(["install", "--quiet", UV], environment=environment, capture=True) == 0:
        told = {**environment, **_uv_settings(environment=environment)}
        command = [str(ENVIRONMENT / "bin" / "uv"), "pip", "install", "--quiet", "--python", python, *requirements]
        done = subprocess.run(command, env=told, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        _say(f"uv could not do it, so pip does:\n{done.stderr.strip()}")
    if _pip(["install", "--quiet", *requirements], environment=environment, capture=False) != 0:
        sys.exit("The requirements could not be installed; see above. Is the package index reachable?")


def _pip(arguments: list[str], *, environment: Mapping[str, str], capture: bool) -> int:
    """Run pip for the environment: its own, or the system's where the environment has none."""
    python = str(ENVIRONMENT / "bin" / "python")
    command = _own_pip() or [sys.executable, "-m", "pip", "--python", python]
    return subprocess.run([*command, *arguments], env=environment, capture_output=capture, check=False).returncode


def _own_pip() -> list[str]:
    """Return how the environment's own pip is called; empty where it has none."""
    return [str(ENVIRONMENT / "bin" / "python"), "-m", "pip"] if (ENVIRONMENT / "bin" / "pip").exists() else []


def _quiet_environment() -> dict[str, str]:
    """Return our environment without another one's traces, with caches in a place where we may write."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "VIRTUAL_ENV")}
    environment |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore", "UV_NO_PROGRESS": "1"}
    home = environment.get("HOME", "")
    if not home or not os.access(home, os.W_OK | os.X_OK):
        cache = ROOT / ".venv" / "cache"
        environment.setdefault("PIP_CACHE_DIR", str(cache / "pip"))
        environment.setdefault("UV_CACHE_DIR", str(cache / "uv"))
        environment.setdefault("HOME", str(ROOT))
    return environment


def _uv_settings(*, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that tell uv what pip is configured to do; what is set for uv already stays."""
    command = [*(_own_pip() or [sys.executable, "-m", "pip"]), "config", "list"]
    listing = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    told = uv_variables(listing=listing.stdout)
    return {name: value for name, value in told.items() if not environment.get(name)}


def uv_variables(*, listing: str) -> dict[str, str]:
    """Translate what `pip config list` prints into the variables by which uv is told the same."""
    told: dict[str, str] = {}
    for line in listing.splitlines():
        name, _, quoted = line.partition("=")
        section, _, option = name.partition(".")
        variable = UV_VARIABLES.get(option)
        if variable is None or section not in ("global", "install", ":env:"):
            continue
        # pip's lists are separated by blanks or line breaks; uv wants commas between folders of links.
        values = quoted.strip("'\"").replace("\\n", " ").split()
        told[variable] = ("," if option == "find-links" else " ").join(values)
    if "UV_INDEX" in told:
        # pip takes the best version from all of its indexes; uv would stop at the first one that knows the name.
        told["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return told


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
