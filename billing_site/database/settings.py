"""The `DATABASES` entry: any PostgreSQL that `DATABASE_URL` names, otherwise the project's own in the data folder."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import environ

EMBEDDED_ENGINE = "billing_site.database.postgresql"
EMBEDDED_DATABASE = "billing"
EMBEDDED_USER = "billing"
EMBEDDED_APPLICATION_USER = "billing_application"
OWNER, APPLICATION = "owner", "application"
CONNECTION_LIFE_SECONDS = 60
SERVER = ("HOST", "PORT", "NAME")


def database_settings(
    *, database_url: str, data_dir: Path, application_url: str = "", role: str = OWNER
) -> dict[str, Any]:
    """Return the entry for Django's `DATABASES["default"]`.

    Nothing is started or even looked at here: the embedded server starts with the first connection.
    `database_url` is empty for the embedded server; `data_dir` is where that one keeps everything. `role` says as whom this
    process connects: as the owner, who migrates, or as the application, which owns nothing. `application_url` names the
    latter's login at the server of `database_url`; without it the application is the owner there.
    Raises ValueError, without repeating the URL's password, where a URL does not name a PostgreSQL.
    """
    if role not in (OWNER, APPLICATION):
        raise ValueError(f"DATABASE_ROLE must be {OWNER} or {APPLICATION}.")
    if application_url and not database_url:
        raise ValueError("DATABASE_APPLICATION_URL without DATABASE_URL: the embedded server has its own two roles.")
    reuse = {"CONN_MAX_AGE": CONNECTION_LIFE_SECONDS, "CONN_HEALTH_CHECKS": True}
    if not database_url:
        return {
            "ENGINE": EMBEDDED_ENGINE,
            "NAME": EMBEDDED_DATABASE,
            "USER": EMBEDDED_USER if role == OWNER else EMBEDDED_APPLICATION_USER,
            "EMBEDDED_DATA_DIR": str(data_dir.resolve()),
            **reuse,
        }

    named = _named(url=database_url, name="DATABASE_URL")
    if application_url:
        application = _named(url=application_url, name="DATABASE_APPLICATION_URL")
        if [application.get(key) for key in SERVER] != [named.get(key) for key in SERVER]:
            raise ValueError("DATABASE_APPLICATION_URL must name the host, port and database that DATABASE_URL names.")
        if role == APPLICATION:
            named = application
    return {**reuse, **named}


def application_user(*, database_url: str, application_url: str) -> str:
    """Return the login of web and worker; empty where they connect as the owner."""
    if not database_url:
        return EMBEDDED_APPLICATION_USER
    return str(_named(url=application_url, name="DATABASE_APPLICATION_URL")["USER"]) if application_url else ""


def _named(*, url: str, name: str) -> dict[str, Any]:
    if not re.match(r"(postgres|postgresql|psql|pgsql)://", url):
        raise ValueError(f"{name} must start with postgresql:// (the product runs on PostgreSQL 15 or newer only).")
    named: dict[str, Any] = dict(environ.Env.db_url_config(url))
    if not named.get("NAME"):
        raise ValueError(f"{name} names no database: postgresql://user:password@host:5432/DATABASE")
    socket_folder = re.match(r"\w+://(?:[^@/]*@)?(%2F[^:/?]+)", url, re.IGNORECASE)
    if socket_folder:
        named["HOST"] = unquote(socket_folder.group(1))
    named["ENGINE"] = "django.db.backends.postgresql"
    return named
