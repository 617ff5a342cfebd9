"""Whatever is told to be secret, or looks it, does not survive."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.secrets import HIDDEN, hide_secrets, is_secret_name, without_secrets

SECRET = "zq9-the-secret"
NAMES = ("token", "hf_token", "API_KEY", "api-key", "db.password", "auth", "AWS_SECRET_ACCESS_KEY")

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab c", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xy", max_size=3), inner),
    max_leaves=8,
)


@given(plain)
def test_what_is_not_secret_is_kept(value: Any) -> None:
    assert hide_secrets(value) == value


@given(plain, st.sampled_from(NAMES), st.sampled_from([SECRET, [SECRET], {"a": SECRET}]))
def test_a_telling_name_hides_whatever_it_holds_at_any_depth(
    value: Any, name: str, secret: Any
) -> None:
    hidden = hide_secrets({"outer": [value, {name: secret, "other": value}]})
    assert SECRET not in json.dumps(hidden)
    assert hidden["outer"][1]["other"] == value


@given(st.text("ab :/", max_size=10), st.text("ab :/", max_size=10))
def test_a_telling_shape_is_hidden_inside_a_text(before: str, after: str) -> None:
    hidden = hide_secrets(f"{before} hf_abcdefghijklmnopqrst {after}")
    assert hidden == f"{before} {HIDDEN} {after}"


@pytest.mark.parametrize(
    "text",
    [
        f"https://user:{SECRET}@host/path",
        f"https://{SECRET}@host/path",
        f"https://host/?api_key={SECRET}&x=1",
        f"Authorization: Bearer {SECRET}",
        f"serve --api-key {SECRET} --port 8000",
        f"serve --hf-token={SECRET}",
    ],
)
def test_secrets_inside_texts(text: str) -> None:
    hidden = hide_secrets(text)
    assert SECRET not in hidden
    assert HIDDEN in hidden


@pytest.mark.parametrize("secret", [12345, 1.5, b"bytes"])
def test_a_secret_need_not_be_text(secret: object) -> None:
    assert hide_secrets({"password": secret}) == {"password": HIDDEN}


@pytest.mark.parametrize(
    "args",
    [
        {"max_num_batched_tokens": 8192, "tokenizer": "org/model", "num_speculative_tokens": 3},
        {"gpu_memory_utilization": 0.4, "kv_cache_dtype": "fp8", "author": "me", "keys": 3},
        {"url": "https://host:8000/v1", "note": "one task-abcdefghijklmnop"},
    ],
)
def test_ordinary_arguments_are_left_alone(args: dict[str, Any]) -> None:
    assert hide_secrets(args) == args


def test_other_objects_become_text() -> None:
    assert hide_secrets({"path": object}) == {"path": "<class 'object'>"}


SECRETS = (
    "pw db_passwd password token hf_token hfToken api_key apiKey key client_secret auth "
    "auth_header X-Api-Key Authorization access_tokens use_auth_token AWS_SECRET_ACCESS_KEY "
    "password_file db_pwd Set-Cookie"
)
ORDINARY = (
    "max_tokens num_speculative_tokens tokenizer pad_token_id eos_token keys seconds_per_token "
    "author monkey tokenizer_mode skip_tokenizer_init kv_cache_dtype max_num_batched_tokens "
    "decoder_start_token passes PWD OLDPWD"
)


@pytest.mark.parametrize("name", SECRETS.split())
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", [*ORDINARY.split(), ""])
def test_names_that_only_resemble_those_of_secrets(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "text",
    [
        f"{{'api_key': '{SECRET} with spaces', 'b': 3}}",
        f'{{"token": "{SECRET}"}}',
        f"('--hf-token', '{SECRET}')",
        f"EngineConfig(args=(('api_key', '{SECRET}'),))",
        f"api_key    = '{SECRET}'",
        f"Set-Cookie: {SECRET}; path=/",
        f"export OPENAI_API_KEY={SECRET}",
    ],
)
def test_secrets_in_messages_of_libraries(text: str) -> None:
    hidden = without_secrets(text)
    assert SECRET not in hidden
    assert without_secrets(hidden) == hidden


@pytest.mark.parametrize(
    "text",
    [
        *(
            "unknown key: foo",
            "key 'foo' is missing",
            "set --api-key to a key",
            "expected KEY=VALUE",
        ),
        *(
            "key = os.environ['A']",
            "a token: the unit of text",
            "api_key=…, to a key",
            "keys: a, b",
        ),
    ],
)
def test_sentences_and_code_are_left_alone(text: str) -> None:
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    "piece",
    [
        "-",
        "a",
        "://",
        "-eyJ",
        "eyJ",
        "--token ",
        "api_key=",
        "password: ",
        "'api_key', ",
        "Bearer ",
    ],
)
def test_long_hostile_texts_take_no_time(piece: str) -> None:
    """A quadratic search would take minutes."""
    without_secrets(piece * (300_000 // len(piece)))
