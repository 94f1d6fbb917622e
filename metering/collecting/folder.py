"""A folder that files arrive in: which of them are complete, and where they go when they are read."""

import os
from pathlib import Path

DONE, FAILED = "done", "failed"
UNFINISHED = (".tmp", ".part", ".rejected.ndjson")

Signature = tuple[int, int, int]


class Folder:
    """Remembers how each file looked, so that a file counts as complete when two looks find it the same.

    A file that is renamed into the folder is whole from the first look on; one that is written in place is
    taken when its size and time stand still. Names that begin with a dot or end in .tmp, .part or
    .rejected.ndjson, empty files and folders are left alone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: dict[str, Signature] = {}
        self._stuck: dict[str, Signature] = {}
        for name in (DONE, FAILED):
            (path / name).mkdir(exist_ok=True)

    def complete(self) -> list[Path]:
        """Return the files that have not changed since the last look, oldest first."""
        present: dict[str, Signature] = {}
        for entry in self.path.iterdir():
            name = entry.name
            if name.startswith(".") or name.endswith(UNFINISHED):
                continue
            signature = signature_of(entry)
            if signature is not None and signature[1] > 0:
                present[name] = signature
        unchanged = [
            name
            for name, signature in present.items()
            if self._seen.get(name) == signature and self._stuck.get(name) != signature
        ]
        self._seen = present
        return [self.path / name for name in sorted(unchanged, key=lambda name: (present[name][2], name))]

    def is_unchanged(self, path: Path) -> bool:
        """Say that the file is still there and as the last look found it."""
        return path.name in self._seen and signature_of(path) == self._seen[path.name]

    def leave(self, path: Path) -> None:
        """Do not offer this file again until it changes."""
        if path.name in self._seen:
            self._stuck[path.name] = self._seen[path.name]

    def put_away(self, path: Path, *, into: str) -> Path:
        """Move a file to `done` or `failed` under its own name, or usage-2.csv where that is taken; raises OSError."""
        stem, dot, suffixes = path.name.partition(".")
        number = 1
        while True:
            name = path.name if number == 1 else f"{stem}-{number}{dot}{suffixes}"
            target = self.path / into / name
            try:
                # Whoever makes the name owns it, so nothing that lies there already is overwritten.
                os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            except FileExistsError:
                number += 1
                continue
            try:
                path.replace(target)
            except OSError:
                target.unlink(missing_ok=True)
                raise
            return target


def signature_of(path: Path) -> Signature | None:
    """Return inode, size and time of a regular file; None where there is none."""
    try:
        if not path.is_file():
            return None
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
