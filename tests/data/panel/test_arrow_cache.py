import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import numpy as np
import pyarrow as pa
import pytest

from study.data.panel.arrow_cache import CachedInputs, InputsKey, cached_inputs, cached_scores
from study.data.panel.panel_inputs import PanelInputs
from study.data.panel.shared_inputs import SharedInputs
from study.errors import DataError

N_DAYS, N_ASSETS, N_FEATURES = 23, 5, 3
KEY = InputsKey(
    fingerprint="a",
    tier="closes",
    normalization="cross_z",
    train_rows="",
    feature_hash="f",
    code="c",
)


def built() -> PanelInputs:
    rng = np.random.default_rng(0)
    known = rng.random((N_DAYS, N_ASSETS)) < 0.8
    values = rng.normal(size=(N_DAYS, N_ASSETS, N_FEATURES)).astype(np.float32)
    values[~known] = 0
    return PanelInputs(names=("one", "two", "three"), values=values, known=known)


def not_built() -> PanelInputs:
    raise AssertionError("the file must be good")


def file_in(folder: Path) -> Path:
    (path,) = folder.glob("*.arrow")
    return path


def assert_as_built(found: CachedInputs) -> None:
    inputs = built()
    assert found.names == inputs.names
    assert found.inputs.values.tobytes() == inputs.values.tobytes()
    np.testing.assert_array_equal(found.known, inputs.known)
    np.testing.assert_allclose(found.sums, inputs.values.sum(axis=1, dtype=float))
    np.testing.assert_allclose(found.squares, (inputs.values.astype(float) ** 2).sum(axis=1))


def test_inputs_are_built_once_and_mapped_after_that(tmp_path: Path) -> None:
    assert_as_built(cached_inputs(KEY, None, built))
    folder = tmp_path / "cache"
    for build in (built, not_built):
        found = cached_inputs(KEY, folder, build)
        assert_as_built(found)
        assert found.inputs.file == file_in(folder)
        assert found.note == ""
        # Torch takes without a copy what could be written; the pages are the process's own.
        found.inputs.values[:] = 7
    assert [path.name for path in folder.iterdir()] == [f"{KEY.digest}.arrow"]


def test_who_may_not_write_reads_a_file_that_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    found = cached_inputs(KEY, folder, built, may_write=False)
    assert_as_built(found)
    assert (found.inputs.file, found.note, folder.exists()) == (None, "", False)
    cached_inputs(KEY, folder, built)
    assert cached_inputs(KEY, folder, not_built, may_write=False).inputs.file == file_in(folder)
    cut(file_in(folder))
    damaged = file_in(folder).read_bytes()
    found = cached_inputs(KEY, folder, built, may_write=False)
    assert_as_built(found)
    assert "is damaged" in found.note
    assert file_in(folder).read_bytes() == damaged


def test_any_reader_of_arrow_files_reads_the_inputs(tmp_path: Path) -> None:
    cached_inputs(KEY, tmp_path, built)
    with pa.memory_map(str(file_in(tmp_path))) as file:
        table = pa.ipc.open_file(file).read_all()
    assert table.num_rows == N_DAYS
    day = np.array(table["inputs"][4].as_py(), dtype=np.float32)
    np.testing.assert_array_equal(day.reshape(N_ASSETS, N_FEATURES), built().values[4])


def test_everything_that_inputs_depend_on_names_another_file(tmp_path: Path) -> None:
    keys = [
        KEY,
        replace(KEY, fingerprint="b"),
        replace(KEY, tier="a25"),
        replace(KEY, normalization="cross_rank"),
        replace(KEY, train_rows="r"),
        replace(KEY, feature_hash="g"),
        replace(KEY, code="d"),
    ]
    for key in keys:
        cached_inputs(key, tmp_path, built)
    assert len({key.digest for key in keys}) == len(list(tmp_path.iterdir())) == len(keys)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def shorten_to_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(column: str) -> Callable[[Path], None]:
    def flip_a_bit(path: Path) -> None:
        inputs = cached_inputs(KEY, None, built)
        value = {"inputs": inputs.inputs.values[9], "known": inputs.known[3:5]}.get(column)
        content = bytearray(path.read_bytes())
        part = (inputs.sums[7] if value is None else value).tobytes()
        content[content.index(part)] ^= 1
        path.write_bytes(content)

    return flip_a_bit


