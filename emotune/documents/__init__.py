"""The YAML files of users: read strictly, validated with a line for every mistake, written back."""

from emotune.documents.text import Document, dump_document, load_document, override
from emotune.documents.validation import parse

__all__ = ["Document", "dump_document", "load_document", "override", "parse"]
