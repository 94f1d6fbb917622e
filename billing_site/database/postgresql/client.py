"""`manage.py dbshell`: the psql that belongs to the server."""

from collections.abc import Iterable

from django.db.backends.postgresql import client

from billing_site.database.binaries import find_binaries


class DatabaseClient(client.DatabaseClient):
    """psql on the embedded server's socket."""

    def runshell(self, parameters: Iterable[str]) -> None:
        """Join the server for as long as psql runs."""
        server = self.connection.embedded_server  # type: ignore[attr-defined]
        address = server.join()
        self.executable_name = find_binaries(cluster_major=server.layout.cluster_major()).path("psql")
        self.connection.settings_dict = {
            **self.connection.settings_dict,
            "HOST": address["host"],
            "PORT": address["port"],
        }
        super().runshell(parameters)
