"""What secrets look like: the tokens of services, the names that people give them, texts that were drawn."""

from __future__ import annotations

import re
from collections.abc import Mapping

from run_kfp.masking import MASK, SHORTEST_SECRET

# What cannot well be anything else: a prefix that the service reserves, and the length that its tokens have.
TOKENS: Mapping[str, re.Pattern[str]] = {
    "a GitHub token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59})\b"),
    "a GitLab token": re.compile(r"\bglpat-[A-Za-z0-9_-]{20,}"),
    "a Hugging Face token": re.compile(r"\bhf_[A-Za-z0-9]{34,}\b"),
    "a key of Weights & Biases": re.compile(r"\bwandb_v1_[A-Za-z0-9_]{40,}"),
    "an API key of Google": re.compile(r"\bAIza[A-Za-z0-9_-]{35}"),
    "an access token of Google": re.compile(r"\bya29\.[A-Za-z0-9_-]{30,}"),
    "an access key of AWS": re.compile(r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b"),
    "a Slack token": re.compile(r"\bxox[abposr]-[A-Za-z0-9-]{20,}"),
    # With an upper-case letter and a digit: names of images may begin with sk- as well.
    "a key of OpenAI": re.compile(r"\bsk-(?=[a-z0-9_-]{0,60}[A-Z])(?=[A-Za-z_-]{0,60}[0-9])[A-Za-z0-9_-]{32,}"),
    "a private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
    # Of a database of a test the password is often its name.
    "a login with its password": re.compile(
        r"\b[A-Za-z][A-Za-z0-9+.-]{1,30}://(?P<user>[^\s/:@'\"$<{]*):(?!(?P=user)@|(?i:password|changeme)@)"
        r"[^\s/:@'\"$<{]{8,}@"
    ),
}

# The same, and what is left of them where a text was shortened or its case changed. A word of capitals stands for a
# password ("https://USER:PASSWORD").
_TRACES = re.compile(
    r"""
    (?i: gh[pousr]_[a-z0-9]{12,} | github_pat_\w{12,} | glpat-[\w-]{12,} | \bhf_[a-z0-9]{20,} | wandb_v1_\w{12,}
       | \baiza[\w-]{20,} | \bya29\.[\w-]{12,} | \bxox[abposr]-[\w-]{12,} )
    | \b(?:AKIA|ASIA)[A-Z2-7]{12,}
    | \bsk-(?=[a-z0-9_-]{0,60}[A-Z])(?=[A-Za-z_-]{0,60}[0-9])[A-Za-z0-9_-]{20,}
    | -----BEGIN\ (?:[A-Z]+\ )*PRIVATE\ KEY-----.*
    | (?<=://)[^\s/:@'"$<{]*:(?![A-Z]+\b)[^\s/:@'"$<{]{8,}
    """,
    re.VERBOSE | re.DOTALL,
)


def without_tokens(text: str) -> str:
    """Return a text with `***` in place of everything that `TOKENS` recognise, also where it was cut off.

    A secret that was typed in the wrong place is known to no masker; what a finding says of the place passes here.
    """
    return _TRACES.sub(MASK, text)


_CALLED_PASSWORD = re.compile(r"(?:.*_)?(?:PASSWORD|PASSWD|PASSPHRASE)")
_CALLED_TOKEN = re.compile(
    r"(?:.*_)?(?:(?:API|ACCESS|SECRET|PRIVATE|AUTH|ACCOUNT|SIGNING|ENCRYPTION|SESSION|MASTER)_?KEY|TOKEN|SECRET"
    r"|AUTHORIZATION)(?:_?[0-9])?"
)
# A path, an address, a reference to where a value lies, a placeholder; a name in place of a value.
_NO_VALUE = re.compile(r"[./~$%{<\[].*|\w+:.*|projects/.*|.*\bsecrets?/.*", re.DOTALL | re.IGNORECASE)


def called_secret(name: str, value: str) -> bool | None:
    """Say whether a value under this name surely is a secret: None where it need not be one."""
    upper = _in_capitals(name)
    if len(value) < SHORTEST_SECRET or re.search(r"\s", value) or _NO_VALUE.fullmatch(value):
        return None
    if value.lower() in ("password", "placeholder"):
        return None
    if _CALLED_PASSWORD.fullmatch(upper):
        return is_random(value)
    return True if _CALLED_TOKEN.fullmatch(upper) and is_random(value) else None


def is_secret_name(name: str) -> bool:
    """Say whether the name of a variable says that it holds a secret; a token of a tokenizer (EOS_TOKEN) is none."""
    upper = _in_capitals(name)
    if re.fullmatch(r"(?:.*_)?(?:BOS|EOS|CLS|SEP|PAD|UNK|MASK|START|STOP|END)_TOKEN", upper):
        return False
    return any(called.fullmatch(upper) for called in (_CALLED_PASSWORD, _CALLED_TOKEN))


def holds_token(text: str) -> str:
    """Return what a text holds that has the shape of a token, in words; empty where it holds none."""
    return next((kind for kind, pattern in TOKENS.items() if pattern.search(text)), "")


def _in_capitals(name: str) -> str:
    """Return the name of an option, a key or a variable as a variable is written."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.removesuffix("()")).strip("-")
    return re.sub(r"[-.\s]", "_", words).upper()


def is_random(value: str) -> bool:
    """Say whether a text looks as if it was drawn: 16 characters or more, with letters and digits in turns."""
    if not re.fullmatch(r"[A-Za-z0-9+/=_.~-]{16,}", value):
        return False
    return len(re.findall(r"(?<=[0-9])[A-Za-z]|(?<=[A-Za-z])[0-9]", value)) >= 4
