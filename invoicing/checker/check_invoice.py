#!/usr/bin/env python3
"""Check an invoice against the usage events behind it, offline: one file, Python 3.10 or newer, no packages.

    python3 check_invoice.py invoice.json events.ndjson        (or events.ndjson.gz)
    python3 check_invoice.py invoice.json --inclusion proof.json

invoice.json is the invoice's proof document, events.ndjson its event file. The first call hashes every event into the Merkle tree
(RFC 9162) whose root stands on the invoice, counts and adds the events up again as each line's meter says, prices the quantities again
tier by tier, and adds the lines up. Numbers are exact: Decimal and fractions, never floating point. It says "equal" (exit status 0) or
the first difference (1); a file that it cannot read is 2. What it cannot check it names: "not checked". The second call checks that one
event stands in the tree. Compare the root that it prints with the one on the PDF; whether an event of yours is missing altogether is
what your own records tell: look for its idempotency_key in the event file.

Quantities it checks: sum, count, max, min, latest, average, unique_count. Not time_weighted_sum, which goes on from events of earlier
periods. Prices: all models. Not checked are adjustments (minimum spend, discounts, commitments, credit) and taxes, but for the sums.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Iterable, Iterator
from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from hashlib import sha256
from math import ceil
from pathlib import Path
from typing import Any

EXACT = Context(prec=100)
ZERO = Decimal(0)
SIZES = ("below", "between", "above")


class Different(Exception):
    """Something is not what the invoice says."""


class Unreadable(Exception):
    """A file is not what it should be."""


class Number(str):
    """A number of JSON with the digits that it was written with."""


# --- Merkle trees, as RFC 9162 (2.1) has them ---


def leaf_hash(line: bytes) -> bytes:
    """Return the hash of an event's line."""
    return sha256(b"\x00" + line).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash over two others."""
    return sha256(b"\x01" + left + right).digest()


class Tree:
    """Keeps only the roots of its whole subtrees: memory does not grow with the events."""

    def __init__(self) -> None:
        self.count = 0
        self.peaks: list[bytes] = []

    def add(self, line: bytes) -> None:
        """Add an event."""
        node, place = leaf_hash(line), self.count
        while place & 1:
            node, place = node_hash(self.peaks.pop(), node), place >> 1
        self.peaks.append(node)
        self.count += 1

    def root(self) -> str:
        """Return the hash over all events."""
        if not self.peaks:
            return sha256(b"").hexdigest()
        node = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            node = node_hash(peak, node)
        return node.hex()


def check_inclusion(invoice: Any, proof: Any) -> str:
    """Check that an event stands in its line's tree (RFC 9162, 2.1.3.2), and the line in the invoice's."""
    line = next((one for one in invoice["lines"] if one["position"] == proof["line"] and one["events"]), None)
    if line is None or proof["number"] != invoice["number"]:
        raise Different(f"the invoice has no line {proof['line']} that counts events of invoice {proof['number']}")
    index, last = int(proof["index"]), int(proof["count"]) - 1
    if not 0 <= index <= last or last + 1 != line["events"]["count"]:
        raise Different(f"event {index + 1} of {last + 1} is not among the {line['events']['count']} of the line")
    node = leaf_hash(proof["event"].encode())
    for beside in map(bytes.fromhex, proof["path"]):
        if last == 0:
            raise Different("the way to the root is too long")
        if index & 1 or index == last:
            node = node_hash(beside, node)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            node = node_hash(node, beside)
        index, last = index >> 1, last >> 1
    if last or node.hex() != line["events"]["root"]:
        raise Different(f"line {line['position']}: the event is not in the tree whose root is {line['events']['root']}")
    check_root_of_invoice(invoice)
    return f"line {line['position']}: the event is number {proof['index'] + 1} of {proof['count']}"


def check_root_of_invoice(invoice: Any) -> None:
    """Check the root over the roots of the lines."""
    tree = Tree()
    for line in invoice["lines"]:
        if line["events"] and line["events"]["root"]:
            events = line["events"]
            leaf = {"line": line["position"], "meter": events["meter"]["key"], "count": events["count"]}
            text = json.dumps(
                {**leaf, "root": events["root"]}, sort_keys=True, separators=(",", ":"), ensure_ascii=False
            )
            tree.add(text.encode())
    if tree.count and tree.root() != invoice["events_root"]:
        raise Different(f"the lines' events have the root {tree.root()}, the invoice says {invoice['events_root']}")


# --- Events: which count, how much, what they come to ---


def text_of(value: Any) -> str | None:
    """Return a property as text, as PostgreSQL's ->> does."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False)


