"""What tells a reader of a PDF that an e-invoice stands in it: the XMP properties of Factur-X 1.0 (ZUGFeRD 2), as PDF/A asks for them."""

import io
from typing import Final

from pypdf import PdfReader, PdfWriter
from pypdf.generic import DecodedStreamObject

# The name that readers look for.
EMBEDDED_NAME: Final = "factur-x.xml"
NAMESPACE: Final = "urn:factur-x:pdfa:CrossIndustryDocument:invoice:1p0#"
PROPERTIES: Final = {
    "DocumentFileName": (EMBEDDED_NAME, "The name of the embedded XML document"),
    "DocumentType": ("INVOICE", "The type of the hybrid document"),
    "Version": ("1.0", "The version of the standard of the embedded XML document"),
    "ConformanceLevel": ("EN 16931", "The conformance level of the embedded XML document"),
}
SCHEMAS_END: Final = "</rdf:Bag></pdfaExtension:schemas>"
METADATA_END: Final = "</rdf:RDF>"


def declare_factur_x(*, pdf: bytes) -> bytes:
    """Add the properties to a PDF/A that typst has made with the e-invoice attached; the same bytes give the same bytes."""
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf)))
    metadata = writer.root_object["/Metadata"].get_object()
    assert isinstance(metadata, DecodedStreamObject), "typst writes its metadata uncompressed"
    told = metadata.get_data().decode()
    assert SCHEMAS_END in told and METADATA_END in told, "typst writes the extension schemas that it uses"
    told = told.replace(SCHEMAS_END, _schema() + SCHEMAS_END).replace(METADATA_END, _values() + METADATA_END)
    metadata.set_data(told.encode())
    written = io.BytesIO()
    writer.write(written)
    return written.getvalue()


def _schema() -> str:
    properties = "".join(
        '<rdf:li rdf:parseType="Resource"><pdfaProperty:category>external</pdfaProperty:category>'
        f"<pdfaProperty:description>{description}</pdfaProperty:description>"
        f"<pdfaProperty:name>{name}</pdfaProperty:name><pdfaProperty:valueType>Text</pdfaProperty:valueType></rdf:li>"
        for name, (_, description) in PROPERTIES.items()
    )
    return (
        '<rdf:li rdf:parseType="Resource"><pdfaSchema:schema>Factur-X PDFA Extension Schema</pdfaSchema:schema>'
        f"<pdfaSchema:namespaceURI>{NAMESPACE}</pdfaSchema:namespaceURI><pdfaSchema:prefix>fx</pdfaSchema:prefix>"
        f"<pdfaSchema:property><rdf:Seq>{properties}</rdf:Seq></pdfaSchema:property></rdf:li>"
    )


def _values() -> str:
    values = "".join(f"<fx:{name}>{value}</fx:{name}>" for name, (value, _) in PROPERTIES.items())
    return f'<rdf:Description rdf:about="" xmlns:fx="{NAMESPACE}">{values}</rdf:Description>'
