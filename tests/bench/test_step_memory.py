"""The modelled memory of a step against the peak of a process, over the budgets of the space.

Run by hand with ``make bench ARGS="-k 'step_memory and not lean_2b'"``: fifteen minutes.
The two lean models of 2B take half an hour each, 12 GiB, and 8 GiB of the disk of temporary files:
``make bench ARGS="-k lean_2b"``.
"""

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from ray import tune

from study.cluster.resources import Node, plan_resources
from study.cluster.runtime import cluster
from study.data.dataset import build_dataset
from study.model.architecture import AssetAttention
from study.model.lean_memory import lean_step_memory
from study.model.memory import step_memory
from study.model.model_config import ModelConfig
from study.model.sizing import count_parameters
from study.results.epoch_report import EpochRecord
from study.search.assignment import Assignment
from study.search.space import SearchSpace, Shape, TrialConfig, build_space
from study.spec.dimension import Fixed
from study.spec.overrides import Overrides
from study.spec.spec_file import load_study
from study.spec.specification import Cell
from study.training.device import supports_bf16
from study.tuner.trainable import CellTrainable, StepResult, TrialSettings
from tests.model.trial_peak import measured_peak
from tests.tuner.in_process import ray_environment

SPACE = Path(__file__).parent.parent.parent / "search_spaces" / "phase6a.yaml"
MIB = 2**20
ROOMY = Node(
    name="roomy", cpus=64, gpus=0, memory_bytes=2**40, device_bytes=2**40, unified_memory=True
)
MOST_OFF = 0.15

# Budget, (d_model, n_layers, d_ff_ratio, n_heads), micro-batch, bfloat16: from narrow and deep to
# wide and shallow.
CASES = [
    ("2M", (64, 64, 2, 4), 256, True),
    ("2M", (64, 48, 2, 32), 256, True),
    ("2M", (64, 48, 4, 8), 256, True),
    ("2M", (64, 48, 4, 8), 256, False),
    ("2M", (192, 6, 2, 8), 256, True),
    ("2M", (192, 6, 2, 8), 256, False),
    ("2M", (384, 2, 2, 8), 256, True),
    ("20M", (128, 180, 2, 8), 64, True),
    ("20M", (128, 180, 2, 8), 256, True),
    ("20M", (256, 24, 4, 8), 128, True),
    ("20M", (384, 16, 2, 8), 256, True),
    ("20M", (384, 12, 4, 8), 128, False),
    ("20M", (1024, 2, 2, 16), 256, True),
    ("20M", (1024, 2, 2, 16), 128, False),
    ("200M", (256, 192, 4, 8), 32, True),
    ("200M", (512, 64, 4, 8), 32, True),
    ("200M", (768, 32, 2, 8), 64, True),
    ("200M", (1024, 16, 4, 8), 32, False),
    ("200M", (1536, 8, 2, 8), 32, True),
    ("200M", (2048, 4, 4, 16), 64, True),
]

# Lean ones, with the effective batch after the micro-batch: the table of docs/memory.md.
LEAN_CASES = [
    ("2M", (64, 32, 4, 8), 32, 256, True),
    ("20M", (384, 12, 4, 8), 32, 256, True),
    ("20M", (384, 12, 4, 8), 256, 256, True),
    ("20M", (1024, 2, 2, 16), 32, 256, True),
    ("20M", (128, 180, 2, 8), 32, 64, True),
    ("200M", (768, 32, 2, 8), 16, 32, True),
    ("200M", (256, 192, 4, 8), 16, 32, True),
    ("200M", (1024, 16, 4, 8), 32, 32, False),
    ("200M", (2048, 4, 4, 16), 16, 32, True),
]
LEAN_2B = [
    ("2B", (1024, 256, 2, 16), 32, 256, True),
    ("2B", (2048, 48, 4, 16), 32, 256, True),
]
MOST_OFF_LEAN = 0.10

# The same of iTransformers, after the number of features: 26 and 212 tokens.
FEATURE_CASES = [
    (25, (192, 4, 4, 8), 128, True),
    (25, (192, 4, 4, 8), 128, False),
    (25, (64, 48, 2, 32), 64, True),
    (25, (64, 48, 2, 8), 64, False),
    (25, (384, 2, 2, 8), 256, True),
    (211, (192, 4, 4, 8), 32, True),
    (211, (192, 4, 4, 8), 32, False),
    (211, (64, 48, 2, 16), 8, False),
    (211, (384, 2, 2, 32), 64, True),
]

