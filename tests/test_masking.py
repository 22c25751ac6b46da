"""The one masking function: every form in which a secret turns up, also cut by the chunks of a stream."""

from __future__ import annotations

import base64
import html
import itertools
import json
import re
import urllib.parse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from run_kfp.masking import MASK, Masker

SECRET = "pa55 w'ord\"/ü&<%$+\\~é漢"  # every character that some encoder writes in its own way
TOKEN = "tok3n-with-Characters_0"


def masker(*values: str) -> Masker:
    made = Masker()
    for value in values:
        made.add(value)
    return made


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        urllib.parse.quote(SECRET),
        urllib.parse.quote(SECRET, safe=""),
        urllib.parse.quote_plus(SECRET),
        re.sub("%..", lambda match: match[0].lower(), urllib.parse.quote(SECRET)),
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        json.dumps(json.dumps(SECRET)),
        repr(SECRET),
        html.escape(SECRET),
        "'" + SECRET.replace("'", "'\"'\"'") + "'",
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
    ],
)
def test_every_form_is_masked(form: str) -> None:
    masked = masker(SECRET).mask(f"before {form} after")

    assert MASK in masked
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    assert "ord" not in masked


@pytest.mark.parametrize(
    "login",
    [
        f"https://somebody:{TOKEN}",
        f"https://somebody:{TOKEN}@github.com",
        f"https://somebody:{TOKEN}@github.com/team/repository.git",
        f"somebody:{TOKEN}",
        f"https://{TOKEN}@github.com",
    ],
)
@pytest.mark.parametrize(
    "text",
    [
        f"fatal: Authentication failed for 'https://somebody:{TOKEN}@github.com/team/repository.git/'",
        f"remote: {TOKEN}",
        f"Authorization: token {TOKEN}",
    ],
)
def test_the_token_of_a_login_is_masked_wherever_it_stands(login: str, text: str) -> None:
    masked = masker(login).mask(text)

    assert TOKEN not in masked
    assert masked.startswith(text[:6])


def test_the_basic_header_of_a_login_is_masked() -> None:
    header = base64.b64encode(f"somebody:{TOKEN}".encode()).decode()

    assert header not in masker(f"https://somebody:{TOKEN}").mask(f"> Authorization: Basic {header}")


def test_a_percent_encoded_token_is_masked_in_clear() -> None:
    assert "p@ss:word" not in masker("https://somebody:p%40ss%3Aword@host").mask("the password is p@ss:word")


def test_the_lines_of_a_key_are_masked_one_by_one() -> None:
    lines = ["first line of a key", "second line of a key"]

    masked = masker("\n".join(lines)).mask(f"{lines[1]} and {lines[0]}")

    assert masked == f"{MASK} and {MASK}"


def test_overlapping_values_become_one_mask() -> None:
    assert masker("abcdefgh", "efghijkl").mask("xabcdefghijkly") == f"x{MASK}y"
    assert masker("aaaaaaaa").mask("aaaaaaaaaa") == MASK


def test_what_is_not_known_passes() -> None:
    assert Masker().mask("anything") == "anything"
    assert masker("").mask("anything") == "anything"
    assert masker("https://somebody:ab").mask("ab") == "ab"  # too short to be told from a word


def test_a_value_too_short_to_be_a_secret_does_not_tear_up_the_text() -> None:
    assert masker("q", "test", " project ").mask("aqua test project") == "aqua test project"
    assert masker("abcdefgh").mask("xabcdefghx") == f"x{MASK}x"


def test_a_broken_url_is_masked_whole() -> None:
    assert masker("https://[::1").mask("to https://[::1 now") == f"to {MASK} now"


def streamed(known: Masker, chunks: list[str]) -> str:
    stream = known.stream()
    return "".join([*(stream.feed(chunk) for chunk in chunks), stream.close()])


secrets_ = st.lists(st.text(min_size=8, max_size=12), min_size=1, max_size=3)


@settings(max_examples=300)
@given(values=secrets_, words=st.lists(st.text(max_size=6), max_size=5), data=st.data())
def test_chunks_do_not_matter(values: list[str], words: list[str], data: st.DataObject) -> None:
    known = masker(*values)
    text = "".join(word + data.draw(st.sampled_from(["", *values])) for word in words)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    bounds = [0, *cuts, len(text)]
    chunks = [text[start:end] for start, end in itertools.pairwise(bounds)]

    # Masks that touch may come apart at a chunk's end; what stands around them may not differ.
    assert re.sub(r"\*+", "*", streamed(known, chunks)) == re.sub(r"\*+", "*", known.mask(text))


@settings(max_examples=300)
@given(before=st.text(max_size=20), after=st.text(max_size=20))
def test_a_secret_never_comes_out_of_a_stream_cut_anywhere(before: str, after: str) -> None:
    text = before + TOKEN + after
    for cut in range(len(text) + 1):
        assert TOKEN not in streamed(masker(TOKEN), [text[:cut], text[cut:]])


def test_a_stream_holds_back_only_what_may_be_a_beginning() -> None:
    stream = masker(TOKEN).stream()

    assert stream.feed("step 1 done\n") == "step 1 done\n"
    assert stream.feed("the key is " + TOKEN[:4]) == "the key is "
    assert stream.feed("nothing after all") == TOKEN[:4] + "nothing after all"
