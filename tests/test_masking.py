"""The one masking function: every form in which a secret turns up, also cut by the chunks of a stream."""

from __future__ import annotations

import base64
import html
import itertools
import json
import re
import sys
import urllib.parse
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Cli, Write
from dermaid import canary
from run_kfp import localruns
from run_kfp.masking import MASK, Masker
from run_kfp.visible import visible

SECRET = "pa55 w'ord\"/ü&<%$+\\~é漢"  # every character that some encoder writes in its own way
TOKEN = "tok3n-with-Characters_0"


def masker(*values: str) -> Masker:
    made = Masker()
    for value in values:
        made.add(value)
    return made


def lower(encoded: str) -> str:
    """Percent escapes with small digits."""
    return re.sub("%..", lambda match: match[0].lower(), encoded)


def upper(escaped: str) -> str:
    r"""`\u` escapes with capital digits."""
    return re.sub(r"(?<=\\u)....", lambda match: match[0].upper(), escaped)


def go(value: str) -> str:
    """As Go's encoding/json writes it (HTMLEscape is on by default)."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(f"\\u{ord(character):04x}" if character in "<>&\u2028\u2029" else character for character in text)


RAW = SECRET.encode()

# Every form of a secret that the mask knows, as the page of secrets lists them.
FORMS = {
    "as it is": SECRET,
    "percent, URL": urllib.parse.quote(SECRET),
    "percent, everything": urllib.parse.quote(SECRET, safe=""),
    "percent, form": urllib.parse.quote_plus(SECRET),
    "percent, encodeURIComponent": urllib.parse.quote(SECRET, safe="!'()*"),
    "percent, encodeURI": urllib.parse.quote(SECRET, safe=";,/?:@&=+$!'()*#"),
    "percent, small digits": lower(urllib.parse.quote(SECRET)),
    "percent, twice": urllib.parse.quote(urllib.parse.quote(SECRET, safe=""), safe=""),
    "percent, twice, small digits": urllib.parse.quote(lower(urllib.parse.quote(SECRET, safe="")), safe=""),
    "JSON": json.dumps(SECRET),
    "JSON, UTF-8": json.dumps(SECRET, ensure_ascii=False),
    "JSON, Go": go(SECRET),
    "JSON, PHP": json.dumps(SECRET).replace("/", "\\/"),
    "JSON, PHP, UTF-8": json.dumps(SECRET, ensure_ascii=False).replace("/", "\\/"),
    "JSON, Gson": go(SECRET).replace("'", "\\u0027").replace("=", "\\u003d"),
    "JSON, .NET": upper(
        "".join(
            f"\\u{ord(character):04x}" if character in "<>&'\"+`" or ord(character) > 126 else character
            for character in SECRET.replace("\\", "\\\\")
        )
    ),
    "JSON, twice": json.dumps(json.dumps(SECRET)),
    "JSON, twice, Go": json.dumps(go(SECRET), ensure_ascii=False),
    "repr": repr(SECRET),
    "repr, beside both quotes": repr(f"'{SECRET}\""),
    "repr, twice": repr(repr(SECRET)),
    "repr of bytes": repr(RAW),
    "repr of bytes, beside both quotes": repr(b"'\"" + RAW),
    "repr of bytes in a text": repr(repr(RAW))[1:-1],
    "ascii": ascii(SECRET),
    "HTML": html.escape(SECRET),
    "HTML, text": html.escape(SECRET, quote=False),
    "HTML, templates": html.escape(SECRET).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
    "XML": html.escape(SECRET).replace("&#x27;", "&apos;"),
    "shell": "'" + SECRET.replace("'", "'\"'\"'") + "'",
    "shell, backslash": "'" + SECRET.replace("'", "'\\''") + "'",
    "shell, double quotes": re.sub(r'(["\\$`])', r"\\\1", SECRET),
    "shell, printf %q": re.sub(r"([ '\"&<$\\])", r"\\\1", SECRET),
    "SQL": SECRET.replace("'", "''"),
    "base64": base64.b64encode(RAW).decode(),
    "base64, URL-safe": base64.urlsafe_b64encode(RAW).decode().rstrip("="),
    "base64, PHP": base64.b64encode(RAW).decode().replace("/", "\\/"),
    "base64, percent": urllib.parse.quote(base64.b64encode(RAW).decode(), safe=""),
    "hexadecimal": RAW.hex(),
    "hexadecimal, capitals": RAW.hex().upper(),
    "capitals": SECRET.upper(),
    "small letters": SECRET.lower(),
    "on a terminal": visible(SECRET),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_masked(name: str) -> None:
    masked = masker(SECRET).mask(f"before {FORMS[name]} after")

    # Of a quoted form the quotes may stay, and what stood beside it inside of them.
    assert re.fullmatch(r"before [b\\'\"]*\*{3}[\\'\"=]* after", masked)


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("before", ["", "x", "xy", "xyz", "user:", "a longer name:"])
@pytest.mark.parametrize("after", ["", ":", "@h", "host"])
@pytest.mark.parametrize("value", [SECRET, TOKEN, "12345678"])
def test_base64_is_masked_wherever_the_value_begins(
    encode: Callable[[bytes], bytes], before: str, after: str, value: str
) -> None:
    encoded = encode((before + value + after).encode()).decode()

    masked = masker(value).mask(f"> Authorization: Basic {encoded}")

    assert MASK in masked
    left, right = masked.split(MASK)
    # What is left are the neighbors, and at each end a digit that they share with the value.
    assert len(left) - len("> Authorization: Basic ") <= len(before) * 8 // 6 + 1
    assert len(right.rstrip("=")) <= -(-len(after) * 8 // 6) + 1


def test_what_base64_leaves_of_a_short_part_is_no_mask() -> None:
    """`user:short7`: two digits less at each end, six characters would be masked in any text."""
    login = "https://somebody:abc123@host"

    assert masker(login).mask("key Y4bmMx 4xMjM") == "key Y4bmMx 4xMjM"
    assert masker(login).mask(f"key {base64.b64encode(b'abc123').decode()}") == f"key {MASK}"


COLOUR = "\x1b[1;31m"


@pytest.mark.parametrize("colour", [COLOUR, "\x1b[m", "\\x1b[31m", "\\u001b[31m", "\\u001B[31m", "\\033[0m", "\\e[1m"])
def test_a_colour_in_the_middle_hides_nothing(colour: str) -> None:
    for value in (SECRET, TOKEN):
        for place in range(1, len(value)):
            text = f"a {colour}b{colour} {value[:place]}{colour}{value[place:]} c {colour}d"
            assert masker(value).mask(text) == f"a {colour}b{colour} {MASK} c {colour}d"
    coloured = colour.join(TOKEN)
    assert masker(TOKEN).mask(f"{coloured}{colour}.") == f"{MASK}{colour}."
    for cut in range(len(coloured) + 1):
        assert streamed(masker(TOKEN), [coloured[:cut], coloured[cut:]]) == MASK


def a_private_key() -> str:
    """Return a key in the form of PEM, of two lines that are nobody's."""
    begin, end = (f"-----{word} PRIVATE KEY-----" for word in ("BEGIN", "END"))
    return f"{begin}\n{canary('pem')[:26]}\n{canary('pem')[-11:]}==\n{end}\n"


