"""The table of corpora. A corpus has a module of its own and an entry here; other packages add theirs as plug-ins."""

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
from emotune.data.corpora.reader import AnyReader, Reader
from emotune.plugins import check_plugin_name, load_plugin, plugin_entries

BUILT_IN: dict[str, AnyReader] = {
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


def _plugin(name: str) -> AnyReader:
    reader: AnyReader = load_plugin("emotune.corpora", name, kind=Reader)
    check_plugin_name("emotune.corpora", name, own=reader.name, taken=BUILT_IN)
    return reader


CORPORA: dict[str, AnyReader] = BUILT_IN | {name: _plugin(name) for name in plugin_entries("emotune.corpora")}
