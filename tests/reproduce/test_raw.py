"""From a folder of raw corpora to the stores of a table, without a training."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from emotune.cli import emotune
from emotune.data.prepare.prepare import PrepareOptions
from emotune.data.store import SegmentStore
from emotune.errors import SettingsError
from emotune.reproduce.corpora import PAPER_CORPORA, POOLS, FoundCorpus, RawCorpora, find_corpora
from emotune.reproduce.published import TABLES, find_table
from emotune.reproduce.recipes import FULL, rehearsal_on_raw
from emotune.reproduce.stages import cells_of, execution_order, pretext_stage
from emotune.reproduce.stores import PaperStore, check_raw, check_stores, describe_composition, preparations, stores_of
from tests.data.examples.emotion import write_amigos
from tests.data.examples.pspm import write_pspm
from tests.support.corpora import FOLDERS, write_corpora


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with all corpora of the papers, which no test changes."""
    return write_corpora(tmp_path_factory.mktemp("raw"))


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(emotune, ["reproduce", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def stores_for(name: str, folder: Path) -> list[PaperStore]:
    scale = rehearsal_on_raw()
    cells = cells_of(find_table(name), scale=scale, stores=folder)
    return stores_of(
        execution_order([cell.stage for cell in cells] or [pretext_stage(scale=scale, stores=folder)]), scale=scale
    )


def corpora_needed(stores: list[dict]) -> set[str]:
    pools = [store["store"].split("-")[1] for store in stores if store["store"].startswith("pool")]
    return {"amigos", *POOLS["ecg"] * ("ecg" in pools), *POOLS["eeg"] * ("eeg" in pools)}


def test_corpora_are_found_by_the_name_of_their_folder_or_by_their_files(raw: Path) -> None:
    corpora = find_corpora(raw, names=PAPER_CORPORA)
    assert corpora.missing == {}
    assert {name: corpus.folder for name, corpus in corpora.found.items()} == {
        name: raw / place for name, (place, _) in FOLDERS.items()
    }
    assert corpora.found["amigos"].people == 2
    assert corpora.found["dreamer"].people is None


def test_sets_of_pspm_may_share_a_folder(tmp_path: Path) -> None:
    for name in ("FR", "HRM5"):
        (tmp_path / "new").mkdir()
        write_pspm(name)(tmp_path / "new")
        shutil.copytree(tmp_path / "new", tmp_path / "pspm", dirs_exist_ok=True)
        shutil.rmtree(tmp_path / "new")
    corpora = find_corpora(tmp_path, names=["pspm-fr", "pspm-hrm5", "pspm-vis"])
    assert {corpus.folder for corpus in corpora.found.values()} == {tmp_path / "pspm"}
    assert list(corpora.found) == ["pspm-fr", "pspm-hrm5"]
    assert "no sub-folder of that name" in corpora.missing["pspm-vis"]


def test_two_folders_of_a_corpus_are_refused(tmp_path: Path) -> None:
    for name in ("amigos", "AMIGOS-2"):
        write_amigos(tmp_path / name)
    assert find_corpora(tmp_path, names=["amigos"]).found["amigos"].folder == tmp_path / "amigos"
    (tmp_path / "amigos").rename(tmp_path / "AMIGOS-1")
    with pytest.raises(SettingsError, match="AMIGOS-1 and AMIGOS-2 both hold amigos, expected one sub-folder"):
        find_corpora(tmp_path, names=["amigos"])


def test_a_folder_without_files_of_its_corpus_is_missing(tmp_path: Path) -> None:
    (tmp_path / "DREAMER").mkdir()
    assert "no DREAMER.mat" in find_corpora(tmp_path, names=["dreamer"]).missing["dreamer"]
    with pytest.raises(SettingsError, match=r"--raw .*nowhere is not a folder"):
        find_corpora(tmp_path / "nowhere", names=["dreamer"])


@pytest.mark.parametrize("name", TABLES)
def test_the_plan_of_every_table_names_corpora_stores_and_costs(name: str, raw: Path, tmp_path: Path) -> None:
    stores = tmp_path / "stores"
    plan = json.loads(run(name, "--raw", str(raw), "--stores", str(stores), "--dry-run", "--json").stdout)
    modalities = {store["store"].split("-")[1] for store in plan["stores"]}
    assert {corpus["corpus"] for corpus in plan["corpora"]} == corpora_needed(plan["stores"])
    assert modalities == ({"ecg", "eeg"} if name.startswith("multimodal") else {"ecg"})
    assert all(store["to_prepare"] == store["corpora"] and store["bytes"] > 1e6 for store in plan["stores"])
    assert all(row["gpu_hours"] >= 0 and row["epochs"] > 0 for row in plan["runs"])
    assert any(sentence.startswith("amigos: 2 of 40 people") for sentence in plan["missing"])
    assert not stores.exists()


def test_shuffled_controls_are_counted_and_can_be_left_out(raw: Path, tmp_path: Path) -> None:
    options = ("ecg-table-2", "--raw", str(raw), "--stores", str(tmp_path), "--dry-run", "--json")
    with_controls, without = (json.loads(run(*options, *extra).stdout) for extra in ((), ("--no-shuffled",)))
    for first, second in zip(with_controls["runs"], without["runs"], strict=True):
        factor = 2 if first["run"].startswith("folds") else 1
        assert first["trainings"] == factor * second["trainings"]
        assert first["operations"] == pytest.approx(factor * second["operations"])


def test_missing_corpora_and_people_are_refused_before_anything_is_prepared(raw: Path, tmp_path: Path) -> None:
    some = tmp_path / "raw"
    shutil.copytree(raw / "AMIGOS", some / "amigos")
    stores = tmp_path / "stores"
    with pytest.raises(
        SettingsError, match=r"ascertain: .*no sub-folder.*amigos: 2 of 40 people .*--incomplete"
    ) as error:
        run("ecg-table-2", "--raw", str(some), "--stores", str(stores))
    assert "pspm-hrm5" not in str(error.value)  # one section of the paper lists it, another does not
    shutil.rmtree(some / "amigos")
    with pytest.raises(SettingsError, match=r"amigos, the corpus with labels: .*no sub-folder of that name"):
        run("ecg-table-2", "--raw", str(some), "--stores", str(stores), "--incomplete")
    assert not stores.exists()


def prepare_all(stores: list[PaperStore], raw: Path, *names: str) -> list[str]:
    corpora = find_corpora(raw, names=names or PAPER_CORPORA)
    todo = preparations(stores, corpora)
    for preparation in todo:
        preparation.run(PrepareOptions())
    return [f"{preparation.store.path.name} {preparation.corpus.name}" for preparation in todo]


def test_stores_are_prepared_corpus_by_corpus_and_kept(raw: Path, tmp_path: Path) -> None:
    stores = stores_for("ecg-table-2", tmp_path)
    assert [store.path.name for store in stores] == ["amigos-ecg-10s", "pool-ecg-10s"]
    prepare_all(stores, raw, "ascertain", "dreamer", "amigos")
    assert check_stores(stores, complete_people=False) == ["pool-ecg-10s is without pspm-fr, pspm-rrm1-2, pspm-vis"]
    assert prepare_all(stores, raw, *POOLS["ecg"]) == [
        f"pool-ecg-10s {name}" for name in POOLS["ecg"] if "pspm" in name
    ]
    assert prepare_all(stores, raw) == []
    pool = SegmentStore.open(tmp_path / "pool-ecg-10s")
    assert {source.corpus for source in pool.about.sources} == set(POOLS["ecg"])
    assert check_stores(stores, complete_people=False) == []
    assert "pool-ecg-10s has 2 of 40 people of amigos" in check_stores(stores, complete_people=True)


@pytest.fixture(scope="module")
def complete(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with all stores of a table, which no test changes."""
    folder = tmp_path_factory.mktemp("stores")
    prepare_all(stores_for("ecg-table-2", folder), raw)
    return folder


def test_what_a_kill_has_left_beside_a_complete_store_is_removed(raw: Path, complete: Path) -> None:
    left = complete / ".pool-ecg-10s.parts"
    left.mkdir()
    (left / "f6f8c6dd.signal").write_bytes(b"the signals of a part")
    with pytest.raises(SettingsError, match="pool-ecg-10s has 2 of 40 people of amigos"):
        run("ecg-table-2", "--raw", str(raw), "--stores", str(complete))
    assert sorted(store.name for store in complete.iterdir()) == ["amigos-ecg-10s", "pool-ecg-10s"]


def test_the_composition_is_stated_beside_that_of_the_paper(complete: Path) -> None:
    scale = rehearsal_on_raw()
    cells = cells_of(find_table("ecg-table-2"), scale=scale, stores=complete)
    stages = execution_order([cell.stage for cell in cells])
    stores = stores_of(stages, scale=scale)
    labelled, pool, optional = describe_composition(stores, stages=stages, scale=scale)
    index = SegmentStore.open(complete / "pool-ecg-10s").index
    others = np.count_nonzero(index["corpus"] != "amigos")
    count = int(pool.split(": ")[1].split()[0])
    assert others < count < len(index)  # half of the labelled corpus does not pre-train
    assert "in the paper 83401 (232 h)" in pool
    assert "amigos 2 of 40" in pool
    assert "in the paper 23400 (65 h)" in labelled
    assert optional.endswith("section IV-C does not. It is in the pool.")


def test_expected_sizes_on_disk_are_those_of_the_papers() -> None:
    pool = PaperStore(Path("/nowhere/pool-ecg-10s"), is_pool=True, modality="ecg", seconds=10, corpora=POOLS["ecg"])
    assert pool.expected_bytes(FULL) == (83_401 + 23_400) * 1280 * 4
    eeg = PaperStore(Path("/nowhere/amigos-eeg-10s"), is_pool=False, modality="eeg", seconds=10, corpora=("amigos",))
    assert eeg.expected_bytes(FULL) == 23_400 * 10 * 1280 * 4


def test_people_in_the_files_are_compared_with_the_release(tmp_path: Path) -> None:
    stores = stores_for("multimodal-table-1", tmp_path)

    def missing(people: int) -> list[str]:
        found = {
            name: FoundCorpus(name, folder=tmp_path, people=people if name == "eegmmidb" else None, size=0)
            for name in POOLS["eeg"]
        }
        return check_raw(RawCorpora(found, {}), stores=stores, complete_people=True)

    assert missing(109) == missing(99) == []
    assert missing(98) == [f"eegmmidb: 98 of 109 people are in {tmp_path}"]


def test_people_without_usable_segments_are_no_reason_to_refuse_until_they_are_half(
    complete: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = stores_for("ecg-table-2", complete)
    corpora = {name: dataclasses.replace(corpus, people=None) for name, corpus in PAPER_CORPORA.items()}
    for published, refused in ((4, False), (5, True)):
        changed = corpora | {"amigos": dataclasses.replace(PAPER_CORPORA["amigos"], people=published)}
        monkeypatch.setattr("emotune.reproduce.stores.PAPER_CORPORA", changed)
        assert bool(check_stores(stores, complete_people=True)) == refused
