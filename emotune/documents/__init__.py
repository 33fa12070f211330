"""Users' YAML files: read strictly, validated with a line per mistake, and written."""

from emotune.documents.text import Document, encode_document, load_document, override
from emotune.documents.validation import parse

__all__ = ["Document", "encode_document", "load_document", "override", "parse"]
