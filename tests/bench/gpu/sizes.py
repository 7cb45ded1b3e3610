"""How much ``make gpu`` measures: on a GPU, and in tiny sizes where there is none."""

from dataclasses import dataclass, replace

from study.model.model_config import ModelConfig

BASE = ModelConfig(
    n_features=25, d_model=192, n_layers=4, n_heads=8, d_ff_ratio=4, dropout=0.2,
    auxiliary_head=True, last_day_skip=True,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class StepSize:
    """An architecture whose step is timed."""

    width: int
    layers: int
    heads: int
    steps: int
    """Steps per epoch."""
    bar: str
    """Rate that the step must reach, in words."""

    @property
    def name(self) -> str:
        return f"d{self.width} L{self.layers}"

    @property
    def model(self) -> ModelConfig:
        return replace(BASE, d_model=self.width, n_layers=self.layers, n_heads=self.heads)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """How much is measured."""

    steps: tuple[StepSize, ...]
    profiled: tuple[StepSize, ...]
    compiled_widths: tuple[int, ...]
    backend: str
    """The compiler of the elementwise chains, by torch's name."""
    batch: int
    product: int
    """Rows of the square matrices whose product is the device's rate."""
    processes: tuple[int, ...]
    together_seconds: float
    seeds: int
    trials: int
    """Trials of a cell; 0 starts no other command."""
    settings: tuple[str, ...]
    """Settings of MPS under which several processes and a cell are timed."""
    times: float
    """Factor of the seconds that a part of the table may take."""


FULL = Sizes(
    steps=(
        StepSize(192, 4, 8, 13, "6x of 28,300/s"),
        StepSize(64, 64, 8, 8, "6x of 2,095/s"),
        StepSize(384, 12, 8, 13, "4x of 11,460/s"),
        StepSize(768, 28, 16, 8, "1.8x of 4,458/s"),
        StepSize(2048, 48, 16, 3, "50 % of the product"),
        StepSize(1024, 192, 16, 2, "35 % of the product"),
    ),
    profiled=(
        StepSize(192, 4, 8, 13, ""),
        StepSize(64, 64, 8, 8, ""),
        StepSize(768, 28, 16, 8, ""),
    ),
    compiled_widths=(192, 768),
    backend="inductor",
    batch=256,
    product=8192,
    processes=(1, 8, 16),
    together_seconds=1.5,
    seeds=3,
    trials=24,
    settings=("on", "off"),
    times=1.0,
)
TINY = Sizes(
    steps=(StepSize(16, 1, 2, 2, "-"), StepSize(8, 2, 2, 2, "-")),
    profiled=(StepSize(16, 1, 2, 2, ""),),
    compiled_widths=(16,),
    # It compiles no C++, which would take a minute.
    backend="aot_eager",
    batch=8,
    product=64,
    processes=(1, 2),
    together_seconds=0.2,
    seeds=1,
    trials=0,
    settings=("off",),
    # A busy machine takes long for the imports of a process.
    times=10.0,
)
