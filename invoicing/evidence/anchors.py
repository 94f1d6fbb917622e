"""Anchors: the head of the chains as a document that is kept where nobody of this house can change it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import connection, transaction

from billing_site.kernel.digest import digest_of
from billing_site.kernel.errors import InvalidInput
from invoicing.evidence.chain import extend_chain
from invoicing.evidence.models import Anchor, EvidenceBlock
from invoicing.invoices.models import InvoiceSeries
from invoicing.invoices.numbering import number_of

VERSION = 1
MEMBERS = {"version", "made_at", "block", "digest", "rows", "tables", "series"}
# The legal entity is not said by anchors of before there were several.
SERIES_MEMBERS = ({"prefix", "count", "seal"}, {"prefix", "count", "seal", "legal_entity"})


@transaction.atomic
def make_anchor(*, at: datetime) -> Anchor | None:
    """Take what is new into the chain and write down its head; None as long as nothing is carved.

    Two anchors may have the same head: each says that nothing came in between.
    """
    extend_chain(at=at)
    head = EvidenceBlock.objects.order_by("-number").first()
    if head is None:
        return None
    document = {
        "version": VERSION,
        "made_at": at.astimezone(UTC).isoformat(timespec="seconds"),
        "block": head.number,
        "digest": head.digest,
        "rows": head.last_row,
        "tables": _counts(through=head.last_row),
        "series": series_heads(),
    }
    return Anchor.objects.create(
        made_at=at, block_number=head.number, document=document, digest=document_digest(document=document)
    )


def anchor_of_day(*, at: datetime) -> Anchor | None:
    """Return the day's anchor, made if there is none yet, and mail it to whom ANCHOR_EMAIL names; None as long as nothing is carved."""
    day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    anchor = Anchor.objects.filter(made_at__gte=day, made_at__lte=at).order_by("-pk").first() or make_anchor(at=at)
    if anchor is not None and settings.ANCHOR_EMAIL:
        message = EmailMessage(
            subject=f"Anchor of {anchor.made_at:%Y-%m-%d}: {anchor.digest}",
            body="Keep the attached file. `manage.py verify --anchor FILE` tells whether the chains are still those that it names.\n",
            to=settings.ANCHOR_EMAIL,
        )
        message.attach(
            f"anchor-{anchor.made_at:%Y-%m-%d}.json", document_text(document=anchor.document), "application/json"
        )
        message.send()
    return anchor


def document_text(*, document: dict[str, Any]) -> str:
    """Write the document of an anchor as the file that people keep."""
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def document_digest(*, document: dict[str, Any]) -> str:
    """Return the SHA-256 by which people compare two copies of an anchor."""
    return digest_of(document)


def read_document(*, text: str) -> dict[str, Any]:
    """Read the file of an anchor; raises InvalidInput (field `anchor`) where it is something else."""
    try:
        document = json.loads(text)
        assert set(document) == MEMBERS and document["version"] == VERSION
        head = (
            document["block"],
            document["rows"],
            *document["tables"].values(),
            *(s["count"] for s in document["series"]),
        )
        assert all(isinstance(number, int) for number in head)
        assert all(set(series) in SERIES_MEMBERS for series in document["series"])
    except (ValueError, TypeError, KeyError, AttributeError, AssertionError) as problem:
        raise InvalidInput(f"is no anchor of version {VERSION}", field="anchor") from problem
    assert isinstance(document, dict)
    return document


def anchor_faults(*, document: dict[str, Any]) -> Iterator[str]:
    """Yield how the chains differ from what an anchor says of them; they may have grown since."""
    block = EvidenceBlock.objects.filter(number=document["block"]).first()
    if block is None:
        yield f"block {document['block']}, which it names, is not there"
    elif (block.digest, block.last_row) != (document["digest"], document["rows"]):
        yield f"block {block.number} has another digest: the chain was written anew"
    counts = _counts(through=document["rows"])
    for table, count in document["tables"].items():
        if counts.get(table, 0) != count:
            yield f"{count} rows of {table} were in the chain, now {counts.get(table, 0)} of them are"
    yield from series_faults(series=document["series"])


def series_faults(*, series: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the series whose documents are not those whose heads were written down (`series_heads`)."""
    seals = {(prefix, count): seal for prefix, count, seal in _seals(series)}
    for one in series:
        if seals.get((one["prefix"], one["count"])) != one["seal"]:
            yield f"document {one['count']} of series {one['prefix']} is not there, or has another seal"
    sellers = dict(InvoiceSeries.objects.values_list("prefix", "legal_entity"))
    for one in series:
        told, now = one.get("legal_entity"), sellers.get(one["prefix"])
        if told is not None and now is not None and told != now:
            yield f"series {one['prefix']} was of legal entity {told}, and is of {now}"


def series_heads() -> list[dict[str, Any]]:
    """Return of each series of numbers whose it is, how many documents it has, and the seal of the last one."""
    return [
        {
            "legal_entity": series.legal_entity_id,
            "prefix": series.prefix,
            "count": series.next_number - 1,
            "seal": series.last_seal,
        }
        for series in InvoiceSeries.objects.exclude(next_number=1).order_by("prefix")
    ]


def _counts(*, through: int) -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, count(*) FROM invoicing_evidencerow evidence"
            " JOIN invoicing_evidenceshape shape ON shape.id = evidence.shape_id"
            " WHERE evidence.number <= %s GROUP BY 1 ORDER BY 1",
            [through],
        )
        return dict(cursor.fetchall())


def _seals(series: list[dict[str, Any]]) -> Iterator[tuple[str, int, str]]:
    named = {one["prefix"]: one["count"] for one in series}
    for known in InvoiceSeries.objects.filter(prefix__in=named):
        count = named[known.prefix]
        number = number_of(series=known, ordinal=count)
        sealed = known.invoices.filter(number=number).values_list("seal", flat=True)
        for seal in sealed.union(known.credit_notes.filter(number=number).values_list("seal", flat=True), all=True):
            yield known.prefix, count, seal
