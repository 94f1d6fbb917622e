"""German, as finance departments write it: each phrase by its English one, grouped by where it is printed.

A credit note is no "Gutschrift": in § 14 UStG that is an invoice which the customer writes.
"""

from typing import Final

from invoicing.core.languages.language import Language

PAGE: Final = {
    "Invoice": "Rechnung",
    "Draft invoice": "Rechnungsentwurf",
    "Progressive invoice": "Abschlagsrechnung",
    "Used in": "Genutzt im Zeitraum",
    "The billing period runs until {day}. Its invoice charges all of it, and takes this invoice off.": (
        "Der Abrechnungszeitraum läuft bis {day}. Seine Schlussrechnung berechnet ihn im Ganzen und zieht diese Abschlagsrechnung ab."
    ),
    "Credit note": "Rechnungskorrektur",
    "not yet issued": "noch nicht ausgestellt",
    "Issued": "Ausgestellt",
    "Paid": "Bezahlt",
    "Void": "Storniert",
    "VOID": "STORNO",
    "DRAFT": "ENTWURF",
    "Logo": "Logo",
    "Billed to": "Rechnungsempfänger",
    "Tax ID {number}": "USt-IdNr./St.-Nr. {number}",
    "Proof {digest}": "Nachweis {digest}",
    "Description": "Bezeichnung",
    "Quantity": "Menge",
    "Unit price": "Einzelpreis",
    "Amount": "Betrag",
    "continued": "Fortsetzung",
    "carried over {amount}": "Übertrag {amount}",
    "Nothing was charged for this period.": "Für diesen Zeitraum wurde nichts berechnet.",
    "{free} of them free": "davon {free} frei",
    "Due date": "Fällig am",
    "Billing period": "Abrechnungszeitraum",
    "Issue date": "Rechnungsdatum",
    "Replaces": "Ersetzt",
    "Replaced by": "Ersetzt durch",
    "{number} of {day}": "{number} vom {day}",
    "Time zone": "Zeitzone",
    "How to pay": "So bezahlen Sie",
    "Payment": "Zahlung",
    "Reference": "Verwendungszweck",
    "Please name {number} when you pay.": "Bitte geben Sie bei der Zahlung {number} an.",
    "We charge the payment method on file; where there is none, you receive a link to pay.": (
        "Wir belasten das hinterlegte Zahlungsmittel; ist keines hinterlegt, erhalten Sie einen Link zum Bezahlen."
    ),
    "Please transfer the amount due and name the invoice number.": (
        "Bitte überweisen Sie den fälligen Betrag unter Angabe der Rechnungsnummer."
    ),
    "The same document for machines (EN 16931)": "Dasselbe Dokument für Maschinen (EN 16931)",
    "This invoice rests on {count} usage {events}, under the root below (Merkle tree, RFC 9162).": (
        "Grundlage dieser Rechnung: {count} {events} der Nutzung, unter der folgenden Wurzel (Merkle-Baum, RFC 9162)."
    ),
    "This invoice rests on {count} usage {events}, counted on {lines} lines, under the root below (Merkle tree, RFC 9162).": (
        "Grundlage dieser Rechnung: {count} {events} der Nutzung, gezählt auf {lines} Positionen, unter der folgenden Wurzel"
        " (Merkle-Baum, RFC 9162)."
    ),
    "This invoice rests on usage events, counted {count} times on {lines} lines, under the root below (Merkle tree, RFC 9162).": (
        "Grundlage dieser Rechnung: Ereignisse der Nutzung, {count}-mal gezählt auf {lines} Positionen, unter der folgenden"
        " Wurzel (Merkle-Baum, RFC 9162)."
    ),
    "Its page on the web has them, and a program that checks them without us.": (
        "Ihre Seite im Web enthält sie und ein Programm, das sie ohne uns prüft."
    ),
}
SUMS: Final = {
    "Void, nothing is due": "Storniert, nichts ist zu zahlen",
    "Total so far, not yet due": "Bisheriger Betrag, noch nicht fällig",
    "In your favour": "Zu Ihren Gunsten",
    "Amount due": "Zu zahlen",
    "Credited, nothing is due": "Gutgeschrieben, nichts ist zu zahlen",
    "Paid in full, nothing is due": "Vollständig bezahlt, nichts ist zu zahlen",
    "Nothing is due": "Nichts ist zu zahlen",
    "Subtotal": "Zwischensumme",
    "Subtotal {name}": "Zwischensumme {name}",
    "All accounts": "Alle Kundenkonten",
    "Total with tax": "Gesamtbetrag mit Steuer",
    "Total": "Gesamtbetrag",
    "Credited": "Gutgeschrieben",
    "This invoice is void. Please do not pay it.": "Diese Rechnung ist storniert. Bitte bezahlen Sie sie nicht.",
    "This is a draft. Figures may still change, and nothing is due until it is issued.": (
        "Dies ist ein Entwurf. Beträge können sich noch ändern, und nichts ist zu zahlen, bevor er ausgestellt ist."
    ),
    "Please pay nothing: the amount is in your favour.": "Bitte zahlen Sie nichts: Der Betrag ist zu Ihren Gunsten.",
    "Paid in full. Thank you.": "Vollständig bezahlt. Vielen Dank.",
    "Nothing has to be paid for this period.": "Für diesen Zeitraum ist nichts zu zahlen.",
    "Nothing has to be paid for this.": "Hierfür ist nichts zu zahlen.",
}
CREDIT_NOTE: Final = {
    "Credited to you": "Ihnen gutgeschrieben",
    "Corrects invoice": "Berichtigt Rechnung",
    "Invoice date": "Rechnungsdatum",
    "Credit note date": "Korrekturdatum",
    "Before tax": "Vor Steuer",
    "Total credited": "Gutgeschrieben insgesamt",
    "Taken off the invoice": "Von der Rechnung abgezogen",
    "Kept as your credit": "Als Guthaben behalten",
    "Paid back to you": "An Sie zurückgezahlt",
    "{amount} are taken off what was open of invoice {number}.": "{amount} werden vom offenen Betrag der Rechnung {number} abgezogen.",
    "{amount} stay with us as your credit: they pay for your next invoices by themselves.": (
        "{amount} bleiben bei uns als Ihr Guthaben und werden mit Ihren nächsten Rechnungen von selbst verrechnet."
    ),
    "{amount} are paid back to you.": "{amount} werden Ihnen zurückgezahlt.",
    "Please pay nothing on this document.": "Bitte zahlen Sie auf dieses Dokument nichts.",
    "Line {line} of the invoice, over {amount}.": "Position {line} der Rechnung über {amount}.",
    "Line {line} of the invoice, over {amount}, of which reductions left {left}.": (
        "Position {line} der Rechnung über {amount}, wovon Minderungen {left} übrig ließen."
    ),
    "of {quantity} ({percent})": "von {quantity} ({percent})",
}
TAX: Final = {
    "VAT": "USt.",
    "Tax": "Steuer",
    "Sales tax": "Sales Tax",
    "reverse charge": "Reverse Charge",
    "exempt": "steuerfrei",
    "outside scope": "nicht steuerbar",
    "untaxed": "unversteuert",
    "of which {tax}": "darin {tax}",
    "{tax} on {amount}": "{tax} auf {amount}",
    "Reverse charge: VAT is to be accounted for by the recipient (Art. 44 and 196 of Directive 2006/112/EC).": (
        "Steuerschuldnerschaft des Leistungsempfängers (Reverse Charge, Art. 44 und 196 der Richtlinie 2006/112/EG)."
    ),
    "Not subject to VAT: the place of supply is where the recipient is established, outside the European Union (Art. 44 and 59 of Directive 2006/112/EC).": (
        "Nicht steuerbar: Der Leistungsort liegt beim Leistungsempfänger außerhalb der Europäischen Union"
        " (Art. 44 und 59 der Richtlinie 2006/112/EG)."
    ),
    "Interest and costs of late payment are damages, on which no tax is charged.": (
        "Zinsen und Kosten des Zahlungsverzugs sind Schadensersatz, auf den keine Steuer erhoben wird."
    ),
    "Prepaid credit is not taxed when it is sold: the services that it pays for are, when they are invoiced.": (
        "Vorausbezahltes Guthaben wird beim Verkauf nicht besteuert: Besteuert werden die damit bezahlten Leistungen, wenn sie berechnet werden."
    ),
    "Prepaid credit is not taxed when it is sold: the services that it pays for are, when they are invoiced (multi-purpose voucher, Art. 30b of Directive 2006/112/EC).": (
        "Vorausbezahltes Guthaben wird beim Verkauf nicht besteuert: Besteuert werden die damit bezahlten Leistungen, wenn sie berechnet werden"
        " (Mehrzweck-Gutschein, Art. 30b der Richtlinie 2006/112/EG)."
    ),
    "No tax is charged: the seller is not registered for tax in {place}.": (
        "Es wird keine Steuer berechnet: Der Verkäufer ist in {place} nicht steuerlich registriert."
    ),
    "Reverse charge: tax is to be accounted for by the recipient.": "Steuerschuldnerschaft des Leistungsempfängers (Reverse Charge).",
    "Not subject to tax in {place}.": "In {place} nicht steuerbar.",
    "Exempt from tax in {place}.": "In {place} steuerfrei.",
    "Corrects invoice {number}, which was issued without tax.": "Berichtigt Rechnung {number}, die ohne Steuer ausgestellt wurde.",
}
PRICES: Final = {
    "Every unit costs the same.": "Jede Einheit kostet gleich viel.",
    "Each unit is charged at the rate of the tier it falls in.": "Jede Einheit kostet den Preis ihrer Staffel.",
    "All units are charged at the rate of the tier reached.": "Alle Einheiten kosten den Preis der erreichten Staffel.",
    "Units are sold in packages; a started package counts as a whole one.": (
        "Verkauft wird in Paketen; ein angefangenes Paket zählt als ganzes."
    ),
    "A percentage of the amount is charged.": "Berechnet wird ein Prozentsatz des Betrags.",
    "Each part of the amount is charged at the percentage of its tier.": (
        "Für jeden Teil des Betrags gilt der Prozentsatz seiner Staffel."
    ),
    "Each unit is charged at the rate of the values that it was used with.": (
        "Jede Einheit kostet den Preis der Werte, mit denen sie genutzt wurde."
    ),
    "Each event is charged {percent} of its amount": "Je Ereignis {percent} seines Betrags",
    " plus {amount}": " plus {amount}",
    ", at least {amount}": ", mindestens {amount}",
    ", at most {amount}": ", höchstens {amount}",
    "Flat fee of {fee} for the billing period": "Grundbetrag von {fee} für den Abrechnungszeitraum",
    "Flat fee of {fee} for {share} of the billing period": "Grundbetrag von {fee} für {share} des Abrechnungszeitraums",
    "{count} times a flat fee of {fee} for the billing period": (
        "{count} Mal ein Grundbetrag von {fee} für den Abrechnungszeitraum"
    ),
    "{count} times a flat fee of {fee} for {share} of the billing period": (
        "{count} Mal ein Grundbetrag von {fee} für {share} des Abrechnungszeitraums"
    ),
    "First {units} {rate}": "Erste {units} {rate}",
    "Next {units} {rate}": "Nächste {units} {rate}",
    "All {units} {rate}": "Alle {units} {rate}",
    "{count} package of {size} at {price} each": "{count} Paket mit {size} zu je {price}",
    "{count} packages of {size} at {price} each": "{count} Pakete mit {size} zu je {price}",
    "{percent} of {amount}": "{percent} von {amount}",
    "{units} with {values} {rate}": "{units} ({values}) {rate}",
    "{units} with any other {names} {rate}": "{units} (sonstige {names}) {rate}",
    " and ": " und ",
    "no {name}": "ohne {name}",
    "{events} of together {units} at the minimum of {price} each": "{events} über zusammen {units} zum Mindestbetrag von je {price}",
    "{events} of together {units} at the maximum of {price} each": "{events} über zusammen {units} zum Höchstbetrag von je {price}",
    "True-up to the minimum of {amount}": "Aufstockung auf das Minimum von {amount}",
    "True-up to {share} of the minimum of {amount}": "Aufstockung auf {share} des Minimums von {amount}",
    "Capped at the maximum of {amount}": "Begrenzt auf das Maximum von {amount}",
    "Capped at {share} of the maximum of {amount}": "Begrenzt auf {share} des Maximums von {amount}",
    "at {percent}": "zu {percent}",
    "at {price} each": "zu je {price}",
    "at {price} per 1,000": "zu {price} je 1.000",
    "at {price} per million": "zu {price} je Million",
    "plus a flat fee of {fee}": "plus Grundbetrag von {fee}",
    "plus {share} of a flat fee of {fee}": "plus {share} eines Grundbetrags von {fee}",
    "for a flat fee of {fee}": "für einen Grundbetrag von {fee}",
    "for {share} of a flat fee of {fee}": "für {share} eines Grundbetrags von {fee}",
    "free of charge": "kostenlos",
    "no part": "0 %",
    "about {amount}": "etwa {amount}",
    "{used} used.": "{used} verbraucht.",
    "{used} used, {free} of them free.": "{used} verbraucht, davon {free} frei.",
    "It goes on from {before} that were used before in the same billing period.": (
        "Gezählt wird ab {before}, die zuvor im selben Abrechnungszeitraum verbraucht wurden."
    ),
    "{exact} is rounded to {rounded}.": "{exact} wird auf {rounded} gerundet.",
    "{amount} of credit that later invoices are paid with. It is there as soon as this one is paid in full": (
        "{amount} Guthaben, mit dem spätere Rechnungen bezahlt werden. Es steht bereit, sobald diese Rechnung vollständig bezahlt ist"
    ),
    ", and for {days} from then on": ", und von da an für {days}",
}
TERMS: Final = {
    "the minimum spend of {amount}": "der Mindestumsatz von {amount}",
    "{share} of the minimum spend of {amount}": "{share} des Mindestumsatzes von {amount}",
    "the maximum spend of {amount}": "der Höchstumsatz von {amount}",
    "{share} of the maximum spend of {amount}": "{share} des Höchstumsatzes von {amount}",
    "True-up to the minimum spend": "Aufstockung auf den Mindestumsatz",
    "Minimum spend, reached": "Mindestumsatz, erreicht",
    "Reduction to the maximum spend": "Minderung auf den Höchstumsatz",
    "Maximum spend, not reached": "Höchstumsatz, nicht erreicht",
    "{rest} are missing to it": "es fehlen {rest}",
    "it is reached": "das ist erreicht",
    "{rest} above it are not charged": "{rest} darüber werden nicht berechnet",
    "it is not exceeded": "das ist nicht überschritten",
    "The charges come to {spent}. Agreed is {bound}: {so}.": "Die Entgelte ergeben {spent}. Vereinbart ist {bound}: {so}.",
    "Discount {name}": "Rabatt {name}",
    "It applies from {least}; what it reduces comes to {left}.": "Er gilt ab {least}; was er mindert, beträgt {left}.",
    "There is nothing left that it could reduce.": "Es ist nichts übrig, was er mindern könnte.",
    "{percent} of {left} are taken off.": "{percent} von {left} werden abgezogen.",
    "Of {whole} only {off} are taken off: no more is left to reduce.": "Von {whole} werden nur {off} abgezogen: Mehr ist nicht übrig.",
    "It was decided by hand, and stays what it came to when it was first issued: {amount}, but no more off than is left.": "Es wurde von Hand entschieden und bleibt, was es bei der ersten Ausstellung ausmachte: {amount}, aber nie mehr Abzug, als übrig ist.",
    "{off} are taken off {left}.": "{off} werden von {left} abgezogen.",
    "Decided by hand": "Von Hand festgelegt",
    "The line that it changes is not on this invoice: nothing is changed.": "Die Position, die geändert wird, steht nicht auf dieser Rechnung: Nichts wird geändert.",
    "In place of {left} the line comes to {asked}.": "Anstelle von {left} werden für die Position {asked} berechnet.",
    "{asked} are added.": "{asked} werden hinzugerechnet.",
    "Nothing is taken off": "Nichts wird abgezogen",
    "{off} off {left}": "{off} von {left} ab",
    "Promotional credit: {name}": "Werbeguthaben: {name}",
    "Prepaid credit": "Vorausbezahltes Guthaben",
    "Prepaid credit: {name}": "Vorausbezahltes Guthaben: {name}",
    "Of {balance} that were left, {paid} pay for this invoice; {rest} stay.": (
        "Von {balance} Restguthaben bezahlen {paid} diese Rechnung; {rest} bleiben."
    ),
    "{paid} of {balance} pay for {amount}": "{paid} von {balance} bezahlen {amount}",
    "Invoiced in advance": "Im Voraus berechnet",
    "{taken} of these charges are invoiced already": "{taken} dieser Entgelte sind bereits berechnet",
    "Credit from fees invoiced in advance": "Gutschrift aus im Voraus berechneten Entgelten",
    "{taken} of this invoice are invoiced already": "{taken} dieser Rechnung sind bereits berechnet",
    "; {left} are left": "; {left} bleiben übrig",
    "Already invoiced with {number}": "Bereits berechnet mit {number}",
    "{taken} were invoiced with {number} while the period ran": "{taken} wurden während des Zeitraums mit {number} berechnet",
    "Of {held} that were invoiced with {number}": "Von {held}, die mit {number} berechnet wurden",
    "{quantity} were used so far, for {amount}": "{quantity} wurden bisher genutzt, für {amount}",
    "{amount} so far": "{amount} bisher",
    "Less {amount} that reductions and credit take off": "Abzüglich {amount} durch Minderungen und Guthaben",
    "Less {amount} that were invoiced before": "Abzüglich {amount}, die bereits berechnet wurden",
    "Less {amount} that are left for the end of the period": "Abzüglich {amount}, die bis zum Ende des Zeitraums offen bleiben",
    "Of {held} that were invoiced in advance": "Von {held}, die im Voraus berechnet wurden",
    "{fees} are owed for {span}, which is paid before it is served": "{fees} sind für {span} zu zahlen, bevor geleistet wird",
    "; {counted} of it are invoiced already": "; davon sind {counted} bereits berechnet",
    "Invoiced in advance and not used: {rest}": "Im Voraus berechnet und nicht verbraucht: {rest}",
    "In advance for {span}": "Im Voraus für {span}",
    "Committed spend, paid in advance": "Zugesagter Umsatz, im Voraus bezahlt",
    "{amount} are paid before they are used.": "{amount} werden bezahlt, bevor sie verbraucht werden.",
    "Commitment, paid in advance": "Zusage, im Voraus bezahlt",
    "Drawn from the commitment, of which {available} were left": "Aus der Zusage entnommen, von der {available} übrig waren",
    "{counted} of these charges are paid already: {left} of the commitment are left.": (
        "{counted} dieser Entgelte sind bereits bezahlt: {left} der Zusage sind übrig."
    ),
    "Paid from the commitment": "Aus der Zusage bezahlt",
    "Missing to the committed spend": "Fehlbetrag zum zugesagten Umsatz",
    "{available} of the commitment were still to be spent, {counted} were: {left} are missing.": (
        "{available} der Zusage standen noch aus, {counted} wurden erreicht: Es fehlen {left}."
    ),
    "True-up to the committed spend": "Aufstockung auf den zugesagten Umsatz",
    "{amount} expire": "{amount} verfallen",
    "{amount} roll over": "{amount} werden übertragen",
    "{left} of the commitment are left at its end: {so}.": "{left} der Zusage sind an ihrem Ende übrig: {so}.",
    "End of the commitment": "Ende der Zusage",
    "{excess} are beyond the commitment and cost {percent} of their list price.": (
        "{excess} liegen über der Zusage und kosten {percent} ihres Listenpreises."
    ),
    "Nothing is beyond the commitment, where the list price would be charged at {percent}.": (
        "Nichts liegt über der Zusage, wo {percent} des Listenpreises berechnet würden."
    ),
    "{excess} beyond the commitment at {percent} of their list price": "{excess} über der Zusage zu {percent} des Listenpreises",
    "Overage rate beyond the commitment": "Preis über der Zusage",
}
CORRECTIONS: Final = {
    "Late usage of {period}: {what} on invoice {invoice}, line {line}": (
        "Nachträgliche Nutzung {period}: {what} auf Rechnung {invoice}, Position {line}"
    ),
    " (a part of the credit)": " (ein Teil der Gutschrift)",
    "{count} more {unit}": "{count} {unit} mehr",
    "{count} fewer {unit}": "{count} {unit} weniger",
    "{units} priced anew": "{units} neu bepreist",
    "With the usage as it is known now": "Mit der jetzt bekannten Nutzung",
    "As it was invoiced": "Wie berechnet",
    "It stood with {amount} on invoice {invoice}. {explanation} With the usage as it is known now it is {now}.": (
        "Auf Rechnung {invoice} stand es mit {amount}. {explanation} Mit der jetzt bekannten Nutzung sind es {now}."
    ),
    "With {after} it costs {now}; {then} were invoiced for {before}.": (
        "Mit {after} kostet es {now}; berechnet wurden {then} für {before}."
    ),
    "{amount} more is owed.": "{amount} sind nachzuzahlen.",
    "{amount} is given back.": "{amount} werden erstattet.",
    "{amount} of it stand on earlier invoices.": "{amount} davon stehen auf früheren Rechnungen.",
    "{amount} of it fit on this invoice, {rest} stay for the next one.": (
        "{amount} davon passen auf diese Rechnung, {rest} bleiben für die nächste."
    ),
    "Not all usage of {name} was known when it was invoiced.": "Als {name} berechnet wurde, war nicht die ganze Nutzung bekannt.",
    "Not all usage before it in the same billing period was known when {name} was invoiced: its tiers go on from {after}, not from {before}.": (
        "Als {name} berechnet wurde, war nicht die ganze frühere Nutzung im selben Abrechnungszeitraum bekannt:"
        " Die Staffeln beginnen bei {after}, nicht bei {before}."
    ),
    "{units} as they are known now": "{units}, wie jetzt bekannt",
    "{units} as they were invoiced": "{units}, wie berechnet",
    "Credited on earlier invoices": "Auf früheren Rechnungen gutgeschrieben",
    "Stays for the next invoice": "Bleibt für die nächste Rechnung",
}
GERMAN: Final = Language(
    code="de",
    name="Deutsch",
    phrases={**PAGE, **SUMS, **CREDIT_NOTE, **TAX, **PRICES, **TERMS, **CORRECTIONS},
    nouns={"event": ("Ereignis", "Ereignisse"), "day": ("Tag", "Tage")},
    months=(
        *("Januar", "Februar", "März", "April", "Mai", "Juni"),
        *("Juli", "August", "September", "Oktober", "November", "Dezember"),
    ),
    thousands=".",
    point=",",
    after_day=".",
    names_currency_last=True,
)
