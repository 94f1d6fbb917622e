"""What may happen to legal entities: the first is made of the settings, others are created, and each is changed with actor and reason."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from billing_site.kernel.errors import BillingError, Conflict, FieldError, InvalidFields, NotFound
from billing_site.kernel.history import save_with_reason
from billing_site.kernel.text import is_storable
from invoicing.entities.logo import keep_logo
from invoicing.entities.logo_file import check_logo, read_logo
from invoicing.entities.models import FIRST, KEY, PREFIX, LegalEntity

# With the greatest length of each; the key stays.
TEXTS = {
    "name": 300,
    "address": 2000,
    "email": 254,
    "tax_id": 50,
    "registration": 300,
    "bank": 2000,
    "invoice_prefix": 25,
    "credit_note_prefix": 25,
}
PREFIXES = ("invoice_prefix", "credit_note_prefix")
CHANGEABLE = (*TEXTS, "logo")


def first_entity() -> LegalEntity:
    """Return the house's first legal entity; where there is none yet it is made of what the settings say of the seller.

    From then on the settings say nothing any more: it is changed like any other. Raises ImproperlyConfigured.
    """
    found = LegalEntity.objects.filter(key=FIRST).first()
    if found is not None:
        return found
    fields: dict[str, Any] = {
        **settings.SELLER,
        "key": FIRST,
        "invoice_prefix": settings.INVOICE_NUMBER_PREFIX,
        "credit_note_prefix": settings.CREDIT_NOTE_NUMBER_PREFIX,
    }
    try:
        if settings.SELLER_LOGO:
            fields["logo"] = read_logo(path=settings.SELLER_LOGO)
        return create_entity(**fields, actor="installation", reason="the seller that the settings name")
    except Conflict:
        # Another process was first.
        return LegalEntity.objects.get(key=FIRST)
    except BillingError as problem:
        raise ImproperlyConfigured(f"the seller that the settings name: {problem.message}") from problem


def entity_by_key(*, key: str, field: str = "legal_entity") -> LegalEntity:
    """Return the legal entity with this key, the first made where it has to be; raises NotFound naming the field that held it."""
    if key == FIRST:
        return first_entity()
    found = LegalEntity.objects.filter(key=key).first() if is_storable(key) else None
    if found is None:
        raise NotFound(f"there is no legal entity {key!r}", field=field)
    return found


def entity_errors(*, key: Any, field: str = "legal_entity") -> list[FieldError]:
    """Return what is wrong with the key of a legal entity that a request names; nothing where there is one."""
    if not isinstance(key, str):
        return [FieldError(field, "wrong_type", "must be a string")]
    try:
        entity_by_key(key=key, field=field)
    except NotFound as problem:
        return [FieldError(field, "unknown", problem.message)]
    return []


@transaction.atomic
def create_entity(
    *,
    key: str,
    name: str,
    invoice_prefix: str,
    credit_note_prefix: str,
    address: str = "",
    email: str = "",
    tax_id: str = "",
    registration: str = "",
    bank: str = "",
    logo: bytes = b"",
    actor: str,
    reason: str,
) -> LegalEntity:
    """Create a legal entity; its prefixes are its own, whatever their case.

    The same key with the same content a second time returns the one that exists; with other content it is a Conflict.
    Raises InvalidFields naming each field that is wrong.
    """
    fields: dict[str, Any] = {
        "name": name,
        "invoice_prefix": invoice_prefix,
        "credit_note_prefix": credit_note_prefix,
        "address": address,
        "email": email,
        "tax_id": tax_id,
        "registration": registration,
        "bank": bank,
        "logo": logo,
    }
    if key != FIRST:
        # Its prefixes are taken before anybody else's are asked for.
        first_entity()
    errors = _field_errors(fields, key=key)
    if not re.fullmatch(KEY, key):
        message = "use 1 to 30 small letters, digits, _ and -, beginning with a letter or digit"
        errors.insert(0, FieldError("key", "invalid", message))
    existing = None if errors and errors[0].field == "key" else LegalEntity.objects.filter(key=key).first()
    if existing is not None:
        return _same_as(existing, fields)
    if errors:
        raise InvalidFields(tuple(errors))
    entity = LegalEntity(key=key, **_columns(fields))
    try:
        _save(entity, changed=PREFIXES, actor=actor, reason=reason)
    except InvalidFields:
        # Where another request made the same one at the same moment its prefixes are taken, too.
        existing = LegalEntity.objects.filter(key=key).first()
        if existing is None:
            raise
        return _same_as(existing, fields)
    return entity


@transaction.atomic
def change_entity(*, entity: LegalEntity, changes: Mapping[str, Any], actor: str, reason: str) -> LegalEntity:
    """Change what a legal entity is called on documents that are issued from now on; raises InvalidFields naming each field that is wrong.

    Its prefixes can be changed as long as nothing was issued under them; `logo` is the file, b"" for none.
    """
    unknown = [
        FieldError(name, "not_changeable", f"cannot be changed; changeable are {', '.join(CHANGEABLE)}")
        for name in changes
        if name not in CHANGEABLE
    ]
    locked = LegalEntity.objects.select_for_update(no_key=True).get(pk=entity.pk)
    given = {name: value for name, value in changes.items() if name in CHANGEABLE}
    prefixes = {name: given.get(name, getattr(locked, name)) for name in PREFIXES}
    if errors := [*unknown, *_field_errors(prefixes | given, key=locked.key)]:
        raise InvalidFields(tuple(errors))
    columns = {name: value for name, value in _columns(given).items() if getattr(locked, name) != value}
    for name, value in columns.items():
        setattr(locked, name, value)
    if columns:
        _save(locked, changed=[name for name in PREFIXES if name in columns], actor=actor, reason=reason)
    return locked


def _columns(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields as the row keeps them: of a logo its digest."""
    columns = dict(fields)
    if "logo" in columns:
        columns["logo_id"] = keep_logo(content=columns.pop("logo")) or None
    return columns


