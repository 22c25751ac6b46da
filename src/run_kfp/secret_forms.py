"""The forms in which programs repeat a secret value; each is text that a mask looks for.

`tests/test_masking.py` has one row for each, and the page of secrets the list.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, quote_plus, unquote, urlsplit

from run_kfp.visible import visible

# A part of a secret (the token of a login, a line of a key) and a form of it are masked from this length on.
SHORTEST_PART = 6

# From here on base64 is looked for at every offset: what is left of a shorter value there is met in other text.
_SHORTEST_SHIFTED = 8

_LOGIN = re.compile(r"[^\s/:@]+:(?P<token>[^\s/:@]+)")

# What no program escapes.
_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")

# The first and the last line of a key in PEM are the same in every key.
_PEM_LINE = re.compile(r"-----(?:BEGIN|END) [A-Z0-9 ]+-----")

# Fields of a key file of Google's that name an account or a service: whoever reads a log may know them.
# https://google.aip.dev/auth/4112 and the files that `gcloud` writes.
_NO_SECRETS = frozenset(
    {
        *("type", "project_id", "quota_project_id", "client_email", "client_id", "universe_domain", "account"),
        *("auth_uri", "token_uri", "auth_provider_x509_cert_url", "client_x509_cert_url", "token_url", "audience"),
        *("subject_token_type", "service_account_impersonation_url"),
    }
)

# What some writers of JSON escape beside what must be: Go `<`, `>`, `&`; Gson also `=` and `'`; .NET all but letters.
_JSON_MORE = ("<>&", "<>&='", "<>&'\"+`")


def secret_parts(value: str) -> Iterator[str]:
    """Yield the value and the parts of it that are secret by themselves."""
    yield value
    yield value.strip()
    for line in value.splitlines() if "\n" in value or "\r" in value else ():
        if len(line.strip()) >= SHORTEST_PART and not _PEM_LINE.fullmatch(line.strip()):
            yield line
            yield line.strip()
    for token in _tokens(value.strip()):
        if len(token) >= SHORTEST_PART:
            yield token
            yield unquote(token)
    if value.lstrip()[:1] in ("{", "["):
        try:
            fields = [*_fields(json.loads(value))]
        except (ValueError, RecursionError):  # text that is no JSON, or a number of thousands of digits
            return
        for field in fields:
            yield from secret_parts(field)


def _fields(data: Any, name: str = "") -> Iterator[str]:
    """Yield the texts of a JSON value that may be secret."""
    if isinstance(data, dict):
        for key, item in data.items():
            yield from _fields(item, key)
    elif isinstance(data, list):
        for item in data:
            yield from _fields(item, name)
    elif isinstance(data, str) and len(data.strip()) >= _SHORTEST_SHIFTED and name not in _NO_SECRETS:
        yield data


def _tokens(value: str) -> Iterator[str]:
    """Yield the password of a login (`https://login:token@host`, `login:token`), or the name that stands for one."""
    if "://" in value:
        try:
            url = urlsplit(value)
        except ValueError:  # such as an unclosed IPv6 bracket: then the scheme is all that can be told apart
            return
        # A login URL without a host, `https://login:token`, parses as host and port.
        user_info = url.netloc.rpartition("@")[0] if "@" in url.netloc else url.netloc
        login, colon, token = user_info.partition(":")
        if colon:
            yield token
            yield user_info
        elif "@" in url.netloc:
            yield login
    elif match := _LOGIN.fullmatch(value):
        yield match["token"]


def secret_forms(value: str) -> Iterator[str]:
    """Yield the value as other programs write it."""
    yield value
    yield visible(value)
    if len(value) < SHORTEST_PART:
        return
    raw = value.encode("utf-8", "surrogatepass")
    yield from (value.upper(), value.lower(), raw.hex(), raw.hex().upper())
    yield from (form for form in _base64(raw) if len(form) >= SHORTEST_PART)
    if not _PLAIN.fullmatch(value):
        yield from _percent(value)
        yield from _json(value)
        yield from _python(value, raw)
        yield from _markup(value)
        yield from _shell(value)


def _percent(value: str) -> Iterator[str]:
    """Percent-encoded once and twice, as Python, JavaScript (`encodeURI`, `encodeURIComponent`) and forms do it."""
    for safe in ("", "/", "/:@", "!'()*", ";,/?:@&=+$!'()*#"):
        yield from _percent_in_both_cases(quote(value, safe=safe, errors="surrogatepass"))
    yield from _percent_in_both_cases(quote_plus(value, errors="surrogatepass"))


def _percent_in_both_cases(encoded: str) -> Iterator[str]:
    for form in (encoded, re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), encoded)):
        yield form
        yield form.replace("%", "%25")


def _json(value: str) -> Iterator[str]:
    """In a JSON string, and in one that is in a JSON string again: a log entry of a log entry."""
    once = set()
    for form in (json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]):
        # PHP escapes the slash.
        for slashed in (form, form.replace("/", "\\/")):
            once |= {slashed, _escaped(slashed, "\u2028\u2029")}
            once |= {_escaped(slashed, f"{more}\u2028\u2029") for more in _JSON_MORE}
    # Hexadecimal digits in upper case, as .NET and PHP's JSON_HEX_TAG have them.
    once |= {re.sub(r"(?<=\\u)[0-9a-f]{4}", lambda match: match[0].upper(), form) for form in once}
    yield from once
    for form in once:
        yield json.dumps(form)[1:-1]
        yield json.dumps(form, ensure_ascii=False)[1:-1]


def _escaped(form: str, characters: str) -> str:
    for character in characters:
        # A double quote is escaped already.
        written = '\\"' if character == '"' else character
        form = form.replace(written, f"\\u{ord(character):04x}")
    return form


def _python(value: str, raw: bytes) -> Iterator[str]:
    """In `repr` and `ascii` of text and bytes, also where both quotes are in it, and in the `repr` of such a text."""
    plain = (repr(value)[1:-1], ascii(value)[1:-1], repr(raw)[2:-1])
    beside_a_quote = (repr(f'"{value}')[2:-1], ascii(f'"{value}')[2:-1], repr(b'"' + raw)[3:-1])
    for form in (*plain, *beside_a_quote):
        yield form
        yield (again := form.replace("\\", "\\\\"))
        yield again.replace("'", "\\'")


def _markup(value: str) -> Iterator[str]:
    """In HTML and XML."""
    for form in (html.escape(value), html.escape(value, quote=False)):
        yield form
        yield form.replace("&#x27;", "&#39;")
        yield form.replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
        yield form.replace("&#x27;", "&apos;")


def _shell(value: str) -> Iterator[str]:
    """In single and double quotes, and with backslashes; in SQL and TOML a quote is doubled."""
    yield value.replace("'", "'\"'\"'")
    yield value.replace("'", "'\\''")
    yield value.replace("'", "''")
    yield re.sub(r'(["\\$`])', r"\\\1", value)
    for plain in (r"\w@%+=:./~-", r"\w@%+=:,./~-"):  # bash by its version
        yield re.sub(f"([^{plain}])", r"\\\1", value)


def _base64(raw: bytes) -> Iterator[str]:
    """In base64 of the value alone, and of a text that it is in: then it begins in one of three places of a group."""
    for alphabet in (base64.b64encode, base64.urlsafe_b64encode):
        whole = alphabet(raw).decode("ascii")
        forms = [whole, whole.rstrip("=")]
        for shift in range(3) if len(raw) >= _SHORTEST_SHIFTED else ():
            encoded = alphabet(bytes(shift) + raw).decode("ascii")
            # Without the digits that hold a bit of a neighbor; each digit has six.
            forms.append(encoded[-(-shift * 8 // 6) : (shift + len(raw)) * 8 // 6])
        for form in forms:
            yield form
            yield quote(form, safe="")
            yield form.replace("/", "\\/")
