"""The backend: Django's own for PostgreSQL, which starts the embedded server with the first connection."""

from pathlib import Path
from typing import Any

import psycopg
from django.db.backends.postgresql import base

from billing_site.database.embedded import EmbeddedServer, embedded_server
from billing_site.database.postgresql.client import DatabaseClient


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection to the embedded server."""

    client_class = DatabaseClient

    @property
    def embedded_server(self) -> EmbeddedServer:
        """The server of the data folder that the settings name."""
        return embedded_server(data_dir=Path(self.settings_dict["EMBEDDED_DATA_DIR"]))

    def get_connection_params(self) -> dict[str, Any]:
        """Join the server's users and say where its socket is."""
        return {**super().get_connection_params(), **self.embedded_server.join()}

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Connect; where that fails make sure that the server runs (it may have been killed) and try once more."""
        try:
            return super().get_new_connection(conn_params)
        except psycopg.OperationalError:
            self.embedded_server.ensure_running()
            return super().get_new_connection({**conn_params, **self.embedded_server.join()})
