from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from convergence_sandbox.bigquery.errors import BigQueryError
from convergence_sandbox.bigquery.rest.jobs.uploads import Chunk, Uploads, split_multipart

SMALL = st.binary(max_size=300)


@settings(max_examples=50)
@given(media=SMALL)
@example(b"\r\n\r\n--almost--\r\n")
@example(b"")
@example(b"\r\n")
def test_multipart_gives_back_the_media_byte_by_byte(media: bytes) -> None:
    job = {"configuration": {"load": {"a": "ü"}}}
    body = b"\r\n".join(
        [
            b"--==9==",
            b"content-type: application/json; charset=UTF-8",
            b"",
            json.dumps(job).encode(),
            b"--==9==",
            b"content-type: */*",
            b"",
            media,
            b"--==9==--",
        ]
    )
    assert split_multipart('multipart/related; boundary="==9=="', body) == (job, media)


@settings(max_examples=50)
@given(
    content=st.binary(min_size=1, max_size=200),
    steps=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.booleans()), max_size=6),
)
def test_chunks_in_order_and_sent_again_add_up(
    tmp_path_factory: pytest.TempPathFactory,
    content: bytes,
    steps: list[tuple[float, float, bool]],
) -> None:
    uploads = Uploads(tmp_path_factory.mktemp("uploads"))
    name, size = uploads.open_session(project="p", job={}), len(content)
    for first, last, known in [*steps, (1, 1, True)]:
        start = int(first * uploads.size(name))
        end = start + max(1, int(last * (size - start))) if start < size else size
        start = min(start, end - 1)
        chunk = Chunk.parse(f"bytes {start}-{end - 1}/{size if known else '*'}")
        asyncio.run(uploads.append(name, chunk, pieces(content[start:end])))
        assert chunk.final == (known and end == size)
    assert uploads.path(name).read_bytes() == content


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 7):
        yield content[start : start + 7]


def test_a_gap_is_rejected(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path)
    name = uploads.open_session(project="p", job={})
    with pytest.raises(BigQueryError):
        asyncio.run(uploads.append(name, Chunk.parse("bytes 5-9/10"), pieces(b"xxxxx")))


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "a" * 32, "A" * 32, "0" * 31])
def test_only_names_it_gave_are_sessions(tmp_path: Path, name: str) -> None:
    with pytest.raises(BigQueryError) as caught:
        Uploads(tmp_path).session(name)
    assert caught.value.status == 404


def test_a_session_outlives_the_process(tmp_path: Path) -> None:
    name = Uploads(tmp_path).open_session(project="p", job={"a": 1})
    assert Uploads(tmp_path).session(name) == ("p", {"a": 1})


def test_what_was_left_behind_is_swept(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path)
    uploads.keep(b"x")
    uploads.sweep()
    assert len(list(tmp_path.iterdir())) == 1
    uploads.sweep(older_than_s=-1)
    assert list(tmp_path.iterdir()) == []
