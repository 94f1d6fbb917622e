"""Invoice items and the lines that they become on an invoice."""

from billing_site.sandbox.stripe import store
from billing_site.sandbox.stripe.call import Call
from billing_site.sandbox.stripe.currencies import check_amount
from billing_site.sandbox.stripe.errors import invalid, missing_parameter
from billing_site.sandbox.stripe.forms import Params
from billing_site.sandbox.stripe.store import Body

LINES_ON_INVOICE = 10
# docs.stripe.com/changelog/2016-02-22/no-more-than-250-invoice-items
ITEMS_MAX = 250


def create_item(call: Call) -> Body:
    """POST /v1/invoiceitems: a line of a draft, or one that waits for the customer's next invoice."""
    params = call.params
    customer, invoice_id = params.text("customer"), params.text("invoice")
    invoice = lock_draft(invoice_id, param="invoice") if invoice_id else None
    if customer is None and invoice is None:
        raise missing_parameter("customer")
    if customer is not None:
        store.retrieve("customer", customer, param="customer")
    if invoice and customer not in (None, invoice["customer"]):
        raise invalid("The invoice belongs to another customer.", param="customer")
    currency = params.currency("currency") or (invoice["currency"] if invoice else None)
    if currency is None:
        raise missing_parameter("currency")
    if invoice and currency != invoice["currency"]:
        message = f"The invoice's currency is {invoice['currency']}; an item in {currency} cannot be added to it."
        raise invalid(message, param="currency")
    item = _item(params, currency=currency, customer=customer or (invoice or {})["customer"])
    params.refuse_the_rest()
    item = store.create("invoiceitem", {**item, "invoice": invoice["id"] if invoice else None})
    if invoice:
        store.create("line_item", _line(item))
        recount(invoice)
    call.announce("invoiceitem.created", item)
    return item


def add_lines(call: Call, invoice_id: str) -> Body:
    """POST /v1/invoices/{id}/add_lines."""
    invoice = lock_draft(invoice_id, param="id")
    lines = call.params.hashes("lines")
    if not lines:
        raise missing_parameter("lines")
    call.params.refuse_the_rest()
    items = []
    for given in lines:
        item = _item(given, currency=invoice["currency"], customer=invoice["customer"])
        given.refuse_the_rest()
        items.append({**item, "invoice": invoice["id"]})
    store.create_all("line_item", [_line(item) for item in store.create_all("invoiceitem", items)])
    recount(invoice)
    call.announce("invoice.updated", invoice)
    return invoice


def retrieve_item(call: Call, item_id: str) -> Body:
    """GET /v1/invoiceitems/{id}."""
    call.params.refuse_the_rest()
    return store.retrieve("invoiceitem", item_id)


def list_items(call: Call) -> Body:
    """GET /v1/invoiceitems, narrowed by `customer`, `invoice`, `pending`."""
    members = {name: call.params.text(name) for name in ("customer", "invoice") if name in call.params}
    if call.params.boolean("pending"):
        members["invoice"] = None
    found = store.page("invoiceitem", call.params, url="/v1/invoiceitems", members=members)
    call.params.refuse_the_rest()
    return found


def list_lines(call: Call, invoice_id: str) -> Body:
    """GET /v1/invoices/{id}/lines, in the order in which they were added."""
    store.retrieve("invoice", invoice_id)
    url = f"/v1/invoices/{invoice_id}/lines"
    found = store.page("line_item", call.params, url=url, members={"invoice": invoice_id}, oldest_first=True)
    call.params.refuse_the_rest()
    return found


def first_lines(invoice_id: str) -> Body:
    """Return the list that an invoice object carries: its first ten lines."""
    return store.page(
        "line_item",
        Params({"limit": str(LINES_ON_INVOICE)}),
        url=f"/v1/invoices/{invoice_id}/lines",
        members={"invoice": invoice_id},
        oldest_first=True,
    )


def lines_of(invoice_id: str) -> list[Body]:
    """Return every line of an invoice."""
    return store.matching("line_item", invoice=invoice_id)


def lock_draft(invoice_id: str, *, param: str) -> Body:
    """Return an invoice that may still be changed, locked."""
    invoice = store.lock("invoice", invoice_id, param=param)
    if invoice["status"] != "draft":
        message = "This invoice is no longer editable because it has been finalized."
        raise invalid(message, param=param if param != "id" else None, code="invoice_not_editable")
    return invoice


def put_on_invoice(item: Body, invoice: Body) -> Body:
    """Make a line of an item that waited; the caller recounts the invoice."""
    item["invoice"] = invoice["id"]
    store.create("line_item", _line(item))
    return store.save(item)


def recount(invoice: Body) -> Body:
    """Set a draft's amounts to the sum of its lines, which are not too many."""
    lines = lines_of(invoice["id"])
    if len(lines) > ITEMS_MAX:
        raise invalid(f"An invoice has at most {ITEMS_MAX} items.")
    total = sum(line["amount"] for line in lines)
    invoice.update({"subtotal": total, "subtotal_excluding_tax": total, "total": total, "total_excluding_tax": total})
    invoice.update({"amount_due": max(total, 0), "amount_remaining": max(total, 0)})
    return store.save(invoice)


def _item(params: Params, *, currency: str, customer: str) -> Body:
    amount = params.integer("amount")
    if amount is None:
        raise missing_parameter("amount")
    check_amount(amount, currency)
    created = store.timestamp()
    span = params.hash("period")
    period = {"start": created, "end": created}
    if span:
        start, end = span.integer("start", low=0), span.integer("end", low=0)
        if start is None or end is None or end < start:
            raise invalid("A period needs a start and an end that is not before it.", param="period[end]")
        span.refuse_the_rest()
        period = {"start": start, "end": end}
    return {
        "amount": amount,
        "currency": currency,
        "customer": customer,
        "customer_account": None,
        "date": created,
        "description": params.text("description") or None,
        "discountable": params.boolean("discountable") is not False,
        "discounts": [],
        "invoice": None,
        "livemode": False,
        "metadata": params.metadata({}),
        "net_amount": amount,
        "parent": None,
        "period": period,
        "pricing": _pricing(amount),
        "proration": False,
        "quantity": 1,
        "quantity_decimal": "1",
        "tax_rates": [],
        "test_clock": None,
    }


def _line(item: Body) -> Body:
    return {
        "amount": item["amount"],
        "currency": item["currency"],
        "description": item["description"],
        "discount_amounts": [],
        "discountable": item["discountable"],
        "discounts": [],
        "invoice": item["invoice"],
        "livemode": False,
        "metadata": item["metadata"],
        "parent": {
            "invoice_item_details": {
                "invoice_item": item["id"],
                "proration": False,
                "proration_details": {"credited_items": None},
                "subscription": None,
            },
            "subscription_item_details": None,
            "type": "invoice_item_details",
        },
        "period": item["period"],
        "pretax_credit_amounts": [],
        "pricing": item["pricing"],
        "quantity": 1,
        "quantity_decimal": "1",
        "subscription": None,
        "subtotal": item["amount"],
        "taxes": [],
    }


def _pricing(amount: int) -> Body:
    return {"price_details": None, "type": "price_details", "unit_amount_decimal": str(amount)}
