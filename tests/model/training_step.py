"""Run as a program: a few training steps of one architecture; prints the peak resident bytes."""

import json
import sys

import torch
from torch.nn import functional

from study.model.config import ModelConfig
from study.model.patchtst import PatchTST
from study.training.device import peak_memory_bytes


def main() -> None:
    spec = json.loads(sys.argv[1])
    micro_batch, bf16, ema = spec.pop("micro_batch"), spec.pop("bf16"), spec.pop("ema")
    config = ModelConfig(**spec)
    torch.set_num_threads(1)
    with torch.device("meta"):
        model = PatchTST(config, bf16=bf16)
    model.to_empty(device="cpu")
    model.initialise(torch.Generator().manual_seed(0), 0.3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    copies = [p.detach().clone() for _ in range(1 + ema) for p in model.parameters()]
    x_BCF = torch.randn(micro_batch, config.context_length, config.n_features)
    label_B = torch.zeros(micro_batch)
    for _ in range(2):
        for _ in range(2):
            logit_B = model(x_BCF).logit_B
            loss = functional.binary_cross_entropy_with_logits(logit_B, label_B)
            torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    assert copies
    # Not getrusage: on Linux a child's ru_maxrss starts at that of the process that forked it.
    print(peak_memory_bytes(torch.device("cpu")))


if __name__ == "__main__":
    main()
