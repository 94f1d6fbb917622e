"""What the tests of the archive share: a folder of their own, and months of the past."""

from pathlib import Path
from typing import Any

import pytest

from metering.archiving.location import archive_storage


@pytest.fixture(autouse=True)
def archive_folder(settings: Any, tmp_path: Path) -> Path:
    """Keep the archive of one test apart."""
    folder = tmp_path / "archive"
    settings.STORAGES = {**settings.STORAGES, "archive": archive_storage(url=str(folder), data_dir=tmp_path)}
    return folder
