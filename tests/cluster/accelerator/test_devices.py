"""An accelerator that cannot be used, or only in part, is refused in one line with its reason."""

import warnings
from pathlib import Path

import pytest
import torch

from study.cluster.accelerator.devices import DeviceFacts, device_facts, facts_meanwhile
from study.cluster.resources import Node
from study.errors import SpecError
from study.planning.feasibility import InfeasibleError, fitting_space
from study.search.space import build_space
from study.search.trial_memory import StepSetting
from study.spec.spec_file import load_study
from study.training.device import absence, is_present, resolve_device
from tests.accelerator import accelerator

TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 12020). Please update your GPU "
    "driver by downloading and installing a new version from the URL: "
    "http://www.nvidia.com/Download/index.aspx Alternatively, go to: https://pytorch.org to "
    "install a PyTorch version that has been compiled with your version of the CUDA driver."
)
"""What c10/cuda/CUDAFunctions.cpp of torch warns of when it counts the devices, and raises when it
needs one."""


@pytest.fixture
def too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    def count() -> int:
        warnings.warn(f"CUDA initialization: {TOO_OLD}", UserWarning, stacklevel=1)
        return 0

    def start() -> None:
        raise RuntimeError(TOO_OLD)

    monkeypatch.setattr(torch.cuda, "_is_compiled", lambda: True)
    # torch looks for the CUDA runtime before it starts it.
    monkeypatch.setattr(torch.cuda, "_cudart", object())
    monkeypatch.setattr(torch._C, "_cuda_getDeviceCount", count, raising=False)
    monkeypatch.setattr(torch._C, "_cuda_init", start, raising=False)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)


def test_a_driver_that_is_too_old_is_named_and_torch_stays_silent(
    too_old: None, recwarn: pytest.WarningsRecorder
) -> None:
    assert not is_present("cuda")
    assert not recwarn.list
    with pytest.raises(SpecError, match=r"too old \(found version 12020\)\)\. Choose") as refused:
        resolve_device(0.0, "cuda")
    assert "\n" not in str(refused.value)


def test_a_device_that_torch_cannot_use_is_refused_before_any_trial(too_old: None) -> None:
    facts = DeviceFacts(problem=absence("cuda"))
    with pytest.raises(SpecError, match=r"of here, but got The NVIDIA driver .* --device cpu"):
        facts.require_usable("here")


@pytest.mark.slow
def test_another_process_reads_the_facts_that_this_one_would() -> None:
    with facts_meanwhile() as facts:
        assert facts() == device_facts()


def test_a_process_that_cannot_read_the_facts_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "false")
    with facts_meanwhile() as facts, pytest.raises(SpecError, match=r"but got exit code 1\. Check"):
        facts()


def program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return str(path)


def test_a_driver_that_hangs_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", program(tmp_path / "hangs", "exec sleep 60"))
    monkeypatch.setattr("study.cluster.accelerator.devices._FACTS_SECONDS", 0.1)
    with facts_meanwhile() as facts, pytest.raises(SpecError, match=r"but got no answer within"):
        facts()


def test_what_a_library_prints_before_the_facts_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", program(tmp_path / "talks", "echo hello; echo '{}'"))
    with facts_meanwhile() as facts:
        assert facts() == DeviceFacts()


def test_a_logical_device_is_no_fault() -> None:
    DeviceFacts().require_usable("here")


def test_only_apple_has_its_kind_of_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    assert absence("mps") == "only Apple's machines have it"


def test_a_device_that_is_there_is_no_absence() -> None:
    with accelerator("cuda"):
        assert is_present("cuda")


def test_memory_that_others_hold_is_named_beside_what_is_needed() -> None:
    cell = load_study(Path("search_spaces/phase6a.yaml")).cell("200M", 1)
    node = Node(
        name="a", cpus=16, gpus=1, memory_bytes=2**37, device_bytes=2**30, unified_memory=False,
        held_bytes=79 * 2**30,
    )  # fmt: skip
    space = build_space(cell, n_features=25)
    with pytest.raises(InfeasibleError, match=r"got [\d.]+ to [\d.]+ GiB") as refused:
        fitting_space(space, [node], StepSetting(bf16=True, device="cuda"), label="cell")
    assert "Other programs hold 79.0 GiB of the device: end them" in str(refused.value)
