"""What is said of parameters and secrets by their values, as tables; no secret is shown."""

from __future__ import annotations

from collections.abc import Iterable

from run_kfp.limits import LONGEST_ARGUMENT
from run_kfp.preflight.offline.values import check_values
from specs import context_of_registry, registry
from test_call_words import line

GIT = '[secrets.git_login]\nenv = "GIT_LOGIN"\n[secrets.wandb]\nenv = "WANDB_API_KEY"\n[secrets.other]\nenv = "OTHER"\n'
TOKEN = "t" * 30


def of(secret: str = "", value: str = "", tag: str = "v1") -> list[str]:
    """Check a run with a tag, and with a secret where one is named."""
    args = "{ param = 'tag' }" + (f", {{ secret = '{secret}' }}" if secret else "")
    variable = {"git_login": "GIT_LOGIN", "wandb": "WANDB_API_KEY", "other": "OTHER"}.get(secret, "NONE")
    context = context_of_registry(registry(f"args = [{args}]", GIT), params={"tag": tag}, environ={variable: value})
    assert not secret or secret in context.values
    return [line(found) for found in check_values(context) if found.code != "RK-SECRET-VISIBLE"]


def of_secret(secret: str, values: Iterable[str]) -> dict[str, list[str]]:
    return {value: of(secret, value.replace("TOKEN", TOKEN)) for value in values}


def test_tags() -> None:
    login = f"https://me:{TOKEN}"
    texts = (
        "v1",
        "a/b",
        "@",
        "a b",
        "a\nb",
        "a\x01b",
        "a..b",
        "a@{b",
        "a//b",
        "a~b",
        "a\\b",
        "-a",
        "/a",
        ".a",
        "a.lock",
        "a.",
        "a/",
        "a/.b",
        "a.lock/b",
        "@a",
        "<tag>",
    )
    assert {text: of("git_login", login, tag=text) for text in texts} == {
        "v1": [],
        "a/b": [],
        "@": [
            "note RK-TAG-NAME -t: '@' is not a valid Git tag name: it is @ → write letters, digits, "
            "dots, dashes and underscore"
        ],
        "a b": [
            "note RK-TAG-NAME -t: 'a b' is not a valid Git tag name: it has white space → write "
            "letters, digits, dots, dashes and underscore"
        ],
        "a\nb": [
            "note RK-TAG-NAME -t: 'a\\nb' is not a valid Git tag name: it has a line break → write "
            "letters, digits, dots, dashes and underscore"
        ],
        "a\x01b": [
            "note RK-TAG-NAME -t: 'a\\x01b' is not a valid Git tag name: it has a control "
            "character → write letters, digits, dots, dashes and underscore"
        ],
        "a..b": [
            "note RK-TAG-NAME -t: 'a..b' is not a valid Git tag name: it has .. → write letters, "
            "digits, dots, dashes and underscore"
        ],
        "a@{b": [
            "note RK-TAG-NAME -t: 'a@{b' is not a valid Git tag name: it has @{ → write letters, "
            "digits, dots, dashes and underscore"
        ],
        "a//b": [
            "note RK-TAG-NAME -t: 'a//b' is not a valid Git tag name: it has // → write letters, "
            "digits, dots, dashes and underscore"
        ],
        "a~b": [
            "note RK-TAG-NAME -t: 'a~b' is not a valid Git tag name: it has ~ → write letters, "
            "digits, dots, dashes and underscore"
        ],
        "a\\b": [
            "note RK-TAG-NAME -t: 'a\\\\b' is not a valid Git tag name: it has \\ → write letters, "
            "digits, dots, dashes and underscore"
        ],
        "-a": [
            "note RK-TAG-NAME -t: '-a' is not a valid Git tag name: it begins with - → write letters, "
            "digits, dots, dashes and underscore"
        ],
        "/a": [
            "note RK-TAG-NAME -t: '/a' is not a valid Git tag name: it begins with / → write letters, "
            "digits, dots, dashes and underscore"
        ],
        ".a": [
            "note RK-TAG-NAME -t: '.a' is not a valid Git tag name: it begins with . → write letters, "
            "digits, dots, dashes and underscore"
        ],
        "a.lock": [
            "note RK-TAG-NAME -t: 'a.lock' is not a valid Git tag name: it ends with .lock → write "
            "letters, digits, dots, dashes and underscore"
        ],
        "a.": [
            "note RK-TAG-NAME -t: 'a.' is not a valid Git tag name: it ends with . → write letters, "
            "digits, dots, dashes and underscore"
        ],
        "a/": [
            "note RK-TAG-NAME -t: 'a/' is not a valid Git tag name: it ends with / → write letters, "
            "digits, dots, dashes and underscore"
        ],
        "a/.b": [
            "note RK-TAG-NAME -t: 'a/.b' is not a valid Git tag name: a part of it begins with a dot "
            "or  → write letters, digits, dots, dashes and underscore"
        ],
        "a.lock/b": [
            "note RK-TAG-NAME -t: 'a.lock/b' is not a valid Git tag name: a part of it begins "
            "with a dot → write letters, digits, dots, dashes and underscore"
        ],
        "@a": [],
        "<tag>": [
            "warning RK-PARAM-TEMPLATE -t: parameter tag is '<tag>', which looks like a placeholder "
            "→ set the value there, or pass -p tag=…"
        ],
    }
    plain = ("a..b", "", "a\n", "\na", "a\r\nb", "a\rb", "a\nb", "<tag>")
    assert {text: of(tag=text) for text in plain} == {
        "a..b": [],
        "": [],
        "a\n": ["note RK-PARAM-LINE-BREAK -t: parameter tag ends with a line break → take it off"],
        "\na": ["note RK-PARAM-LINE-BREAK -t: parameter tag begins with a line break → take it off"],
        "a\r\nb": [
            "note RK-PARAM-LINE-BREAK -t: parameter tag has a carriage return, as lines of Windows have → take it off"
        ],
        "a\rb": [
            "note RK-PARAM-LINE-BREAK -t: parameter tag has a carriage return, as lines of Windows have → take it off"
        ],
        "a\nb": [],
        "<tag>": [
            "warning RK-PARAM-TEMPLATE -t: parameter tag is '<tag>', which looks like a placeholder "
            "→ set the value there, or pass -p tag=…"
        ],
    }