class Counter:
    """What the events of one line come to, by its meter and as its price asks for."""

    def __init__(self, meter: Any, price: Any) -> None:
        self.meter, self.price = meter, price
        self.kind = meter["aggregation"]
        self.count, self.sum = 0, ZERO
        self.largest: Decimal | None = None
        self.least: Decimal | None = None
        self.texts: set[str] = set()
        self.latest: dict[Any, tuple[str, int, Decimal]] = {}
        self.groups: dict[tuple[str | None, ...], Decimal] = {}
        self.sizes: dict[str, tuple[int, Decimal]] = dict.fromkeys(SIZES, (0, ZERO))
        self.per_event = any(name.endswith("_per_event") for name in price)

    def add(self, event: Any) -> None:
        """Count an event; raises Different where its meter does not."""
        for name, wanted in self.meter["filters"].items():
            if self.property(event, name) not in wanted:
                raise Different(
                    f"event {event['id']} has {name} {self.property(event, name)!r}: its meter leaves it out"
                )
        value = self.value(event)
        self.count += 1
        self.sum = EXACT.add(self.sum, value)
        self.largest = value if self.largest is None else max(self.largest, value)
        self.least = value if self.least is None else min(self.least, value)
        if self.kind == "latest":
            group = tuple(self.property(event, name) for name in self.meter["dimensions"])
            now = (event["timestamp"], int(event["id"]), value)
            self.latest[group] = max(self.latest.get(group, now), now)
        if self.price.get("dimensions"):
            cell = tuple(self.property(event, name) for name in self.price["dimensions"])
            self.groups[cell] = EXACT.add(self.groups.get(cell, ZERO), value)
        if self.per_event:
            cost = exact(value) * exact(self.price["rate"]) + exact(self.price.get("fixed_amount_per_event", "0"))
            least, most = (self.price.get(f"{name}_amount_per_event") for name in ("minimum", "maximum"))
            name = "below" if least is not None and cost < exact(least) else "between"
            name = "above" if most is not None and cost > exact(most) else name
            self.sizes[name] = (self.sizes[name][0] + 1, EXACT.add(self.sizes[name][1], value))

    def property(self, event: Any, name: str) -> str | None:
        """Return a property, or the namespace, as text."""
        return (event["namespace_id"] or None) if name == "namespace_id" else text_of(event["properties"].get(name))

    def value(self, event: Any) -> Decimal:
        """Return what an event counts."""
        name = self.meter["value_property"]
        if self.kind == "count":
            return Decimal(1)
        found = self.property(event, name) if name else event["quantity"]
        if self.kind == "unique_count":
            self.texts.add(str(found))
            return Decimal(1)
        try:
            return EXACT.create_decimal(str(found))
        except ArithmeticError:
            raise Different(f"event {event['id']} has no number in {name}") from None

    def quantity(self) -> Decimal | None:
        """Return the quantity; None where the events of the period alone do not tell it."""
        if self.kind == "time_weighted_sum":
            return None
        if self.kind == "unique_count":
            return Decimal(len(self.texts))
        if self.kind == "latest":
            return max(((at, value) for at, _, value in self.latest.values()), default=("", ZERO))[1]
        if self.kind == "average":
            mean = EXACT.divide(self.sum, Decimal(self.count or 1))
            return mean.quantize(Decimal(1).scaleb(-12), rounding=ROUND_HALF_UP, context=EXACT)
        found = {"sum": self.sum, "count": Decimal(self.count), "max": self.largest, "min": self.least}[self.kind]
        return found or ZERO