def _save(entity: LegalEntity, *, changed: Sequence[str], actor: str, reason: str) -> None:
    """Save it; raises InvalidFields where the database refuses what is `changed` of its prefixes."""
    try:
        with transaction.atomic():
            save_with_reason(entity, actor=actor, reason=reason)
    except IntegrityError as problem:
        if not changed:
            raise
        told = (
            ("issued", "stays: documents were issued under it")
            if "has issued under" in str(problem)
            else ("taken", "is a prefix of another legal entity")
        )
        raise InvalidFields(tuple(FieldError(name, *told) for name in changed)) from problem


def _same_as(existing: LegalEntity, fields: Mapping[str, Any]) -> LegalEntity:
    columns = _columns(fields)
    different = sorted(
        {"logo_id": "logo"}.get(name, name) for name, value in columns.items() if getattr(existing, name) != value
    )
    if different:
        raise Conflict(
            f"legal entity {existing.key} exists already with another {', '.join(different)}: change it instead",
            field="key",
        )
    return existing


def _field_errors(fields: Mapping[str, Any], *, key: str) -> list[FieldError]:
    errors = [error for name, value in fields.items() if (error := _field_error(name, value)) is not None]
    if not {error.field for error in errors} & set(PREFIXES):
        errors += _taken(fields, key=key)
    return errors


def _field_error(name: str, value: Any) -> FieldError | None:
    if name == "logo":
        try:
            if value:
                check_logo(content=value)
        except BillingError as problem:
            return FieldError(name, problem.code, problem.message)
        return None
    if not isinstance(value, str):
        return FieldError(name, "wrong_type", "must be a string")
    if not is_storable(value):
        return FieldError(name, "invalid", "must be Unicode text without the NUL character")
    if len(value) > TEXTS[name]:
        return FieldError(name, "too_long", f"must have at most {TEXTS[name]} characters")
    if name == "name" and not value.strip():
        return FieldError(name, "required", "must not be empty")
    if name in PREFIXES and not re.fullmatch(PREFIX, value):
        return FieldError(name, "invalid", "use letters, digits, . _ and -, beginning with a letter or digit")
    if name == "email" and value:
        try:
            validate_email(value)
        except ValidationError:
            return FieldError(name, "invalid", "must be an e-mail address")
    return None


def _taken(fields: Mapping[str, Any], *, key: str) -> list[FieldError]:
    """Return the prefixes that another legal entity, or the other kind of document, has."""
    others = LegalEntity.objects.exclude(key=key).values_list(*PREFIXES)
    taken = {prefix.upper(): "another legal entity" for pair in others for prefix in pair}
    errors = []
    for name in PREFIXES:
        prefix = fields[name].upper()
        if prefix in taken:
            errors.append(FieldError(name, "taken", f"is a prefix of {taken[prefix]}"))
        taken.setdefault(prefix, "its other kind of document")
    return errors
