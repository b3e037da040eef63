"""What a GGUF file's name says: which quantisation it is, and which shard of how many.

Qwen3-4B-Q4_K_M.gguf | model.i1-IQ3_M.gguf | UD-Q4_K_XL/x-00001-of-00002.gguf | phi-3-mini-fp16.gguf
"""

import re

SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf", re.IGNORECASE)
_LABEL = re.compile(
    r"(?:^|(?<=[-._ /]))(?:(UD|i1)[-._])?((?:IQ|TQ|Q)\d(?:_[A-Z0-9]+)*|BF16|FP?16|FP?32|MXFP4(?:_MOE)?)(?=$|[-._ /])",
    re.IGNORECASE,
)


def label_of(stem: str) -> str:
    """The quantisation that a file's name or its folder says, in one spelling; empty where they say none.

    >>> [label_of(stem) for stem in ("Qwen3-4B-q4_k_m", "UD-Q4_K_XL/Qwen3-8B", "x.i1-IQ3_M", "phi-fp16", "Qwen3-4B")]
    ['Q4_K_M', 'UD-Q4_K_XL', 'i1-IQ3_M', 'F16', '']
    """
    for part in reversed(stem.split("/")):
        if found := _LABEL.findall(part):
            prefix, kind = map(str, found[-1])
            spelled = kind.upper().replace("FP16", "F16").replace("FP32", "F32")
            return {"ud": "UD-", "i1": "i1-"}.get(prefix.lower(), "") + spelled
    return ""
