"""The table of corpora. A corpus has a module of its own and an entry here."""

from emotune.data.corpora import (
    amigos,
    ascertain,
    dreamer,
    eegmmidb,
    folder,
    large_eeg_bci,
    pspm,
    synthetic,
    way_eeg_gal,
)
from emotune.data.corpora.reader import AnyReader

CORPORA: dict[str, AnyReader] = {
    reader.name: reader
    for reader in (
        amigos.READER,
        dreamer.READER,
        ascertain.READER,
        *pspm.READERS,
        way_eeg_gal.READER,
        eegmmidb.READER,
        large_eeg_bci.READER,
        folder.READER,
        synthetic.READER,
    )
}
