"""All corpora of the papers, tiny, as they lie on disk."""

from collections.abc import Callable
from pathlib import Path

from tests.data.examples.brain import write_eegmmidb, write_large_eeg_bci, write_way_eeg_gal
from tests.data.examples.emotion import write_amigos, write_ascertain, write_dreamer
from tests.data.examples.pspm import write_pspm

FOLDERS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "amigos": ("AMIGOS", write_amigos),
    "dreamer": ("Dreamer", write_dreamer),
    "ascertain": ("ascertain (raw)", write_ascertain),
    "pspm-fr": ("PsPM/FR", write_pspm("FR")),
    "pspm-hrm5": ("PsPM/HRM5", write_pspm("HRM5")),
    "pspm-rrm1-2": ("PsPM-RRM1-2", write_pspm("RRM1-2")),
    "pspm-vis": ("zenodo-3667714", write_pspm("VIS")),
    "way-eeg-gal": ("WAY_EEG_GAL", write_way_eeg_gal),
    "eegmmidb": ("physionet motor imagery", write_eegmmidb),
    "large-eeg-bci": ("kaya2018", write_large_eeg_bci),
}
"""Sub-folder of each corpus, of its name or of another one, and what writes a tiny one."""


def write_corpora(folder: Path) -> Path:
    """Write all corpora into sub-folders of a folder."""
    for place, write in FOLDERS.values():
        (folder / place).mkdir(parents=True)
        write(folder / place)
    return folder
