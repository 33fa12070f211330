"""The segment stores of a table: which corpora they hold, their preparation from raw corpora, and their composition."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from emotune.data.corpora.synthetic import Synthetic
from emotune.data.modality import MODALITIES, Modality
from emotune.data.prepare.prepare import PreparationSummary, PrepareOptions, prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.store import ABOUT_FILE, About, read_about
from emotune.reproduce.corpora import LABELLED, OPTIONAL, PAPER_CORPORA, POOLS, FoundCorpus, RawCorpora
from emotune.reproduce.recipes import Scale
from emotune.reproduce.stages import Stage, count_segments

COMPLETE_SHARE = 0.9
"""Share of a corpus's published people with files below which the corpus is incomplete (0 to 1)."""

USABLE_SHARE = 0.5
"""The same for people with segments in a store: recordings are left out for their quality, as in the papers."""

SAMPLE_BYTES = 4
"""Bytes of a sample in a store (float32)."""

SYNTHETIC = "synthetic"
"""Name of the generated corpus."""

REHEARSAL = Synthetic(
    subjects=6,
    seconds_per_state=80.0,
    arousal_heart_rate=60.0,
    arousal_variability=3.0,
    valence_t_wave=6.0,
    arousal_alpha=5.0,
    valence_asymmetry=4.0,
    noise=0.3,
)
"""The generated corpus of the scale smoke: its effects are large, so that tiny networks learn them in a few epochs."""


@dataclass(frozen=True)
class PaperStore:
    """A store that a table needs."""

    path: Path
    is_pool: bool
    """True: for pre-training. False: for fine-tuning."""
    modality: Modality
    seconds: int
    """Length of a segment in seconds."""
    corpora: tuple[str, ...]
    """The corpora of the papers."""

    @property
    def settings(self) -> PrepareSettings:
        """Settings of its preparation."""
        return PrepareSettings.model_validate({"modality": self.modality, "seconds": self.seconds})

    def about(self) -> About | None:
        """Return the store's description; None if it does not exist."""
        return read_about(self.path) if (self.path / ABOUT_FILE).is_file() else None

    def lacking(self) -> tuple[str, ...]:
        """Return the corpora that are not in the store."""
        about = self.about()
        present = {source.corpus for source in about.sources} if about is not None else set()
        return tuple(name for name in self.corpora if name not in present)

    def expected_bytes(self, scale: Scale) -> int:
        """Return its size on disk: of an existing store the real one, otherwise for the papers' segments."""
        about = self.about()
        if about is not None:
            return sum(record.size for record in about.files.values())
        spec = MODALITIES[self.modality]
        leads = 2 if spec.separate_leads else 1  # AMIGOS has two arms, of which one is classified
        labelled = scale.segments["labelled"] * leads
        # an encoder is pre-trained without half of the labelled corpus, the pool has both halves
        segments = scale.segments[self.modality] + labelled // 2 if self.is_pool else labelled
        channels = 1 if spec.separate_leads else len(spec.channels)
        return segments * 10 // self.seconds * channels * spec.rate * self.seconds * SAMPLE_BYTES


def stores_of(stages: Iterable[Stage], *, scale: Scale) -> list[PaperStore]:
    """Return the stores of some stages, each once; features of a fusion are none."""
    paths = {path for stage in stages for path in (stage.experiment.store, stage.experiment.partner) if path}
    return [_paper_store(Path(path), scale=scale) for path in sorted(paths - {"."})]


def _paper_store(path: Path, *, scale: Scale) -> PaperStore:
    kind, modality, length = path.name.rsplit("-", 2)
    assert modality in MODALITIES
    is_pool = kind.endswith("pool")
    corpora = (SYNTHETIC,) if scale.corpus == SYNTHETIC else POOLS[modality] if is_pool else LABELLED
    return PaperStore(
        path, is_pool=is_pool, modality=modality, seconds=int(length.removesuffix("s")), corpora=tuple(corpora)
    )


def corpora_of(stores: Iterable[PaperStore]) -> list[str]:
    """Return the corpora of some stores, each once."""
    return list(dict.fromkeys(name for store in stores for name in store.corpora))


def check_raw(raw: RawCorpora, *, stores: Sequence[PaperStore], complete_people: bool) -> list[str]:
    """Return what is missing of the papers' corpora, a sentence each; the optional corpus is not missing.

    Args:
        raw: The corpora that were found.
        stores: Stores that are needed. A corpus that is in all of them already need not be found.
        complete_people: Also check the number of people.
    """
    needed = {name for store in stores for name in store.lacking()} - {OPTIONAL}
    sentences = [f"{name}: {raw.missing[name]}" for name in raw.missing if name in needed]
    for corpus in raw.found.values():
        published = PAPER_CORPORA[corpus.name].people
        if (
            complete_people
            and corpus.name in needed
            and _is_incomplete(corpus.people, published=published, share=COMPLETE_SHARE)
        ):
            sentences.append(f"{corpus.name}: {corpus.people} of {published} people are in {corpus.folder}")
    return sentences


