"""`manage.py import_bank_statement`: a bank statement from a file, and what of it settles by itself."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from invoicing.bank.models import BankFile
from invoicing.bank.queries import open_lines
from invoicing.core.bank.csv_statement import LAYOUTS
from invoicing.workflows.import_bank_statement import Upload, import_bank_statement, look_at_upload
from invoicing.workflows.match_bank_lines import settle_certain_lines


class Command(BaseCommand):
    """Import a bank statement."""

    help = (
        "Import a bank statement: CAMT.053, or CSV by a layout. A file, or one that overlaps it, may be imported again:"
        " each line is taken in once. Exit 1 where the file is wrong; nothing of it is taken in then."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--format", choices=BankFile.Format.values, default=BankFile.Format.CAMT053.value)
        parser.add_argument("--layout", choices=sorted(LAYOUTS), default="standard", help="how a CSV is written")
        parser.add_argument(
            "--map",
            action="append",
            default=[],
            metavar="FIELD=COLUMN",
            help="another column for a field (text=Memo), a constant (account==DE02100100109307118603), or another way of"
            " writing (decimal=, date=%%d.%%m.%%Y delimiter=semicolon encoding=cp1252)",
        )
        parser.add_argument(
            "--legal-entity",
            default="",
            metavar="KEY",
            help="whose account it is, where that is new and there are several",
        )
        parser.add_argument("--actor", default="import_bank_statement", help="who imports it, as it is kept")
        parser.add_argument("--dry-run", action="store_true", help="say what it would do, and change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        """Import and print one line a statement; raises CommandError for what is wrong."""
        path: Path = options["file"]
        pairs = [one.partition("=") for one in options["map"]]
        if any(not mark for _, mark, _ in pairs):
            raise CommandError("--map is written FIELD=COLUMN")
        changes = {name: column for name, _, column in pairs}
        try:
            content, of = path.read_bytes(), options["legal_entity"]
            upload = Upload(path.name, options["format"], content, options["layout"], changes, of)
            if options["dry_run"]:
                self._look(upload)
            else:
                self._import(upload, actor=options["actor"])
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror or error}") from None
        except BillingError as error:
            raise CommandError(f"nothing was taken in: {error.message}") from None

    def _look(self, upload: Upload) -> None:
        for looked in look_at_upload(upload=upload):
            first = ", the first of this account" if looked.is_first else ""
            of = f"{looked.statement.account} {looked.statement.currency}{first}"
            self.stdout.write(f"would take in: {of}: {len(looked.new)} new lines, {looked.known_count} known")
            for remark in looked.statement.remarks:
                self.stdout.write(f"  {remark}")

    def _import(self, upload: Upload, *, actor: str) -> None:
        imported = import_bank_statement(upload=upload, at=now(), actor=actor)
        if not imported.is_new:
            self.stdout.write(f"imported already, {imported.file.imported_at:%Y-%m-%d %H:%M} UTC: nothing is new")
        for statement in imported.statements:
            new = statement.line_count - statement.known_count
            self.stdout.write(f"{statement}: {new} new lines, {statement.known_count} known")
            for remark in statement.remarks:
                self.stdout.write(f"  {remark}")
        settled = settle_certain_lines(file_id=imported.file.pk, at=now())
        left = open_lines().filter(statement__file=imported.file).count()
        self.stdout.write(f"settled {settled}, to look at {left}")
