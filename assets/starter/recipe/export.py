"""Write a checkpoint as a Hugging Face model folder: bf16 safetensors and its configurations.

python export.py --checkpoint RUN_FOLDER/checkpoint.pt --out FOLDER
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from model import END_ID, PAD_ID, build_model
from transformers import GenerationConfig


def export(checkpoint: Path, out: Path) -> None:
    """Write config.json, generation_config.json and model.safetensors into `out`."""
    model = build_model()
    model.load_state_dict(torch.load(checkpoint, weights_only=True)["model"])
    model.to(torch.bfloat16)
    model.generation_config = GenerationConfig(eos_token_id=END_ID, pad_token_id=PAD_ID, do_sample=False)
    model.save_pretrained(out)


def main() -> None:
    """Read the command line and export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    export(args.checkpoint, args.out)


if __name__ == "__main__":
    main()
