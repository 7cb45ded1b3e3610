import os
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import SessionStartInfo

from study.results.epoch_report import EpochRecord
from study.results.tensorboard import TrialEvents, has_events
from tests.results.conftest import full_disk
from tests.results.reports import epoch_record, panel_validation

PARAMS = {"budget": "2M", "learning_rate": 1e-3, "last_day_skip": False, "patience": None}


def report(epoch: int) -> EpochRecord:
    return epoch_record(
        epoch, loss=0.6, validation=None, train_loss=0.7 - 0.01 * epoch,
        worker={"reported": 1000.0 + epoch},
    )  # fmt: skip


def read(folder: Path) -> EventAccumulator:
    # Nothing is left out, and a step that comes twice is there twice.
    sizes = {"scalars": 0, "tensors": 0}
    found = EventAccumulator(str(folder), size_guidance=sizes, purge_orphaned_data=False)
    return found.Reload()


def steps(folder: Path) -> list[int]:
    return [event.step for event in read(folder).Scalars("train_loss")]


def hparams(folder: Path) -> tuple[SessionStartInfo, bool]:
    """Return the start of a trial's session, and whether it has an end."""
    content = read(folder).summary_metadata
    start = content[metadata.SESSION_START_INFO_TAG].plugin_data.content
    return (
        metadata.parse_session_start_info_plugin_data(start),
        metadata.SESSION_END_INFO_TAG in content,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "cell" / "trial_0000_d64"
    path.mkdir(parents=True)
    return path


def test_a_trial_is_there_with_its_parameters_before_its_first_epoch(folder: Path) -> None:
    events = TrialEvents(folder, PARAMS, [], group="cell/trial")
    start, has_ended = hparams(folder)
    assert not has_ended
    assert start.hparams["budget"].string_value == "2M"
    assert start.hparams["learning_rate"].number_value == 1e-3
    assert start.hparams["last_day_skip"].bool_value is False
    assert "patience" not in start.hparams
    events.close(ended=True)
    assert hparams(folder)[1]


def test_an_epoch_is_there_at_once_and_missing_values_are_left_out(folder: Path) -> None:
    events = TrialEvents(folder, PARAMS, [], group="cell/trial")
    events.epoch(report(1))
    found = read(folder)
    tags = set(found.Tags()["scalars"])
    assert {"train_loss", "best_validation_loss", "checkpoint_seconds"} <= tags
    assert not {"validation_loss", "auc", "temperature_max"} & tags
    (event,) = found.Scalars("train_loss")
    assert (event.step, event.wall_time) == (1, 1001.0)
    assert event.value == pytest.approx(0.69)
    events.close(ended=False)


def test_each_further_head_of_a_panel_has_a_curve(folder: Path) -> None:
    events = TrialEvents(folder, PARAMS, [], group="cell/trial")
    further = {"1": 0.011, "20": 0.03}
    events.epoch(epoch_record(1, validation=panel_validation(0.05, further_rank_ic=further)))
    found = read(folder)
    curves = {tag: found.Scalars(tag)[0].value for tag in found.Tags()["scalars"] if "rank" in tag}
    assert curves == pytest.approx({"rank_ic": 0.05, "rank_ic/h1": 0.011, "rank_ic/h20": 0.03})
    events.close(ended=False)


@pytest.mark.parametrize("tear", [0, 1, 30])
def test_a_reopened_trial_has_one_file_with_each_step_once(folder: Path, tear: int) -> None:
    events = TrialEvents(folder, PARAMS, [], group="cell/trial")
    for epoch in (1, 2, 3):
        events.epoch(report(epoch))
    events.close(ended=False)
    (file,) = folder.iterdir()
    os.truncate(file, file.stat().st_size - tear)
    # What another crash left behind.
    (folder / "events.out.tfevents.0000000000000001.old.1").write_bytes(b"noise")

    again = TrialEvents(folder, PARAMS, [report(1), report(2), report(3)], group="cell/trial")
    again.epoch(report(4))
    again.close(ended=True)
    assert len(list(folder.iterdir())) == 1
    assert steps(folder) == [1, 2, 3, 4]
    start, has_ended = hparams(folder)
    assert start.hparams["budget"].string_value == "2M"
    assert has_ended


def test_a_trial_that_is_paused_has_no_end(folder: Path) -> None:
    TrialEvents(folder, PARAMS, [report(1)], group="cell/trial").close(ended=False)
    assert not hparams(folder)[1]


def test_files_of_other_writers_stay(folder: Path) -> None:
    (folder / "events.out.tfevents.1700000000.host.123.0").write_bytes(b"mine")
    TrialEvents(folder, PARAMS, [report(1)], group="cell/trial").close(ended=True)
    TrialEvents(folder, PARAMS, [report(1)], group="cell/trial").close(ended=True)
    assert len(list(folder.iterdir())) == 2
    assert has_events(folder, 1)
    assert (folder / "events.out.tfevents.1700000000.host.123.0").read_bytes() == b"mine"


def test_a_file_that_cannot_be_written_leaves_the_old_one(folder: Path) -> None:
    epochs = [report(1), report(2)]
    TrialEvents(folder, PARAMS, epochs, group="cell/trial").close(ended=False)
    (old,) = folder.iterdir()
    content = old.read_bytes()
    with full_disk(len(content) // 2), pytest.raises(OSError, match="File too large"):
        TrialEvents(folder, PARAMS, epochs, group="cell/trial")
    assert old.read_bytes() == content
    TrialEvents(folder, PARAMS, epochs, group="cell/trial").close(ended=True)
    assert len(list(folder.iterdir())) == 1
    assert steps(folder) == [1, 2]
