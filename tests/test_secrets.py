"""Passwords are masked in any text, by their place; nothing else is."""

from __future__ import annotations

import string
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sqla_typedpool.secrets import mask_secrets, masked_repr

HARMLESS = [
    "",
    "user@host",
    "email me at a@b",
    "mailto:a@b",
    'password authentication failed for user "app"',
    "fe_sendauth: no password supplied",
    "postgresql://host/db",
    "postgresql://host:5432/db",
    "postgresql://user@host:5432/db?sslmode=require",
    "postgresql+asyncpg://user@[::1]:5432/db",
    "sqlite+aiosqlite:///app.db",
    "http://localhost:8080: ask admin@example.com",
    "see http://localhost:8080/docs, or ask admin@example.com",
    '{"id":1,"email":"a@b.c"}',
    "at 12:30: a@b",
    "Can't connect to MySQL server on 'db' ([Errno 111] Connection refused)",
]

MASKED = [
    ("postgresql://app:secret@host/db", "postgresql://app:***@host/db"),
    ("postgresql://app:sec@ret@host/db", "postgresql://app:***@host/db"),
    ("app:sec@ret@host", "app:***@host"),
    ("postgresql://app:s/e?c#r:e@t@host/db?x=1", "postgresql://app:***@host/db?x=1"),
    ("postgresql://app:my pass@host/db failed", "postgresql://app:***@host/db failed"),
    ("postgresql://app:x://y@host", "postgresql://app:***@host"),
    ("postgresql://joe@corp:secret@host", "postgresql://joe@corp:***@host"),
    ("redis://:secret@host", "redis://:***@host"),
    ("('postgresql://app:secret@h1:1,h2:2/db',)", "('postgresql://app:***@h1:1,h2:2/db',)"),
    ("a://u:p@h b://v:q@i, c://w@j", "a://u:***@h b://v:***@i, c://w@j"),
    ("postgresql://h/db?user=u&password=p@ss&x=1", "postgresql://h/db?user=u&password=***&x=1"),
    ("host=h password=secret user=u", "host=h password=*** user=u"),
    ("host=h password = secret", "host=h password = ***"),
    ("host=h sslpassword=se&cr@et user=u", "host=h sslpassword=*** user=u"),
    (r"password=a\ b user=u", "password=*** user=u"),
    (r"password='a \' b' user=u", "password='***' user=u"),
    ("password='it''s' user=u", "password='***' user=u"),
    ("password='never closed", "password='***"),
    ("PGPASSWORD=secret psql", "PGPASSWORD=*** psql"),
    ("connect(host='h', passwd='secret', db='d')", "connect(host='h', passwd='***', db='d')"),
    ("DRIVER={x};UID=u;PWD=secret", "DRIVER={x};UID=u;PWD=***"),
    ("{'password': 'secret', 'host': 'h'}", "{'password': '***', 'host': 'h'}"),
    ("""{'password': "it's", 'host': 'h'}""", """{'password': "***", 'host': 'h'}"""),
    ("{'password': b'secret'}", "{'password': b'***'}"),
    ("{'password': 12345}", "{'password': ***}"),
    ('{"password":"se\\"cret","host":"h"}', '{"password":"***","host":"h"}'),
    (r"'{\"password\": \"a \\\" b\", \"x\": 1}'", r"'{\"password\": \"***\", \"x\": 1}'"),
    ("ALTER ROLE app PASSWORD 'se cret'", "ALTER ROLE app PASSWORD '***'"),
    ("CREATE USER app IDENTIFIED BY 'secret'", "CREATE USER app IDENTIFIED BY '***'"),
]


@pytest.mark.parametrize("text", HARMLESS)
def test_a_text_without_a_password_stays_as_it_is(text: str) -> None:
    assert mask_secrets(text) == text


@pytest.mark.parametrize(("text", "masked"), MASKED)
def test_a_password_is_replaced_by_three_stars(text: str, masked: str) -> None:
    assert mask_secrets(text) == masked


def test_all_passwords_in_one_text_are_masked() -> None:
    texts = [text for text, _ in MASKED if "never closed" not in text]
    assert mask_secrets("\n".join(texts)) == "\n".join(mask_secrets(text) for text in texts)


PASSWORDS = st.text(string.ascii_letters + string.digits + "@:/#?&=%!$^*+.,;-_~", min_size=3)
IN_URL = PASSWORDS.filter(lambda each: each.strip(string.punctuation))


@given(IN_URL)
def test_no_password_in_a_url_is_visible(password: str) -> None:
    secret = f"x{password}x"
    assert secret not in mask_secrets(f"cannot reach 'postgresql://app:{secret}@db:5432/app'")
    assert mask_secrets(f"postgresql://app:{secret}@db:5432/app") == (
        "postgresql://app:***@db:5432/app"
    )


@given(st.text(min_size=1))
def test_no_password_in_the_text_of_a_dict_is_visible(password: str) -> None:
    text = repr({"host": "h", "password": password, "x": 1})
    quote = text[text.index("'password': ") + 12]
    assert mask_secrets(text) == f"{{'host': 'h', 'password': {quote}***{quote}, 'x': 1}}"


@given(
    st.lists(
        st.sampled_from(["://", ":", "@", "password", "=", "'", '"', "\\", "a", " ", "?", "&"])
    )
)
@example(["?", "password", "=", "'"])
@example(["?", "password", "=", '"', '"', "a"])
def test_a_masked_text_is_not_changed_by_masking_it_again(parts: list[str]) -> None:
    masked = mask_secrets("".join(parts))
    assert mask_secrets(masked) == masked


HARD = [
    *("a://u:x ", "://u:x", "a://u:x@", "://", "a:", "@", ":@", "(((", "aaaa", " @\n"),
    *(
        "password='",
        "password=\\",
        'password="\\',
        "password \t",
        "?password",
        "&password=a",
        "\\'",
        "\\",
    ),
]


@pytest.mark.parametrize("part", HARD)
@pytest.mark.parametrize("before", ["", "password='", "://u:"])
def test_the_time_is_linear_in_the_length_of_the_text(before: str, part: str) -> None:
    began = time.process_time()
    mask_secrets(before + part * 50_000)
    assert time.process_time() - began < 5, "quadratic time would be minutes"


def test_a_known_secret_is_masked_wherever_it_is() -> None:
    assert mask_secrets("cannot resolve 'ret@host'", ["ret"]) == "cannot resolve '***@host'"
    assert mask_secrets("retry", ["ret"]) == "retry", "a short one only as a word"
    assert mask_secrets("xlong-secretx", ["long-secret"]) == "x***x"


def test_an_error_whose_repr_raises_is_named_by_its_type() -> None:
    class Unprintable(Exception):
        def __repr__(self) -> str:
            raise ValueError

    assert masked_repr(Unprintable()) == "Unprintable"
    assert masked_repr(ValueError("password=secret\n x")) == "ValueError('password=*** x')"