def write_a_table_of_others(path: Path) -> None:
    batch = pa.record_batch([pa.array([1, 2])], names=["inputs"])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)


def compress(path: Path) -> None:
    with pa.ipc.open_file(path.read_bytes()) as reader:
        table = reader.read_all()
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(str(path), "wb") as file:
        with pa.ipc.new_file(file, table.schema, options=options) as writer:
            writer.write_table(table)


def take_that_of_another_panel(path: Path) -> None:
    other = replace(KEY, fingerprint="b")
    cached_inputs(other, path.parent / "other", built)
    file_in(path.parent / "other").replace(path)


def write_text(path: Path) -> None:
    path.write_text("notes")


def make_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nothing"))


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        shorten_to_half,
        empty,
        flip("inputs"),
        flip("known"),
        flip("sums"),
        write_a_table_of_others,
        compress,
        take_that_of_another_panel,
        write_text,
        make_a_folder,
        link_to_nothing,
    ],
)
def test_a_file_that_is_not_as_it_was_written_is_built_again_and_said_so(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    cached_inputs(KEY, tmp_path, built)
    path = file_in(tmp_path)
    damage(path)
    found = cached_inputs(KEY, tmp_path, built)
    assert_as_built(found)
    assert found.note.startswith(f"{path}: the cache of the panel's inputs is ")
    assert found.note.endswith("; they were built again")
    assert "\n" not in found.note
    again = cached_inputs(KEY, tmp_path, not_built)
    assert_as_built(again)
    assert again.note == ""


def test_no_flipped_byte_passes_or_crashes(tmp_path: Path) -> None:
    cached_inputs(KEY, tmp_path, built)
    path = file_in(tmp_path)
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    n_noticed = 0
    for place in rng.choice(len(good), 60, replace=False):
        content = bytearray(good)
        content[place] ^= int(rng.integers(1, 256))
        path.write_bytes(content)
        found = cached_inputs(KEY, tmp_path, built)
        assert_as_built(found)
        n_noticed += found.note != ""
    assert n_noticed > 40


def test_two_that_build_at_once_both_end_with_a_good_file(tmp_path: Path) -> None:
    both = Barrier(2, timeout=20)

    def build_together() -> PanelInputs:
        both.wait()
        return built()

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: cached_inputs(KEY, tmp_path, build_together), range(2)))
    for each in found:
        assert_as_built(each)
        assert each.note == ""
        assert each.inputs.file == file_in(tmp_path)
    assert_as_built(cached_inputs(KEY, tmp_path, not_built))
    assert len(list(tmp_path.iterdir())) == 1


DAY = 86_400


def age(path: Path, days: float) -> None:
    """Set the time of a file back, as if nobody had opened it since."""
    now = path.stat().st_mtime - days * DAY
    os.utime(path, (now, now))


def test_a_new_file_removes_those_that_nobody_opened_for_a_month(tmp_path: Path) -> None:
    keys = [replace(KEY, fingerprint=name) for name in ("old", "opened", "received", "recent")]
    old, opened, received, recent = (cached_inputs(key, tmp_path, built) for key in keys)
    sent = pickle.dumps(received.inputs)
    for found, days in ((old, 31.0), (opened, 31.0), (received, 31.0), (recent, 29.0)):
        assert found.inputs.file is not None
        age(found.inputs.file, days)
    unfinished, fresh, other, theirs = (
        tmp_path / name
        for name in (f".{'a' * 64}.b.tmp", f".{'b' * 64}.b.tmp", "notes.txt", "theirs.arrow")
    )
    for path, days in ((unfinished, 1.1), (fresh, 0.9), (other, 400.0), (theirs, 400.0)):
        path.write_text("")
        age(path, days)
    cached_inputs(keys[1], tmp_path, not_built)
    # A worker that begins a trial opens the file as well.
    pickle.loads(sent)
    new = cached_inputs(KEY, tmp_path, built)
    kept = {found.inputs.file for found in (opened, received, recent, new)}
    assert set(tmp_path.iterdir()) == {*kept, fresh, other, theirs}
    # A process that has mapped a removed file keeps what it holds.
    np.testing.assert_array_equal(old.inputs.values, built().values)
    assert_as_built(cached_inputs(keys[0], tmp_path, built))