def _is_incomplete(people: int | None, *, published: int | None, share: float) -> bool:
    return people is not None and published is not None and people < share * published


def check_stores(stores: Sequence[PaperStore], *, complete_people: bool) -> list[str]:
    """Return what the stores lack of the papers' corpora, a sentence each."""
    sentences = []
    for store in stores:
        lacking = [name for name in store.lacking() if name != OPTIONAL]
        if lacking:
            sentences.append(f"{store.path.name} is without {', '.join(lacking)}")
        about = store.about()
        for source in about.sources if about is not None and complete_people else ():
            corpus = PAPER_CORPORA.get(source.corpus)
            if corpus is not None and _is_incomplete(source.subjects, published=corpus.people, share=USABLE_SHARE):
                sentences.append(
                    f"{store.path.name} has {source.subjects} of {corpus.people} people of {source.corpus}"
                )
    return sentences


@dataclass(frozen=True)
class Preparation:
    """A corpus to add to a store."""

    store: PaperStore
    corpus: FoundCorpus

    @property
    def may_be_absent(self) -> bool:
        """Whether the papers leave open if the corpus is used."""
        return self.corpus.name == OPTIONAL

    def run(self, options: PrepareOptions) -> PreparationSummary:
        """Prepare the corpus, or resume its preparation.

        Raises:
            SettingsError: The store exists with other settings.
            DataError: The corpus cannot be used.
        """
        return prepare(
            self.corpus.name,
            folder=self.corpus.folder,
            store=self.store.path,
            settings=self.store.settings,
            options=replace(options, append=True),
        )


def preparations(stores: Iterable[PaperStore], raw: RawCorpora) -> list[Preparation]:
    """Return what is to be prepared, in order. A corpus that is in its store is not read again."""
    return [Preparation(store, raw.found[name]) for store in stores for name in store.lacking() if name in raw.found]


def prepare_rehearsal(stores: Sequence[PaperStore]) -> None:
    """Prepare the stores of a rehearsal on generated signals; those that exist are kept.

    Raises:
        SettingsError: A store of that name holds something else.
    """
    for store in stores:
        prepare(SYNTHETIC, folder=None, store=store.path, settings=store.settings, corpus_settings=REHEARSAL)


def describe_composition(stores: Sequence[PaperStore], *, stages: Iterable[Stage], scale: Scale) -> list[str]:
    """Return sentences about people, segments and hours of the stores beside the papers' numbers.

    Args:
        stores: The stores of a table.
        stages: Its runs, for the segments that pre-train an encoder or have a label.
        scale: The scale, with the papers' numbers of segments.
    """
    counts = {stage.experiment.store: _all_segments(stage) for stage in stages if stage.kind != "fusion"}
    sentences = []
    for store in stores:
        about, segments = store.about(), counts.get(str(store.path))
        if about is None or segments is None:
            continue
        people = ", ".join(f"{source.corpus} {_people(source.corpus, source.subjects)}" for source in about.sources)
        published = round(scale.segments[store.modality if store.is_pool else "labelled"] * 10 / store.seconds)
        sentences.append(
            f"{store.path.name}: {segments} segments {'pre-train an encoder' if store.is_pool else 'have a label'} "
            f"({segments * store.seconds / 3600:.1f} h); in the paper {published} "
            f"({published * store.seconds / 3600:.0f} h). People: {people}."
        )
    return sentences + _describe_optional(stores)


def _all_segments(stage: Stage) -> int | None:
    folds = stage.experiment.folds.model_copy(update={"segments": None})
    return count_segments(stage.experiment.model_copy(update={"folds": folds}))


def _people(corpus: str, people: int) -> str:
    published = PAPER_CORPORA[corpus].people if corpus in PAPER_CORPORA else None
    return f"{people}" if published is None else f"{people} of {published}"


def _describe_optional(stores: Sequence[PaperStore]) -> list[str]:
    pools = [store for store in stores if OPTIONAL in store.corpora and store.about() is not None]
    if not pools:
        return []
    without = [store.path.name for store in pools if OPTIONAL in store.lacking()]
    taken = f"It is not in {', '.join(without)}." if without else "It is in the pool."
    return [f"Section IV-A of the ECG paper lists PsPM-HRM5 for pre-training, section IV-C does not. {taken}"]