def test_the_fields_of_a_secret_that_is_json() -> None:
    key = a_private_key()
    value = json.dumps(
        {
            "type": "service_account",
            "project_id": "the-project-1",
            "private_key_id": "0123456789abcdef",
            "private_key": key,
            "client_email": "robot@the-project-1.iam.gserviceaccount.com",
            "token_uri": "https://oauth2.googleapis.com/token",
            "more": [{"deep": "fathoms-of-it"}],
            "short": "abc",
            "number": 12345678,
        },
        indent=2,
    )
    known = masker(value)

    assert known.mask("id 0123456789ABCDEF of fathoms-of-it") == f"id {MASK} of {MASK}"
    assert known.mask(json.dumps(key)) == f'"{MASK}"'
    for line in key.splitlines()[1:3]:
        assert known.mask(f"line {line}!") == f"line {MASK}!"
    # What names an account or a service, and the lines that every key has, are no secrets.
    rest = "service_account the-project-1 robot@the-project-1.iam.gserviceaccount.com abc"
    assert known.mask(rest) == rest
    assert known.mask(key.splitlines()[0]) == key.splitlines()[0]


def test_json_that_is_none_is_masked_whole() -> None:
    deep = "[" * 100_000
    assert masker('{"a": "bcdefghi"').mask('x {"a": "bcdefghi" bcdefghi') == f"x {MASK} bcdefghi"
    assert masker(deep).mask(f"x{deep}") == f"x{MASK}"


def test_the_keys_of_a_table_are_masked() -> None:
    known = masker(TOKEN)

    assert known.mask_all({"a": [{TOKEN: 1}, (TOKEN, None)], 2: TOKEN}) == {"a": [{MASK: 1}, [MASK, None]], "2": MASK}


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
    assert masker("abcdefgh", "ijklmnop").mask("xabcdefghijklmnopy") == f"x{MASK}y"


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