def read_sections(path: Path) -> Iterator[tuple[Any, Iterator[bytes]]]:
    """Yield each section of an event file: its heading, and its lines."""
    opened: Any = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rb") as file:
        ahead = [file.readline()]

        def lines() -> Iterator[bytes]:
            ahead[0] = file.readline()
            while ahead[0] and not ahead[0].startswith(b'{"line"'):
                yield ahead[0].rstrip(b"\n")
                ahead[0] = file.readline()

        while ahead[0]:
            heading = json.loads(ahead[0])
            if not isinstance(heading, dict) or "line" not in heading:
                raise Unreadable(f'{path}: a section begins with a heading such as {{"line": 1, ...}}')
            section = lines()
            yield heading, section
            for _ in section:
                pass


def check_events(invoice: Any, line: Any, lines: Iterable[bytes]) -> Counter:
    """Hash and count the events of a line; raises Different."""
    events, tree, before = line["events"], Tree(), 0
    inputs = line["rated"]["inputs"]
    counter = Counter(events["meter"], inputs.get("charge", inputs)["price"])
    for raw in lines:
        tree.add(raw)
        event = json.loads(raw, parse_float=Number, parse_int=Number)
        number = int(event["id"])
        if number <= before:
            raise Different(f"event {number} stands after event {before}: it was moved, or stands twice")
        if number > events["known_through"]:
            raise Different(
                f"event {number} was not known then: the invoice knows events up to {events['known_through']}"
            )
        # A line of an account that is billed to another names it.
        consumer = line.get("customer_id", invoice["customer_id"])
        for name, wanted in (("customer_id", consumer), ("event_type", events["meter"]["event_type"])):
            if event[name] != wanted:
                raise Different(f"event {number} has {name} {event[name]!r}, not {wanted!r}")
        if not events["start"] <= event["timestamp"] < events["end"]:
            raise Different(f"event {number} happened at {event['timestamp']}: outside of the service period")
        counter.add(event)
        before = number
    if tree.count != events["count"]:
        raise Different(f"the file has {tree.count} events, the invoice counts {events['count']}")
    if events["root"] and tree.root() != events["root"]:
        raise Different(f"the events have the root {tree.root()}, the invoice says {events['root']}: one was changed")
    quantity = counter.quantity()
    if quantity is not None and quantity != Decimal(events["quantity"]):
        raise Different(f"the events come to {quantity:f}, the invoice says {events['quantity']}")
    return counter


def check_usage(usage: Any, counter: Counter) -> None:
    """Check what the price asks for beside the quantity: groups of a matrix, sizes of events."""
    if "by_size" in usage:
        sizes = {name: (part["count"], Decimal(part["quantity"])) for name, part in usage["by_size"].items()}
        if counter.per_event and sizes != counter.sizes:
            raise Different("the events divide by size otherwise than the invoice says")
    if "groups" in usage:
        told = {None if g["values"] is None else tuple(g["values"]): Decimal(g["quantity"]) for g in usage["groups"]}
        found: dict[Any, Decimal] = {}
        for cell, quantity in counter.groups.items():
            place = cell if cell in told else None
            found[place] = EXACT.add(found.get(place, ZERO), quantity)
        if {cell: quantity for cell, quantity in found.items() if quantity} != told:
            raise Different("the events divide by the price's dimensions otherwise than the invoice says")


# --- Prices: each model in fractions, rounded once ---


def exact(text: Any) -> Fraction:
    """Read a number."""
    return Fraction(str(text))


def rungs_of(price: Any, quantity: Fraction, carried: Fraction, share: Fraction, usage: Any) -> list[Fraction]:
    """Return what each step of the arithmetic comes to, before a minimum or maximum of the period."""
    model = price["model"]
    if model == "flat":
        return [exact(price["unit_amount"]) * share]
    if model == "per_unit":
        return [quantity * exact(price["unit_amount"])]
    if model == "package":
        size = exact(price["package_size"])
        return [(ceil((carried + quantity) / size) - ceil(carried / size)) * exact(price["package_amount"])]
    if model == "matrix":
        cells = {tuple(cell["values"]): exact(cell["unit_amount"]) for cell in price["cells"]}
        parts = {None if g["values"] is None else tuple(g["values"]): exact(g["quantity"]) for g in usage["groups"]}
        found = [parts[cell] * amount for cell, amount in cells.items() if parts.get(cell)]
        return [*found, parts[None] * exact(price["default_unit_amount"])] if parts.get(None) else found
    if model == "percentage" and "by_size" in usage:
        sizes, rate = usage["by_size"], exact(price["rate"])
        found = []
        if sizes["below"]["count"]:
            found.append(sizes["below"]["count"] * exact(price["minimum_amount_per_event"]))
        if sizes["between"]["count"] or not (sizes["below"]["count"] or sizes["above"]["count"]):
            found.append(exact(sizes["between"]["quantity"]) * rate)
        if sizes["between"]["count"] and exact(price.get("fixed_amount_per_event", "0")):
            found.append(sizes["between"]["count"] * exact(price["fixed_amount_per_event"]))
        if sizes["above"]["count"]:
            found.append(sizes["above"]["count"] * exact(price["maximum_amount_per_event"]))
        return found
    if model == "percentage":
        return [quantity * exact(price["rate"])]
    name = "rate" if model == "graduated_percentage" else "unit_amount"
    return tier_rungs(price["tiers"], name, quantity, carried, share, whole=model == "volume")


