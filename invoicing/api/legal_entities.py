"""Legal entities over HTTP: who sells, what documents say of each, and what their numbers begin with."""

import base64
import binascii
from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_view
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel.errors import InvalidInput
from invoicing.api.base import actor_of, filters_of, read
from invoicing.api.fields import StrictSerializer, TextField
from invoicing.entities.logo_file import SIZE_MAX
from invoicing.entities.models import LegalEntity
from invoicing.entities.operations import change_entity, create_entity, entity_by_key

WORDS_EXAMPLE = {
    "name": "Example Inc.",
    "address": "1 Example Plaza\nNew York, NY 10001\nUnited States",
    "email": "billing@example.com",
    "tax_id": "",
    "registration": "Delaware corporation 1234567",
    "bank": "Example Bank, account 123456789",
}
REQUEST_EXAMPLE = {
    "key": "example-us",
    **WORDS_EXAMPLE,
    "invoice_prefix": "US",
    "credit_note_prefix": "US-CN",
    "reason": "the company in New York begins to sell",
}
ANSWER_EXAMPLE = {name: text for name, text in REQUEST_EXAMPLE.items() if name != "reason"} | {"logo": ""}


class LegalEntityWords(StrictSerializer):
    """What may change about a legal entity; documents that are issued stay as they are."""

    name = TextField(required=False, max_length=300, help_text="The legal name, as it stands on documents.")
    address = TextField(required=False, allow_blank=True, help_text="Lines separated by line feeds.")
    email = TextField(required=False, allow_blank=True)
    tax_id = TextField(required=False, allow_blank=True)
    registration = TextField(required=False, allow_blank=True, help_text="What the law asks for on documents.")
    bank = TextField(required=False, allow_blank=True, help_text="Where transfers go.")
    invoice_prefix = TextField(required=False, help_text="It stays as soon as something was issued under it.")
    credit_note_prefix = TextField(required=False, help_text="It stays, too.")
    logo = TextField(
        required=False, allow_blank=True, help_text="A PNG or JPEG file of at most 64 KiB in base64; empty: none."
    )
    reason = TextField(max_length=300)


class NewLegalEntity(LegalEntityWords):
    """A legal entity to be created; its key stays for ever."""

    key = TextField(max_length=30, help_text="As customers and requests name it.")
    name = TextField(max_length=300, help_text="The legal name, as it stands on documents.")
    invoice_prefix = TextField(help_text="What numbers of its invoices begin with: US of US-2026-00001.")
    credit_note_prefix = TextField(help_text="What those of its credit notes begin with.")


class LegalEntitySerializer(serializers.ModelSerializer[LegalEntity]):
    """A legal entity as it is."""

    logo = serializers.SerializerMethodField(help_text="The SHA-256 of the picture; empty: none.")

    class Meta:
        model = LegalEntity
        fields = (
            "key",
            "name",
            "address",
            "email",
            "tax_id",
            "registration",
            "bank",
            "invoice_prefix",
            "credit_note_prefix",
            "logo",
        )

    def get_logo(self, entity: LegalEntity) -> str:
        """Return the digest."""
        return entity.logo_id or ""


@extend_schema_view(get=extend_schema(operation_id="list_legal_entities", summary="List legal entities"))
class LegalEntitiesView(generics.ListAPIView[LegalEntity]):
    """Who sells."""

    scopes = {"GET": "legal_entities:read", "POST": "legal_entities:write"}
    serializer_class = LegalEntitySerializer
    queryset = LegalEntity.objects.all()

    @extend_schema(
        operation_id="create_legal_entity",
        summary="Create a legal entity",
        description="The same key and content a second time is the one that exists; other content is a 409.",
        request=NewLegalEntity,
        responses={201: LegalEntitySerializer},
        examples=[
            OpenApiExample("A second one", value=REQUEST_EXAMPLE, request_only=True),
            OpenApiExample("A second one", value=ANSWER_EXAMPLE, response_only=True),
        ],
    )
    def post(self, request: Request) -> Response:
        """Create one."""
        fields = _with_logo(read(NewLegalEntity(data=request.data)))
        return Response(LegalEntitySerializer(create_entity(**fields, actor=actor_of(request))).data, status=201)


class LegalEntityView(generics.GenericAPIView[LegalEntity]):
    """One legal entity."""

    scopes = {"GET": "legal_entities:read", "PATCH": "legal_entities:write"}
    serializer_class = LegalEntitySerializer

    @extend_schema(operation_id="get_legal_entity", summary="Read a legal entity", responses=LegalEntitySerializer)
    def get(self, request: Request, key: str) -> Response:
        """Return it."""
        filters_of(request, known=())
        return Response(LegalEntitySerializer(entity_by_key(key=key, field="key")).data)

    @extend_schema(
        operation_id="change_legal_entity",
        summary="Change a legal entity",
        description="It holds for what is issued from now on.",
        request=LegalEntityWords,
        responses=LegalEntitySerializer,
        examples=[
            OpenApiExample(
                "Moved",
                value={"address": "2 Example Plaza\nNew York, NY 10001", "reason": "new office"},
                request_only=True,
            )
        ],
    )
    def patch(self, request: Request, key: str) -> Response:
        """Change the fields that are given."""
        changes = _with_logo(read(LegalEntityWords(data=request.data)))
        reason = changes.pop("reason")
        changed = change_entity(
            entity=entity_by_key(key=key, field="key"), changes=changes, actor=actor_of(request), reason=reason
        )
        return Response(LegalEntitySerializer(changed).data)


def _with_logo(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with the picture as bytes; raises InvalidInput where it is no base64."""
    if "logo" not in fields:
        return fields
    if len(fields["logo"]) > 2 * SIZE_MAX:
        raise InvalidInput(f"is larger than {SIZE_MAX} bytes", field="logo", code="too_large")
    try:
        return fields | {"logo": base64.b64decode(fields["logo"], validate=True)}
    except (binascii.Error, ValueError) as problem:
        raise InvalidInput("is no base64", field="logo", code="invalid") from problem