def test_scores_that_are_read_count_as_opened(tmp_path: Path) -> None:
    scores = {"ridge": np.eye(3, dtype=np.float32), "boosting": np.full((3, 3), np.nan, np.float32)}
    digests = ["a" * 64, "b" * 64]
    for digest in digests:
        cached_scores(digest, tmp_path, lambda: scores)
    for path in tmp_path.iterdir():
        age(path, 31)
    found, note = cached_scores(digests[0], tmp_path, lambda: pytest.fail("it must be there"))
    assert (list(found), note) == (list(scores), "")
    for name, values in scores.items():
        np.testing.assert_array_equal(found[name], values)
    cached_scores("c" * 64, tmp_path, lambda: scores)
    assert {path.stem[0] for path in tmp_path.iterdir()} == {"a", "c"}


def test_a_file_that_is_only_read_removes_nothing(tmp_path: Path) -> None:
    cached_inputs(KEY, tmp_path, built)
    other = tmp_path / f"{'a' * 64}.arrow"
    other.write_text("")
    age(other, 31)
    cached_inputs(KEY, tmp_path, not_built)
    assert other.exists()


def test_many_that_build_and_remove_at_once_end_with_good_files(tmp_path: Path) -> None:
    keys = [replace(KEY, fingerprint=str(number)) for number in range(4)]
    for number in range(20):
        path = tmp_path / f"{number:064x}.arrow"
        path.write_text("")
        age(path, 31)
    together = Barrier(4, timeout=20)

    def build_together() -> PanelInputs:
        together.wait()
        return built()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda key: cached_inputs(key, tmp_path, build_together), keys))
    for each in found:
        assert_as_built(each)
        assert each.note == ""
    assert set(tmp_path.iterdir()) == {each.inputs.file for each in found}


def test_inputs_stay_in_memory_where_no_file_can_be_written(tmp_path: Path) -> None:
    in_the_way = tmp_path / "cache"
    in_the_way.write_text("a file in the place of the folder")
    found = cached_inputs(KEY, in_the_way, built)
    assert_as_built(found)
    assert found.inputs.file is None
    assert "could not be written" in found.note
    assert "every worker holds a copy" in found.note


def test_another_process_gets_the_place_of_the_inputs_and_no_copy(tmp_path: Path) -> None:
    inputs = cached_inputs(KEY, tmp_path, built).inputs.between(4, 20)
    sent = pickle.dumps(inputs)
    assert len(sent) < 500
    received = pickle.loads(sent)
    np.testing.assert_array_equal(received.values, built().values[4:20])
    again = pickle.loads(pickle.dumps(received.between(1, 3)))
    np.testing.assert_array_equal(again.values, built().values[5:7])
    in_memory = SharedInputs(built().values).between(0, 2)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(in_memory)).values, built().values[:2])


@pytest.mark.parametrize("damage", [Path.unlink, shorten_to_half])
def test_a_worker_whose_file_is_gone_says_what_to_do(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    sent = pickle.dumps(cached_inputs(KEY, tmp_path, built).inputs)
    damage(file_in(tmp_path))
    with pytest.raises(DataError, match=r"must hold the inputs of the panel.*Start the command"):
        pickle.loads(sent)


def test_a_machine_without_the_file_takes_the_values_that_were_carried_to_it(
    tmp_path: Path,
) -> None:
    inputs = cached_inputs(KEY, tmp_path, built).inputs.between(4, 20)
    sent = pickle.dumps(inputs.carried)
    assert pickle.loads(sent).file == file_in(tmp_path)
    file_in(tmp_path).unlink()
    received = pickle.loads(sent)
    assert received.file is None
    np.testing.assert_array_equal(received.values, built().values[4:20])


def test_the_shift_is_that_of_the_values(tmp_path: Path) -> None:
    train, validation = np.arange(3, 14), np.arange(15, 21)
    found = cached_inputs(KEY, tmp_path, built).shift(train, validation)
    inputs = built()
    for column, name in enumerate(inputs.names):
        one, two = (
            inputs.values[days, :, column][inputs.known[days]].astype(float)
            for days in (train, validation)
        )
        assert found[name] == pytest.approx((two.mean() - one.mean()) / one.std())
    still = PanelInputs(names=inputs.names, values=np.zeros_like(inputs.values), known=inputs.known)
    assert set(cached_inputs(KEY, None, lambda: still).shift(train, validation).values()) == {0.0}
