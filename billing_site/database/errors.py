"""What can go wrong with the embedded PostgreSQL; each message says what to do."""

from django.db.utils import OperationalError

OTHER_DATABASE = "Or set DATABASE_URL to a PostgreSQL 15 or newer: postgresql://user:password@host:5432/database"


class EmbeddedDatabaseError(OperationalError):
    """The embedded PostgreSQL cannot be used; to callers it is a database that cannot be reached."""

    def __init__(self, message: str) -> None:
        super().__init__(f"{message}\n{OTHER_DATABASE}")


class DatabaseInUseError(Exception):
    """The server was to be stopped, but other processes use it; `pids` names those that the system tells of."""

    def __init__(self, *, pids: tuple[int, ...]) -> None:
        super().__init__(f"the embedded PostgreSQL is in use by {len(pids) or 'other'} processes")
        self.pids = pids


class ApplicationRoleError(OperationalError):
    """The role as which web and worker are to connect is not there."""

    def __init__(self, *, role: str) -> None:
        super().__init__(
            f"DATABASE_APPLICATION_URL names the role {role}, which this server does not have.\n"
            f"Make it, for example in psql: CREATE ROLE \"{role}\" LOGIN PASSWORD '...';"
        )