# Panels: assets, attention across them, (d_model, n_layers, d_ff_ratio, n_heads), days of a
# micro-batch, bfloat16.
PANEL_CASES: list[tuple[int, AssetAttention, tuple[int, int, int, int], int, bool]] = [
    (20, "none", (64, 4, 4, 4), 16, True),
    (20, "sector", (64, 4, 4, 4), 16, True),
    (20, "all", (192, 4, 4, 8), 16, False),
    (500, "all", (64, 4, 4, 4), 1, True),
    (500, "sector", (192, 2, 2, 8), 1, False),
    (2000, "sector", (64, 2, 4, 4), 1, True),
]

pytestmark = [
    pytest.mark.bench,
    pytest.mark.skipif(sys.platform != "linux", reason="the peak cannot be begun anew elsewhere"),
]


def cell_of(budget: str, family: str = "patchtst") -> Cell:
    model = {"family": Fixed(family)}
    return load_study(SPACE).cell(budget, 1, Overrides(model=model))


def space_of(budget: str, family: str = "patchtst", n_features: int = 25) -> SearchSpace:
    return build_space(cell_of(budget, family), n_features=n_features)


def say(
    label: str, model: ModelConfig, micro_batch: int, *, bf16: bool, measured: int, modelled: int
) -> None:
    print(
        f"\n{label} d{model.d_model} L{model.n_layers} x{model.d_ff_ratio} h{model.n_heads}, "
        f"{count_parameters(model) / 1e6:.1f}M, micro-batch {micro_batch}, "
        f"{'bfloat16' if bf16 else 'float32'}: {measured / MIB:.0f} MiB measured, "
        f"{modelled / MIB:.0f} modelled, ratio {modelled / measured:.3f}",
        end="",
    )


def judge(budget: str, model: ModelConfig, micro_batch: int, *, bf16: bool, measured: int) -> None:
    modelled = step_memory(model, micro_batch, bf16=bf16, ema=True).total
    granted = plan_resources([ROOMY], wanted_bytes=modelled).granted_bytes
    say(f"{budget:>4}", model, micro_batch, bf16=bf16, measured=measured, modelled=modelled)
    print(f", {granted / MIB:.0f} granted", end="")
    assert abs(modelled / measured - 1) <= MOST_OFF
    assert measured <= granted


@pytest.mark.parametrize(("budget", "shape", "micro_batch", "bf16"), CASES, ids=str)
def test_a_trial_holds_what_is_modelled(
    budget: str, shape: tuple[int, int, int, int], micro_batch: int, bf16: bool
) -> None:
    if bf16 and not supports_bf16(torch.device("cpu")):
        pytest.skip("bfloat16 is emulated")
    space = space_of(budget)
    assert Shape(budget, *shape) in space.shapes
    model = space.forced(Shape(budget, *shape)).model
    measured = measured_peak(model, micro_batch, bf16=bf16)
    judge(budget, model, micro_batch, bf16=bf16, measured=measured)


def judge_lean(
    budget: str, shape: tuple[int, int, int, int], micro_batch: int, batch: int, bf16: bool
) -> int:
    """Compare model and process, and return the measured bytes."""
    if bf16 and not supports_bf16(torch.device("cpu")):
        pytest.skip("bfloat16 is emulated")
    space = space_of(budget)
    assert Shape(budget, *shape) in space.shapes
    model = space.forced(Shape(budget, *shape)).model
    measured = measured_peak(model, micro_batch, bf16=bf16, memory="lean", effective_batch=batch)
    modelled = lean_step_memory(
        model, micro_batch, effective_batch=batch, bf16=bf16, ema=True, maps_files=True
    ).total
    say(f"{budget:>4} lean, batch {batch}", model, micro_batch, bf16=bf16, measured=measured,
        modelled=modelled)  # fmt: skip
    assert abs(modelled / measured - 1) <= MOST_OFF_LEAN
    return measured


@pytest.mark.parametrize(("budget", "shape", "micro_batch", "batch", "bf16"), LEAN_CASES, ids=str)
def test_a_lean_trial_holds_what_is_modelled(
    budget: str, shape: tuple[int, int, int, int], micro_batch: int, batch: int, bf16: bool
) -> None:
    judge_lean(budget, shape, micro_batch, batch, bf16)


