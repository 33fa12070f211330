"""The table of corpora. A corpus has a module of its own and an entry here."""

from emotune.data.corpora import (
    amigos,
    ascertain,
    bids,
    case,
    deap,
    dreamer,
    eegmmidb,
    folder,
    large_eeg_bci,
    pspm,
    ptbxl,
    synthetic,
    way_eeg_gal,
    wesad,
)
from emotune.data.corpora.reader import AnyReader

CORPORA: dict[str, AnyReader] = {
    reader.name: reader
    for reader in (
        amigos.READER,
        dreamer.READER,
        ascertain.READER,
        deap.READER,
        wesad.READER,
        case.READER,
        *pspm.READERS,
        way_eeg_gal.READER,
        eegmmidb.READER,
        large_eeg_bci.READER,
        ptbxl.READER,
        bids.READER,
        folder.READER,
        synthetic.READER,
    )
}
