"""CPU, memory and accelerator counts as kfp takes them."""

from __future__ import annotations

import math
import re
from typing import Any

from run_kfp.errors import shown

# Bytes of one argument of a program, its closing NUL included: MAX_ARG_STRLEN of Linux, 32 pages of 4096 (execve(2)).
LONGEST_ARGUMENT = 131_072

# Bytes of outputs that Vertex AI takes of a task (https://cloud.google.com/vertex-ai/docs/quotas#vertex-ai-pipelines).
MOST_OUTPUT = 131_072

# kfp's own patterns (kfp 2.17, dsl/pipeline_task.py: set_cpu_limit, set_memory_limit).
CPU = re.compile(r"([0-9]*\.)?[0-9]+m?")
MEMORY = re.compile(r"[1-9][0-9]*(E|Ei|P|Pi|T|Ti|G|Gi|M|Mi|K|Ki)")

COUNT = re.compile(r"[0-9]{1,4}")

_UNITS = {"": 1} | {
    letter + binary: (1024 if binary else 1000) ** power
    for power, letter in enumerate("KMGTPE", 1)
    for binary in ("", "i")
}


# From here on a number without a unit is one of bytes: no machine has a million gigabytes.
_FEWEST_BYTES = 1_000_000


def cpu_text(value: Any) -> str:
    """Return a CPU limit as kfp takes it ("16", "0.5", "500m"); a number is accepted.

    Raises ValueError with what is allowed.
    """
    text = shown(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    if isinstance(text, str) and CPU.fullmatch(text) and text.strip("0.m"):
        return text
    suggestion = ""
    # What people write behind a number of CPUs, and a comma where the fraction begins.
    pattern = r"\s*([0-9]+)(?:[.,]([0-9]+))?\s*(m?)\s*(?:v?cpus?|v?cores?|)\s*"
    number = re.fullmatch(pattern, text, re.IGNORECASE) if isinstance(text, str) else None
    if number and (number[1] + (number[2] or "")).strip("0"):
        suggestion = f': "{number[1]}{"." + number[2] if number[2] else ""}{number[3].lower()}"?'
    raise ValueError(
        f'{shown(value)} is not a valid CPU limit: write CPUs (16, 0.5) or thousandths ("500m"){suggestion}'
    )


def memory_text(value: Any) -> str:
    """Return a memory limit as kfp takes it ("128G", "512Mi").

    Raises ValueError with what is allowed and, where there is one, the nearest right form.

    A bare number is refused although kfp takes it: "32" compiles to 32 bytes.
    """
    if isinstance(value, str) and MEMORY.fullmatch(value):
        return value
    text = shown(value) if isinstance(value, int) and not isinstance(value, bool) else value
    nearest = nearest_memory(text) if isinstance(text, str) else ""
    raise ValueError(
        f"{shown(value)} is not a valid memory limit: write an integer and a unit, K, M, G, T or Ki, Mi, Gi, Ti"
        + (f': "{nearest}"?' if nearest else "")
    )


def nearest_memory(text: str) -> str:
    """Return the memory limit that is meant, or an empty string; without a unit a small number means gigabytes."""
    match = re.fullmatch(r"\s*([0-9]{1,18})([.,][0-9]{1,18})?\s*([EPTGMKegptmk]?)(i?)[bB]?\s*", text)
    if not match or not float(match[1] + (match[2] or "").replace(",", ".")):
        return ""
    whole, fraction, unit, binary = match[1].lstrip("0"), match[2], match[3].upper(), match[4]
    if not unit and not fraction and int(whole) >= _FEWEST_BYTES:
        for name in ("Gi", "G", "Mi", "M", "Ki"):
            if int(whole) % _UNITS[name] == 0:
                return f"{int(whole) // _UNITS[name]}{name}"
        return f"{math.ceil(int(whole) / _UNITS['M'])}M"
    unit = unit or "G"
    if not fraction:
        return f"{whole}{unit}{binary}"
    smaller = {"E": "P", "P": "T", "T": "G", "G": "M", "M": "K"}.get(unit)
    factor = 1024 if binary else 1000
    amount = round(float(f"{match[1]}.{fraction[1:]}") * factor)
    return f"{amount}{smaller}{binary}" if smaller and amount else ""


def count_text(value: Any) -> str:
    """Return an accelerator count as kfp takes it, "0" or more. Raises ValueError with what is allowed."""
    text = shown(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not COUNT.fullmatch(text):
        raise ValueError(f"{shown(value)} is not a valid number of accelerators: write an integer, 0 for none")
    return str(int(text))


def cpus(limit: str) -> float:
    """Return the number of CPUs of a limit that `cpu_text` returned: "500m" is half a CPU."""
    return float(limit.removesuffix("m")) / (1000 if limit.endswith("m") else 1)


def memory_bytes(limit: str) -> int:
    """Return the bytes of a limit that `memory_text` returned."""
    digits = limit.rstrip("KMGTPEi")
    unit: int = _UNITS[limit.removeprefix(digits)]
    return int(digits) * unit


def bytes_words(count: int) -> str:
    """Write a number of bytes for a person."""
    size, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:.3g} {unit}"