def test_git_logins() -> None:
    expected = {
        "https://me:TOKEN": [],
        "https://me:TOKEN@github.com": [],
        "http://me:TOKEN": [
            "warning RK-SECRET-SHAPE environment GIT_LOGIN: secret git_login does not "
            "start with https://; a Git login is https:// → replace it with the real "
            "value; it is not shown he"
        ],
        "me:TOKENTOKEN": [
            "warning RK-SECRET-SHAPE environment GIT_LOGIN: secret git_login does not start "
            "with https://; a Git login is https:// → replace it with the real value; it is "
            "not shown he"
        ],
        "https://me@TOKEN": [
            "warning RK-SECRET-SHAPE environment GIT_LOGIN: secret git_login names no "
            "token; a Git login is https://USER:TOKEN, wi → replace it with the real "
            "value; it is not shown he"
        ],
        "https://:TOKEN": [
            "warning RK-SECRET-SHAPE environment GIT_LOGIN: secret git_login names no "
            "user; a Git login is https://USER:TOKEN, wit → replace it with the real "
            "value; it is not shown he"
        ],
        "https://me:@github.com": [
            "warning RK-SECRET-SHAPE environment GIT_LOGIN: secret git_login names "
            "no token; a Git login is https://USER:TOKEN, wi → replace it with the "
            "real value; it is not shown he"
        ],
        "https://me:TOKEN TOKEN": [
            "warning RK-SECRET-SHAPE environment GIT_LOGIN: secret git_login has a "
            "space in it; a Git login is https://USER:TOKEN, → write %20 for a "
            "space that belongs to it, or remov"
        ],
        "https://me@x.y:TOKEN@github.com": [
            "warning RK-SECRET-SHAPE environment GIT_LOGIN: secret "
            "git_login has an @ in its user; a Git login is "
            "https://USER:TOK → write %40 for the @ of the user"
        ],
        "https://me:TOKEN/": [
            "warning RK-SECRET-SHAPE environment GIT_LOGIN: secret git_login ends with "
            "'/', which would be twice in the address; a → take it off"
        ],
        "https://me:TOKEN@": [
            "warning RK-SECRET-SHAPE environment GIT_LOGIN: secret git_login ends with "
            "'@', which would be twice in the address; a → take it off"
        ],
        "https://[me:TOKEN": [
            "warning RK-SECRET-SHAPE environment GIT_LOGIN: secret git_login is not an "
            "address; a Git login is https://USER:TOKEN, → replace it with the real "
            "value; it is not shown he"
        ],
        "'https://me:TOKEN'": [
            "warning RK-SECRET-SHAPE environment GIT_LOGIN: secret git_login is in "
            "quotes, which would be part of it → remove the quotes"
        ],
    }
    assert of_secret("git_login", expected) == expected
    assert of("git_login", f"https://me:ghp_{'a' * 36}") == []
    assert of("git_login", f"https://me:ghp_{'a' * 35}") == [
        "warning RK-SECRET-SHAPE environment GIT_LOGIN: secret git_login begins as a GitHub token does, "
        "but has 39 characters  → replace it with the real value; it is not shown he"
    ]


def test_other_secrets() -> None:
    assert of("wandb", "a" * 40) == []
    assert of("wandb", "a" * 39) == [
        "warning RK-SECRET-SHAPE environment WANDB_API_KEY: secret wandb has 39 characters; a key of "
        "Weights & Biases has 40 or mo → replace it with the real value; it is not shown he"
    ]
    assert of("wandb", f"key: {'a' * 40}") == [
        "warning RK-SECRET-SHAPE environment WANDB_API_KEY: secret wandb has 5 characters in front of the "
        "key → leave the key alone there"
    ]
    assert of("wandb", f"{'a' * 40}!") == [
        "warning RK-SECRET-SHAPE environment WANDB_API_KEY: secret wandb has 41 characters; a key of "
        "Weights & Biases has 40 or mo → replace it with the real value; it is not shown he"
    ]
    assert of("other", '"quoted-value"') == [
        "warning RK-SECRET-SHAPE environment OTHER: secret other is in quotes, which would be part of it "
        "→ remove the quotes"
    ]
    assert of("other", "'quoted-value\"") == []
    assert of("other", f"gho_{'a' * 37}") == [
        "warning RK-SECRET-SHAPE environment OTHER: secret other begins as a GitHub token does, but has "
        "41 characters inst → replace it with the real value; it is not shown he"
    ]
    assert of("other", f"gho_{'a' * 36}") == []
    assert of("other", "y" * (LONGEST_ARGUMENT - 1)) == []
    assert of("other", "y" * LONGEST_ARGUMENT) == [
        "error RK-PARAM-LONG environment OTHER: secret other has 131,072 bytes; an argument has less than "
        "131,072 → is it the right file?"
    ]


def test_long_parameters() -> None:
    assert of(tag="é" + "x" * (LONGEST_ARGUMENT - 3)) == []
    assert of(tag="é" + "x" * (LONGEST_ARGUMENT - 2)) == [
        "error RK-PARAM-LONG -t: parameter tag has 131,072 bytes; an argument has less than 131,072 → put "
        "it into a file of the bucket and pass the file"
    ]
