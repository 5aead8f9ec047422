from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.doubles import tiny_gguf


def test_the_head_counts_what_follows_and_the_data_is_aligned() -> None:
    content = tiny_gguf.model()
    magic, version, tensors, keys = struct.unpack_from("<4sIQQ", content)
    assert (magic, version) == (b"GGUF", 3)
    tokens = tiny_gguf.vocabulary()
    assert tensors == len(list(tiny_gguf.tensors(tokens, 0)))
    assert keys == len(tiny_gguf.metadata(tokens))
    assert len(content) % tiny_gguf.ALIGNMENT == 0
    assert len(content) < 1_000_000


def test_the_weights_follow_from_the_seed() -> None:
    assert tiny_gguf.model(1) == tiny_gguf.model(1)
    assert tiny_gguf.model(1) != tiny_gguf.model(2)


def test_every_byte_can_be_read_and_only_words_are_said() -> None:
    tokens = tiny_gguf.vocabulary()
    assert sum(token.kind == tiny_gguf.BYTE for token in tokens) == 256
    said = {token.text.lstrip("\u2581") for token in tokens if token.chance == tiny_gguf.LIKELY}
    assert said == set(tiny_gguf.WORDS.split())
    assert len({token.text for token in tokens}) == len(tokens)
    assert tokens[tiny_gguf.END].text == "</s>"


def test_values_are_written_with_their_type() -> None:
    assert tiny_gguf.encoded_value("é") == struct.pack("<IQ", 8, 2) + "é".encode()
    assert tiny_gguf.encoded_value(7) == struct.pack("<II", 4, 7)
    assert tiny_gguf.encoded_value(["a"]) == struct.pack("<IIQQ", 9, 8, 1, 1) + b"a"
    with pytest.raises(TypeError, match="only one of them"):
        tiny_gguf.encoded_value([1, 2.0])


def test_the_command_writes_the_file(tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    assert tiny_gguf.main([str(file), "--seed", "3"]) == 0
    assert file.read_bytes() == tiny_gguf.model(3)
