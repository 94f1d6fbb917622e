"""The digest of a report's figures: what it says without the names that may change later, whatever the order of its rows."""

from billing_site.kernel.digest import canonical, digest_of
from invoicing.reports.report import Report, Row
from invoicing.reports.tabular import amount_text, cell_text


def figures_digest(*, report: Report) -> str:
    """Return the SHA-256 of the figures of a report: equal as long as each row says the same of the same thing."""
    return digest_of(
        [
            {
                "currency": section.currency,
                "rows": sorted((_row(report, row) for row in section.rows), key=canonical),
                "totals": {key: amount_text(amount) for key, amount in section.totals.items()},
            }
            for section in report.sections
        ]
    )


def _row(report: Report, row: Row) -> dict[str, str]:
    named = (column for column in report.columns if not column.is_name)
    return {
        **{column.key: cell_text(cell) for column in named if (cell := row.cells.get(column.key)) is not None},
        # Where a name leads is the key of what has it.
        **{f"{key} of": door.key for key, door in row.doors.items()},
    }