def tier_rungs(
    tiers: Any, name: str, quantity: Fraction, carried: Fraction, share: Fraction, *, whole: bool
) -> list[Fraction]:
    """Return what each tier comes to: its part of the quantity, or the `whole` in the tier that is reached."""
    found, floor, end = [], Fraction(0), carried + quantity
    for position, tier in enumerate(tiers):
        bound = None if tier["up_to"] is None else exact(tier["up_to"])
        is_last = bound is None or end <= bound
        flat = exact(tier["flat_amount"]) * share
        ceiling = end if bound is None else min(end, bound)
        if whole:
            if is_last:
                return [quantity * exact(tier[name]) + flat]
            continue
        if ceiling <= floor and position:
            break
        part = ceiling - min(max(floor, carried), ceiling)
        if part or exact(tier["flat_amount"]) or (is_last and not quantity):
            found.append(part * exact(tier[name]) + flat)
        floor = ceiling
    return found


def price_again(inputs: Any, usage: Any) -> list[Fraction]:
    """Return the steps of a charge with some usage, in exact fractions."""
    price, share = inputs["price"], exact(inputs["share"])
    quantity = exact(usage["quantity"] if usage else inputs.get("quantity", 1))
    carried, free_units = exact((usage or {}).get("carried", "0")), exact(price.get("free_units", "0"))
    free_before = min(free_units, carried)
    rest = quantity - min(free_units - free_before, quantity)
    rungs = rungs_of(price, rest, carried - free_before, share, usage or {})
    if price["model"] == "flat":
        rungs = [rung * inputs.get("quantity", 1) for rung in rungs]
    amount = sum(rungs, Fraction(0))
    least, most = price.get("minimum_amount"), price.get("maximum_amount")
    if least is not None:
        rungs += [exact(least) * share - amount] if amount < exact(least) * share else []
    if most is not None:
        rungs += [exact(most) * (share or 1) - amount] if amount > exact(most) * (share or 1) else []
    return rungs


def rounded(amount: Fraction, decimals: int) -> Decimal:
    """Round halves away from zero."""
    scaled = abs(amount) * 10**decimals
    units = (scaled + Fraction(1, 2)).__floor__() * (1 if amount >= 0 else -1)
    return Decimal(units).scaleb(-decimals)


def check_price(line: Any, decimals: int) -> bool:
    """Price a line again; False where it is none of those that are checked. Raises Different."""
    rated, amount = line["rated"], Decimal(line["amount"]["amount"])
    inputs, kind = rated["inputs"], rated["inputs"].get("kind")
    if kind in ("adjustment", "adjustment_correction"):
        return False
    if kind == "correction":
        before, after = (
            rounded(sum(price_again(inputs["charge"], inputs[name]), Fraction(0)), decimals)
            for name in ("before", "after")
        )
        rest = after - before - Decimal(inputs["taken"]["amount"])
        # What the customer gets back may go to several invoices.
        if not (rest == amount or rest <= amount < 0):
            raise Different(
                f"it costs {after} now and {before} before, of which {rest} are left: the line says {amount}"
            )
        return True
    steps = [exact(step["exact_amount"]) for step in rated["steps"]]
    again = (
        price_again(inputs, inputs["usage"])
        if kind is None
        else [exact(inputs["quantity"]) * exact(inputs["unit_amount"])]
    )
    for place, (told, found) in enumerate(zip(steps, again, strict=False), start=1):
        if told != found:
            raise Different(f"step {place} comes to {found}, the invoice says {told}")
    total = sum(again, Fraction(0))
    if len(steps) != len(again) or total != exact(rated["unrounded_amount"]) or rounded(total, decimals) != amount:
        raise Different(f"it comes to {total}, rounded {rounded(total, decimals)}: the invoice says {amount}")
    return True


