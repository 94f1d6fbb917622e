"""A folder as the archive: a file stands there whole or not at all."""

import os
from pathlib import Path
from typing import Any

from django.core.files.base import File
from django.core.files.storage import FileSystemStorage


class ArchiveFolder(FileSystemStorage):
    """Django's folder storage, with files written under a temporary name and renamed once they are on the disk.

    Without that a crash would leave half a file under the name of a whole one. Readable by its owner only:
    usage is nobody else's business.
    """

    def __init__(self, location: str | None = None, **options: Any) -> None:
        super().__init__(
            location=location, **({"file_permissions_mode": 0o600, "directory_permissions_mode": 0o700} | options)
        )

    def _save(self, name: str, content: File[Any]) -> str:
        whole = Path(self.path(name))
        whole.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = whole.with_name(f".{whole.name}.unfinished")
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            for chunk in content.chunks():
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(whole)
        folder = os.open(whole.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return name
