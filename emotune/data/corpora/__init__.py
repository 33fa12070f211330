"""The table of corpora that can be read: one file each, and one line here."""

from emotune.data.corpora import eegmmidb, folder, synthetic
from emotune.data.reader import AnyReader

CORPORA: dict[str, AnyReader] = {reader.name: reader for reader in (eegmmidb.READER, folder.READER, synthetic.READER)}
