"""Users' YAML files: read strictly, validated with a line per mistake, and written."""

from emotune.documents.text import Document, dump_document, load_document, override
from emotune.documents.validation import parse

__all__ = ["Document", "dump_document", "load_document", "override", "parse"]
