"""Where archives are kept, from one setting."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


def archive_storage(*, url: str, data_dir: Path) -> dict[str, Any]:
    """Return Django's description of the archive's storage: `s3://bucket/prefix`, a folder, or one in the data folder.

    S3 needs the extra `s3`; keys, region and endpoint are read by boto3 from its own environment variables.
    """
    place = urlsplit(url)
    if place.scheme == "s3":
        return {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": {
                "bucket_name": place.netloc,
                "location": place.path.strip("/"),
                "default_acl": None,
                "file_overwrite": False,
                # A file is what was written, byte by byte; nobody unpacks it on the way.
                "gzip": False,
            },
        }
    folder = url.removeprefix("file://") if url else str(data_dir / "archive")
    return {"BACKEND": "metering.archiving.folder.ArchiveFolder", "OPTIONS": {"location": folder}}
