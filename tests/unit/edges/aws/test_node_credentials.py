"""What the agent signs with. botocore reads the same files, and says what they mean."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from botocore.credentials import SharedCredentialProvider

from rolecall.edges.aws.node_credentials import EnvironmentCredentials, SharedFileCredentials, SigningKey
from rolecall.errors import Misconfigured

ID, WORD = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
PLAIN = f"[default]\naws_access_key_id = {ID}\naws_secret_access_key = {WORD}\n"


def shown(key: SigningKey) -> tuple[str, str, str | None]:
    """Return what a key holds."""
    return key.access_key_id, key.secret.reveal(), key.session_token.reveal() if key.session_token else None


@pytest.mark.parametrize(
    ("text", "profile"),
    [
        pytest.param(PLAIN, "default", id="plain"),
        pytest.param(PLAIN + "aws_session_token = IQoJb3JpZ2luX2VjEXAMPLE==\n", "default", id="temporary"),
        pytest.param(PLAIN.replace(" = ", "=").replace("\n", "\r\n"), "default", id="no blanks, CRLF"),
        pytest.param("# words\n\n; more\n" + PLAIN, "default", id="comments"),
        pytest.param("[other]\naws_access_key_id = X\naws_secret_access_key = Y\n" + PLAIN, "default", id="second"),
        pytest.param("[ node ]\n".replace(" ", "") + PLAIN.partition("\n")[2], "node", id="another profile"),
        pytest.param(PLAIN.replace("aws_", "AWS_"), "default", id="upper-case names"),
        pytest.param(PLAIN + "region = us-west-2\ns3 =\n  addressing_style = path\n", "default", id="nested settings"),
    ],
)
def test_a_file_means_what_it_means_to_botocore(tmp_path: Path, text: str, profile: str) -> None:
    """The same key, secret and session token."""
    path = tmp_path / "credentials"
    path.write_bytes(text.encode())
    expected = SharedCredentialProvider(str(path), profile).load()
    assert expected is not None
    found = asyncio.run(SharedFileCredentials(path, profile).current())
    assert shown(found) == (expected.access_key, expected.secret_key, expected.token)
    assert WORD not in repr(found)


def test_a_file_that_is_rotated_is_read_again(tmp_path: Path) -> None:
    """A new file, or the old one rewritten at the same size; one that cannot be used any more is an error."""
    path = tmp_path / "credentials"
    path.write_text(PLAIN)
    credentials = SharedFileCredentials(path)

    async def scene() -> None:
        first = await credentials.current()
        assert await credentials.current() is first, "not parsed again for nothing"
        draft = tmp_path / "draft"
        draft.write_text(PLAIN.replace("EXAMPLEKEY", "EXAMPLEKEX"))
        draft.replace(path)
        assert shown(await credentials.current())[1].endswith("KEX")
        before = path.stat()
        path.write_text(PLAIN.replace("EXAMPLEKEY", "EXAMPLEKEZ"))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        assert shown(await credentials.current())[1].endswith("KEZ")
        path.write_text("[default]\n")
        for _ in range(2):
            with pytest.raises(Misconfigured, match="has no AWS access key"):
                await credentials.current()
        path.unlink()
        with pytest.raises(Misconfigured, match="cannot be read: No such file"):
            await credentials.current()
        path.write_text(PLAIN)
        assert shown(await credentials.current())[1] == WORD

    asyncio.run(scene())


@pytest.mark.parametrize(
    "text",
    [
        "", "[other]\n" + PLAIN.partition("\n")[2], PLAIN.replace(ID, ""), PLAIN.replace(WORD, ""),
        PLAIN.partition("aws_secret")[0] + WORD, PLAIN.replace(ID, f"{WORD} {WORD}"), PLAIN.replace(ID, f"AK/{WORD}"),
        PLAIN.replace(WORD, WORD + "\x00"), PLAIN.replace(WORD, WORD + "é"), "[default\n" + WORD,
        PLAIN + "x" * 2_000_000,
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_named_and_not_quoted(tmp_path: Path, text: str) -> None:
    """The message says where, never what: any line may be a secret."""
    path = tmp_path / "credentials"
    path.write_text(text)
    with pytest.raises(Misconfigured, match=str(path)) as caught:
        asyncio.run(SharedFileCredentials(path).current())
    assert WORD[:16] not in caught.value.message + caught.value.hint
    assert caught.value.__cause__ is None


def test_the_environment() -> None:
    """Both halves must be there; nothing is read but what was handed in."""
    values = {"AWS_ACCESS_KEY_ID": f" {ID}\n", "AWS_SECRET_ACCESS_KEY": WORD}
    assert shown(asyncio.run(EnvironmentCredentials(values).current())) == (ID, WORD, None)
    temporary = EnvironmentCredentials({**values, "AWS_SESSION_TOKEN": "token"})
    assert shown(asyncio.run(temporary.current())) == (ID, WORD, "token")
    for name in values:
        with pytest.raises(Misconfigured, match="the environment has no AWS access key"):
            EnvironmentCredentials({**values, name: ""})