# --- The invoice as a whole ---


def check_invoice(invoice: Any, events: Path) -> Iterator[str]:
    """Check everything, and yield what was found line by line; raises Different."""
    check_root_of_invoice(invoice)
    counters = {}
    metered = {line["position"]: line for line in invoice["lines"] if line["events"]}
    for heading, lines in read_sections(events):
        position = heading["line"]
        if position not in metered or position in counters:
            raise Different(f"the file has events of line {position}, which the invoice does not have, or twice")
        counters[position] = in_line(position, check_events, invoice, metered[position], lines)
    for line in invoice["lines"]:
        yield in_line(line["position"], check_line, invoice, line, counters)
    amounts = sum((Decimal(line["amount"]["amount"]) for line in invoice["lines"]), ZERO)
    if amounts != Decimal(invoice["subtotal"]["amount"]):
        raise Different(f"the lines add up to {amounts}, the invoice says {invoice['subtotal']['amount']}")
    tax = invoice["tax_added"]
    total = amounts + Decimal(tax["amount"]) if tax else amounts
    if total != Decimal(invoice["total"]["amount"]):
        raise Different(f"lines and tax add up to {total}, the invoice says {invoice['total']['amount']}")
    if tax:
        yield f"tax on top of the lines: {tax['amount']}, its rates are not checked"


def check_line(invoice: Any, line: Any, counters: dict[int, Counter]) -> str:
    """Check a line with what its events came to, and say what was found."""
    told, inputs = [], line["rated"]["inputs"]
    if line["events"]:
        counter = counters.get(line["position"])
        if counter is None:
            raise Different("the file has no section with its events")
        usage = inputs["after"] if "after" in inputs else inputs["usage"]
        if usage["quantity"] != line["events"]["quantity"] or usage["event_count"] != line["events"]["count"]:
            raise Different("it was priced with another quantity than its events come to")
        check_usage(usage, counter)
        told.append(f"{counter.count} events, {line['events']['quantity']} {line['events']['meter']['aggregation']}")
        if counter.quantity() is None:
            told.append("quantity not checked")
        told.append(f"root {line['events']['root']}" if line["events"]["root"] else "it has no root: not checked")
    told.append("price equal" if check_price(line, invoice["decimals"]) else "amount of the adjustment not checked")
    return f"line {line['position']} {line['description']}: {', '.join(told)}, {line['amount']['amount']}"


def in_line(position: int, check: Any, *parts: Any) -> Any:
    """Let a difference say in which line it is."""
    try:
        return check(*parts)
    except Different as difference:
        raise Different(f"line {position}: {difference}") from None


def main(arguments: list[str] | None = None) -> int:
    """Read the files, say what was found, and return the exit status."""
    parser = argparse.ArgumentParser(description="Check an invoice against its usage events, offline.")
    parser.add_argument("invoice", type=Path)
    parser.add_argument("events", type=Path, nargs="?")
    parser.add_argument("--inclusion", type=Path)
    chosen = parser.parse_args(arguments)
    if (chosen.events is None) == (chosen.inclusion is None):
        parser.error("name the event file, or --inclusion with a proof")
    try:
        invoice = json.loads(chosen.invoice.read_text(encoding="utf-8"))
        if chosen.inclusion:
            print(check_inclusion(invoice, json.loads(chosen.inclusion.read_text(encoding="utf-8"))))
        else:
            for found in check_invoice(invoice, chosen.events):
                print(found)
    except Different as difference:
        print(f"DIFFERENT: {difference}")
        return 1
    except (
        Unreadable,
        OSError,
        EOFError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
    ) as problem:
        print(f"CANNOT READ: {type(problem).__name__} {problem}", file=sys.stderr)
        return 2
    print(f"equal: invoice {invoice['number']}, root of its events {invoice['events_root'] or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
