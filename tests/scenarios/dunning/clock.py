"""PostgreSQL's clock follows the world's: what a row says of when it was written does not depend on the day on which the world is lived."""

from datetime import datetime
from typing import Any

from django.db import connection
from django.db.backends.signals import connection_created

_SETTING = "world.moment"


class DatabaseClock:
    """The moment with which the database fills in columns that say when a row was written."""

    def __init__(self, at: datetime) -> None:
        self.at = at
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT table_name, column_name FROM information_schema.columns"
                " WHERE table_schema = current_schema() AND column_default ILIKE 'statement_timestamp()'"
            )
            found = cursor.fetchall()
            assert found, "rows say when they were written"
            for table, column in found:
                table, column = map(connection.ops.quote_name, (table, column))
                moment = f"current_setting('{_SETTING}')::timestamptz"
                cursor.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {moment}")
        # A connection that was lost and made anew does not know what time it is.
        connection_created.connect(self._tell)
        self._tell()

    def turn_to(self, at: datetime) -> None:
        """Turn it."""
        self.at = at
        self._tell()

    def _tell(self, **_: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config(%s, %s, false)", [_SETTING, self.at.isoformat()])
