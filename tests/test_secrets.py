"""Whatever is told to be secret, or looks it, does not survive."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.secrets import HIDDEN, hide_secrets

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