@pytest.mark.parametrize(("budget", "shape", "micro_batch", "batch", "bf16"), LEAN_2B, ids=str)
def test_lean_2b_fits_twelve_gibibytes(
    budget: str, shape: tuple[int, int, int, int], micro_batch: int, batch: int, bf16: bool
) -> None:
    assert judge_lean(budget, shape, micro_batch, batch, bf16) <= 12 * 2**30


@pytest.mark.parametrize(("n_features", "shape", "micro_batch", "bf16"), FEATURE_CASES, ids=str)
def test_an_itransformer_holds_what_is_modelled(
    n_features: int, shape: tuple[int, int, int, int], micro_batch: int, bf16: bool
) -> None:
    if bf16 and not supports_bf16(torch.device("cpu")):
        pytest.skip("bfloat16 is emulated")
    space = space_of("2M", "itransformer", n_features)
    assert Shape("2M", *shape) in space.shapes
    model = space.forced(Shape("2M", *shape)).model
    measured = measured_peak(model, micro_batch, bf16=bf16)
    judge("2M", model, micro_batch, bf16=bf16, measured=measured)


@pytest.mark.parametrize(
    ("n_assets", "attention", "shape", "micro_batch", "bf16"), PANEL_CASES, ids=str
)
def test_a_trial_of_a_panel_holds_what_is_modelled(
    n_assets: int,
    attention: AssetAttention,
    shape: tuple[int, int, int, int],
    micro_batch: int,
    bf16: bool,
) -> None:
    if bf16 and not supports_bf16(torch.device("cpu")):
        pytest.skip("bfloat16 is emulated")
    d_model, n_layers, d_ff_ratio, n_heads = shape
    model = ModelConfig(
        n_features=25,
        n_assets=n_assets,
        n_sectors=11,
        asset_attention=attention,
        d_model=d_model,
        n_layers=n_layers,
        d_ff_ratio=d_ff_ratio,
        n_heads=n_heads,
        dropout=0.2,
    )
    measured = measured_peak(model, micro_batch, bf16=bf16)
    label = f"{n_assets} assets, attention {attention}"
    judge(label, model, micro_batch, bf16=bf16, measured=measured)


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[None]:
    with ray_environment(), cluster(None, use_accelerators=False):
        yield


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("budget", "shape", "micro_batch"),
    [("2M", (64, 48, 4, 8), 256), ("2M", (384, 2, 2, 8), 256), ("20M", (256, 24, 4, 8), 128)],
    ids=str,
)
def test_a_trial_in_a_worker_of_ray_holds_what_is_modelled(
    budget: str,
    shape: tuple[int, int, int, int],
    micro_batch: int,
    ray_cluster: None,
    tmp_path: Path,
) -> None:
    data = build_dataset(cell_of(budget).data)
    n_samples = 2 * micro_batch
    few = dataclasses.replace(
        data,
        train_days=data.train_days[:n_samples],
        validation_days=data.validation_days[:n_samples],
    )
    chosen = space_of(budget).forced(Shape(budget, *shape))
    # A long schedule, so that no trial ends as collapsed after its first epoch.
    config = dataclasses.replace(
        chosen,
        train=dataclasses.replace(chosen.train, epochs=200, effective_batch=n_samples),
    )
    peaks = [
        report.peak_memory_bytes for report in reports_of_worker(config, few, micro_batch, tmp_path)
    ]
    bf16 = supports_bf16(torch.device("cpu"))
    judge(budget, config.model, micro_batch, bf16=bf16, measured=max(peaks))


def reports_of_worker(
    config: TrialConfig, data: Any, micro_batch: int, folder: Path
) -> list[EpochRecord]:
    """Return the reports of two epochs of a real trial, in a worker of its own."""
    settings = TrialSettings(
        cell_folder=folder, device="cpu", capture=False, share_bytes={config.budget: 2**40}
    )
    worker = tune.with_parameters(
        CellTrainable,
        data=data,
        baseline_losses=np.zeros(len(data.validation_days)),
        settings=settings,
    )
    trial = Assignment(
        number=0, source="sampled", group=None, seed=0, config=config, micro_batch_limit=micro_batch
    )
    actor = ray.remote(num_cpus=1)(worker).remote(config=trial.flat())
    try:
        results = [StepResult.read(ray.get(actor.train.remote())) for _ in range(2)]
    finally:
        ray.kill(actor)
    reports = [result.report for result in results if result.report is not None]
    assert [report.micro_batch for report in reports] == [micro_batch] * 2
    return reports
