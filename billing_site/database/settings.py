"""The `DATABASES` entry: any PostgreSQL that `DATABASE_URL` names, otherwise the project's own in the data folder."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import environ

EMBEDDED_ENGINE = "billing_site.database.postgresql"
EMBEDDED_DATABASE = "billing"
EMBEDDED_USER = "billing"
CONNECTION_LIFE_SECONDS = 60


def database_settings(*, database_url: str, data_dir: Path) -> dict[str, Any]:
    """Return the entry for Django's `DATABASES["default"]`.

    Nothing is started or even looked at here: the embedded server starts with the first connection.
    `database_url` is empty for the embedded server; `data_dir` is where that one keeps everything.
    Raises ValueError, without repeating the URL's password, where the URL does not name a PostgreSQL.
    """
    reuse = {"CONN_MAX_AGE": CONNECTION_LIFE_SECONDS, "CONN_HEALTH_CHECKS": True}
    if not database_url:
        return {
            "ENGINE": EMBEDDED_ENGINE,
            "NAME": EMBEDDED_DATABASE,
            "USER": EMBEDDED_USER,
            "EMBEDDED_DATA_DIR": str(data_dir.resolve()),
            **reuse,
        }

    if not re.match(r"(postgres|postgresql|psql|pgsql)://", database_url):
        raise ValueError(
            "DATABASE_URL must start with postgresql:// (the product runs on PostgreSQL 15 or newer only)."
        )
    named: dict[str, Any] = dict(environ.Env.db_url_config(database_url))
    if not named.get("NAME"):
        raise ValueError("DATABASE_URL names no database: postgresql://user:password@host:5432/DATABASE")
    socket_folder = re.match(r"\w+://(?:[^@/]*@)?(%2F[^:/?]+)", database_url, re.IGNORECASE)
    if socket_folder:
        named["HOST"] = unquote(socket_folder.group(1))
    named["ENGINE"] = "django.db.backends.postgresql"
    return {**reuse, **named}