def test_a_stream_of_nothing_but_a_secret_is_not_held_back() -> None:
    stream = masker("a" * 8).stream()

    for _ in range(50):
        assert set(stream.feed("a" * 1000)) == {"*"}
    assert stream.feed("b") == "b"


def test_colours_without_end_are_let_go() -> None:
    stream = masker(TOKEN).stream()
    stream.feed(TOKEN[:4])

    shown = [stream.feed("\x1b[31m" * 1000) for _ in range(20)]

    assert TOKEN[:4] in "".join(shown)


FACTORY = """
import pathlib
from kfp import dsl

@dsl.container_component
def made():
    return dsl.ContainerSpec(image="nobody/made", args=[%s])
"""


@pytest.mark.parametrize(
    "argument",
    [
        "pathlib.Path('secrets/key.txt').read_text().strip()",
        "'--key=' + pathlib.Path('secrets/key.txt').read_text().strip().upper()",
        "'word ' * 40 + pathlib.Path('secrets/key.txt').read_text().strip()",
        "__import__('base64').b64encode(b'user:' + pathlib.Path('secrets/key.txt').read_bytes().strip()).decode()",
    ],
)
def test_a_value_in_the_output_of_a_factory_stops_the_compile(cli: Cli, write: Write, argument: str) -> None:
    value = "a key with words\u00e9 in it"
    write("secrets/key.txt", f"{value}\n")
    write("own.py", FACTORY % argument)
    write(
        "run-kfp.toml",
        '[containers.1]\nname = "one"\nfactory = "own:made"\n[secrets.key]\nfile = "key.txt"\n'
        '[containers.2]\nname = "two"\nimage = "nobody/two"\nargs = [{ secret = "key" }]\n',
    )

    result = cli("-r", "1", "--compile-only", "--debug", RUN_KFP_ALLOW_FACTORIES="1")

    assert result.code == 2
    assert "would contain the value of a secret" in result.err
    assert not (cli.folder / "pipeline.yaml").exists()
    assert value not in result.out + result.err


def test_the_error_of_a_factory_is_masked(cli: Cli, write: Write) -> None:
    write("secrets/key.txt", f"{TOKEN}\n")
    write("own.py", "import pathlib\ndef made(): raise OSError(pathlib.Path('secrets/key.txt').read_text())\n")
    write(
        "run-kfp.toml",
        '[containers.1]\nname = "one"\nfactory = "own:made"\n[secrets.key]\nfile = "key.txt"\n'
        '[containers.2]\nname = "two"\nimage = "nobody/two"\nargs = [{ secret = "key" }]\n',
    )

    result = cli("-r", "1", "--compile-only", "--debug", RUN_KFP_ALLOW_FACTORIES="1")

    assert result.code == 2
    assert f"failed: OSError: {MASK}" in result.err
    assert TOKEN not in result.err


def test_the_fields_of_the_key_file_that_a_step_gets_are_masked(cli: Cli, write: Write) -> None:
    key = a_private_key()
    fields = {
        "type": "service_account",
        "client_email": "a@b.example",
        "private_key_id": "0123456789ab",
        "private_key": key,
    }
    path = write("key.json", json.dumps(fields))
    code = (
        "import json, os; f = json.load(open(os.environ['GOOGLE_APPLICATION_CREDENTIALS'])); print(f, f['private_key'])"
    )
    write("step.py", code)
    write(
        "run-kfp.toml",
        '[containers.1]\nname = "one"\nimage = "nobody/one"\n'
        f"process = {{ entrypoint = [{json.dumps(sys.executable)}, 'step.py'] }}\n",
    )

    result = cli("-r", "1", "--local", "--engine", "process", GOOGLE_APPLICATION_CREDENTIALS=str(path))

    assert result.code == 0, result.err
    assert "a@b.example" in result.err
    logs = "".join(file.read_text(encoding="utf-8") for file in (cli.folder / ".run-kfp").rglob("*.log"))
    for text in (result.err, logs):
        assert "a@b.example" in text
        assert not any(value in text for value in ("0123456789ab", "MIIEvQ", "qq82lmq"))


def test_what_a_pipeline_names_is_masked_in_the_record() -> None:
    data = {"id": TOKEN, "parameters": {TOKEN: {"value": 1}}, "steps": [{"state": TOKEN, "outputs": {"state": TOKEN}}]}

    masked = localruns._masked(data, masker(TOKEN).mask)

    assert masked == {
        "id": TOKEN,
        "parameters": {MASK: {"value": 1}},
        "steps": [{"state": TOKEN, "outputs": {"state": MASK}}],
    }
