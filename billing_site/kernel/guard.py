"""Guards: triggers of the database that nobody's session can talk out of their duty."""

from dataclasses import dataclass
from typing import Any

import pgtrigger
from django.db import models
from pgtrigger import compiler


class GuardSql(compiler.UpsertTriggerSql):
    """The SQL of a guard: pgtrigger's, without the question whether a session setting says to ignore it.

    pgtrigger's own triggers step aside for `SET pgtrigger.ignore`, which any session may say. Migrations
    refer to this class: a changed template is a new class.
    """

    def get_template(self) -> str:
        """Return the template that pgtrigger fills."""
        return """
            CREATE OR REPLACE FUNCTION {pgid}() RETURNS TRIGGER AS $$
                {declare}
                BEGIN
                    {func}
                END;
            $$ LANGUAGE plpgsql;
            DROP TRIGGER IF EXISTS {pgid} ON {table};
            CREATE {constraint} TRIGGER {pgid}
                {when} {operation} ON {table} {timing} {referencing}
                FOR EACH {level} {condition} EXECUTE PROCEDURE {execute};
            COMMENT ON TRIGGER {pgid} ON {table} IS '{hash}';
        """


@dataclass(frozen=True)
class Carving:
    """Which rows of a table are in stone, and which of their columns may move nevertheless.

    `closed` is an SQL condition on the row `{row}`, without locks: what finds changes afterwards asks it, too.
    """

    closed: str
    free_columns: tuple[str, ...] = ()


# How PostgreSQL keeps at which rows, when and upon what a trigger fires (pg_trigger.tgtype).
FIRES = {"ROW": 1, "BEFORE": 2, "INSERT": 4, "DELETE": 8, "UPDATE": 16, "TRUNCATE": 32}


class Guard(pgtrigger.Trigger):
    """A trigger that guards rows, whoever asks and whatever his session is set to.

    `carving` says of a guard that carves rows in stone which rows and columns these are.
    """

    def __init__(self, *, carving: Carving | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.carving = carving

    def compile(self, model: type[models.Model]) -> compiler.Trigger:
        """Return the trigger with the guard's SQL."""
        compiled = super().compile(model)
        arguments: dict[str, Any] = {
            name: value for name, value in compiled.sql.kwargs.items() if name != "ignore_func_name"
        }
        return compiler.Trigger(name=compiled.name, sql=GuardSql(**arguments))

    def source(self, model: type[models.Model]) -> str:
        """Return the body of the guard's function as PostgreSQL keeps it."""
        return str(self.compile(model).install_sql).split("$$")[1]

    def fires(self, model: type[models.Model]) -> str:
        """Return when it fires as PostgreSQL keeps it, as one text: its type, of how many columns it sees updates alone, whether it waits for the commit."""
        told = self.compile(model).sql.kwargs
        operation, _, columns = str(told["operation"]).partition(" OF ")
        words = {str(told["level"]), str(told["when"]), *operation.replace(" OR ", " ").split()}
        of = str(columns.count(",") + 1) if columns else ""
        return f"({sum(FIRES.get(word, 0) for word in words)},{of},{'t' if 'DEFERRED' in str(told['timing']) else 'f'})"
