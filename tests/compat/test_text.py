"""What torchtext takes from its C++ library, as flambeau has it, against answers of torchtext 0.18."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

import flambeau as fb
from flambeau.compat import seams, text, tokenizing, vocabularies
from flambeau.compat.torch._C import ScriptObject
from flambeau.compat.torch._classes import classes
from flambeau.compat.torch._ops import ops


def lines(folder: Path, *rows: str) -> str:
    path = folder / f"{len(list(folder.iterdir()))}.txt"
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return str(path)


def test_a_vocabulary_numbers_tokens():
    v = vocabularies.Vocab(["a", "b", "c"])
    assert [len(v), v["b"], "c" in v, "d" in v, v.lookup_indices(["c", "a"])] == [3, 1, True, False, [2, 0]]
    with pytest.raises(RuntimeError, match="no default index"):
        v["d"]
    v.set_default_index(0)
    v.insert_token("x", 1)
    v.append_token("y")
    assert v.get_itos() == ["a", "x", "b", "c", "y"] == v.itos_
    assert [v["d"], v["c"], v.get_stoi()["y"], v.get_default_index(), v.default_index_] == [0, 3, 4, 0, 0]
    assert v.lookup_tokens([4, 1]) == ["y", "x"]
    for again in (pickle.loads(pickle.dumps(v)), copy.deepcopy(v)):
        assert again.get_itos() == v.get_itos() and again["none"] == 0


@pytest.mark.parametrize(
    "wrong, error",
    [
        (lambda v: vocabularies.Vocab(["a", "a"]), RuntimeError),
        (lambda v: vocabularies.Vocab([1]), TypeError),
        (lambda v: v.insert_token("a", 0), RuntimeError),
        (lambda v: v.insert_token("z", 3), RuntimeError),
        (lambda v: v.lookup_token(2), RuntimeError),
        (lambda v: v.lookup_indices(("a",)), TypeError),
        (lambda v: v[3], TypeError),
        (lambda v: v.__setstate__(("0.0.1", [], [], [])), RuntimeError),
    ],
)
def test_a_vocabulary_refuses(wrong, error):
    with pytest.raises(error, match="Vocab"):
        wrong(vocabularies.Vocab(["a", "b"]))


def test_vocabularies_are_counted_from_files(tmp_path: Path):
    path = lines(tmp_path, "b a a", "c b a d", "", "d d é")
    assert vocabularies.build_vocab(path, 1, str.split).get_itos() == ["a", "d", "b", "c", "é"]
    assert vocabularies.build_vocab(path, 2, str.split).get_itos() == ["a", "d", "b"]
    assert vocabularies.load_vocab(lines(tmp_path, "x", "y", "x", "z", "y"), 2).get_itos() == ["x", "y"]
    with pytest.raises(RuntimeError, match="can't be read"):
        vocabularies.load_vocab("/nowhere", 1)


def test_vectors_are_rows_for_tokens(tmp_path: Path):
    v = vocabularies.Vectors(["a", "b"], [0, 1], fb.tensor([[1.0, 2.0], [3.0, 4.0]]), fb.zeros(2))
    v["c"] = fb.tensor([5.0, 6.0])
    v["a"] = fb.tensor([7.0, 8.0])
    assert v.lookup_vectors(["a", "b", "c", "d"]).tolist() == [[7, 8], [3, 4], [5, 6], [0, 0]]
    assert len(v) == 3 and v.get_stoi() == {"a": 0, "b": 1, "c": 2} and v.vectors_.shape == (3, 2)
    again = copy.deepcopy(v)
    assert again["c"].tolist() == [5, 6]
    read, repeated = vocabularies.load_vectors(lines(tmp_path, "a 1 2 3", "b 4 5 6e-1", "a 7 8 9"), " ")
    assert repeated == ["a"] and read["b"].tolist() == pytest.approx([4, 5, 0.6]) and read["?"].tolist() == [0, 0, 0]
    headed, _ = vocabularies.load_vectors(lines(tmp_path, "3 3", "a 1 2 3", "b 4 5 6", "c 7 8 9"), " ")
    assert headed.get_stoi() == {"a": 1, "b": 2} and headed["b"].tolist() == [4, 5, 6]
    with pytest.raises(RuntimeError, match="twice"):
        vocabularies.Vectors(["a", "a"], [0, 1], fb.zeros(2, 2), fb.zeros(2))


@pytest.mark.parametrize(
    "pattern, rewrite, given, wanted",
    [
        (r"[,._+ ]+", " ", "One.two,,three", "One two three"),
        (r"(\w+)@(\w+)", r"\2 at \1", "me@home", "home at me"),
        (r"x*", "-", "axxb", "-a-b-"),
        (r"\b", "|", "ab c", "|ab| |c|"),
        (r"(?i)the", r"<\0>", "The the", "<The> <the>"),
        (r"[[:upper:]]+", "U", "ABc", "Uc"),
        (r"[\]a]", "_", "[a]", "[__"),
        (r"o\z", "0", "oo", "o0"),
        (r"\s", "_", "a\tb\x0bc\xa0", "a_b\x0bc\xa0"),
        (r"[^\s]", ".", "a b", ". ."),
        (r"\w", ".", "aé1", ".é."),
        (r"a", r"\q", "cat", "ct"),
        (r"a", r"<\\>", "cat", r"c<\>t"),
    ],
)
def test_patterns_are_those_of_re2(pattern, rewrite, given, wanted):
    assert tokenizing.Regex(pattern).Sub(given, rewrite) == wanted


def test_classes_of_unicode_come_from_the_package_regex():
    try:
        made = tokenizing.Regex(r"\pL+")
    except RuntimeError as error:
        assert "needs the package regex" in str(error)
    else:
        assert made.Sub("Évian 3", "L") == "L 3"
    with pytest.raises(RuntimeError, match="no pattern"):
        tokenizing.Regex("(")
    with pytest.raises(RuntimeError, match="as many replacements"):
        tokenizing.RegexTokenizer(["a"], [], False)
    tokenizer = tokenizing.RegexTokenizer([r"\'", r"\s+"], [" ' ", " "], True)
    assert pickle.loads(pickle.dumps(tokenizer)).forward("It's ÉA\tB") == ["it", "'", "s", "Éa", "b"]


@pytest.mark.parametrize(
    "given, wanted",
    [
        ("it's  low\n\n x1", ["it", "'s", " ", " low", "\n\n", " x", "1"]),
        ("Évian— 東京 ½  ", ["Évian", "—", " 東京", " ½", "  "]),
        ("a\xa0b \t", ["a", "\xa0", "b", " \t"]),
        ("", []),
    ],
)
def test_words_are_those_of_gpt2(given, wanted):
    assert list(tokenizing.gpt2_words(given)) == wanted


BYTES = {b: chr(b) if 33 <= b < 127 else chr(256 + b) for b in range(256)}
MERGES = ["l o", "lo w", "e r", "Ġ low", "w e", "low e"]


def encoder(kind: type = tokenizing.GPT2BPEEncoder):
    merges = [m.replace("Ġ", BYTES[32]) for m in MERGES]
    tokens = [*BYTES.values(), *(m.replace(" ", "") for m in merges), "<|end|>", *(f"{c}</w>" for c in BYTES.values())]
    ranks = {m.replace(" ", "\1"): i for i, m in enumerate(merges)}
    return kind(dict(zip(tokens, range(len(tokens)), strict=True)), ranks, "\1", BYTES, True)


def test_byte_pairs_are_joined_by_rank():
    bpe = encoder()
    space = BYTES[32]
    assert bpe.tokenize("lower low  é") == ["low", "er", space + "low", space, space, BYTES[0xC3], BYTES[0xA9]]
    assert bpe.decode(bpe.encode("lower low  é東")) == "lower low  é東"
    assert pickle.loads(pickle.dumps(bpe)).encode("low") == bpe.encode("low") == [257]
    with pytest.raises(IndexError):
        bpe.decode([9999])


def test_special_tokens_are_kept_whole_with_a_space_around_them():
    bpe = encoder()
    assert bpe.add_special_tokens({"eos_token": "<|end|>", "sep_token": "[SEP]"}, ["[SEP]", "<n>"]) == 2
    assert bpe.add_special_tokens({"sep_token": "[SEP]"}, []) == 0
    first = len(bpe.bpe_encoder_)
    assert bpe.encode("low [SEP] low<|end|><n>") == [257, first, 257, bpe.bpe_encoder_["<|end|>"], first + 1]
    assert bpe.decode(bpe.encode("low [SEP] low<|end|><n>")) == "low [SEP] low <|end|> <n>"
    assert bpe.tokenize("[SEP]  low")[0] == "[SEP]"


def test_clips_words_end_with_a_mark():
    bpe = encoder(tokenizing.CLIPEncoder)
    assert bpe.tokenize("lower 12x's") == ["lowe", "r</w>", "1</w>", "2</w>", "x</w>", "'", "s</w>"]
    assert bpe.tokenize("<|startoftext|>é!") == ["<|startoftext|>", BYTES[0xC3], f"{BYTES[0xA9]}</w>", "!</w>"]


PIECES = ("[UNK]", "hello", "wor", "##ld", "!", "cafe", "café", "東", "Hello", "[SEP]", "##s", "", "Café")


@pytest.mark.parametrize(
    "lower, strip, wanted",
    [
        (True, None, ["hello", "wor", "##ld", "!", "cafe", "東", "[UNK]", "[SEP]"]),
        (False, None, ["Hello", "wor", "##ld", "!", "Café", "東", "[UNK]", "[SEP]"]),
        (False, False, ["Hello", "wor", "##ld", "!", "[UNK]", "東", "[UNK]", "[SEP]"]),
    ],
)
def test_words_are_cut_into_the_longest_pieces(lower, strip, wanted, tmp_path: Path):
    bert = tokenizing.BERTEncoder(lines(tmp_path, *PIECES), lower, strip, ["[SEP]"])
    assert bert.tokenize("Hello world! Café東 zz [SEP]") == wanted
    assert bert.encode("hello\x01 \ufffd") == [1]
    assert bert.batch_encode(["hello", "東"]) == [[1], [7]] and bert.batch_tokenize(["!"]) == [["!"]]
    assert bert.tokenize("a" * 101) == ["[UNK]"] and bert.tokenize("") == []
    assert pickle.loads(pickle.dumps(bert)).tokenize("Hello") == bert.tokenize("Hello")


def test_sentence_pieces_come_from_their_package(tmp_path: Path):
    pytest.importorskip("sentencepiece")
    rows = ["able baker came down"] * 20
    text.generate_sp_model(lines(tmp_path, *rows), 16, "char", str(tmp_path / "m"))
    model = text.load_sp_model(str(tmp_path / "m.model"))
    assert (
        model.DecodeIds(model.EncodeAsIds("a band")) == "a band" == model.DecodePieces(model.EncodeAsPieces("a band"))
    )
    assert model.IdToPiece(model.PieceToId("▁")) == "▁" and model.unk_id() == 0 and model.GetPieceSize() <= 16
    assert pickle.loads(pickle.dumps(model)).Encode("able") == model.Encode("able")
    for wrong in (lambda: text.load_sp_model("/nowhere"), lambda: text.SentencePiece(b"nothing")):
        with pytest.raises(RuntimeError):
            wrong()


def test_the_classes_stand_under_torchs_names():
    ops.load_library("/site-packages/torchtext/lib/libtorchtext.so")
    made = classes.torchtext.Vocab(["a", "b"], None)
    assert isinstance(made, ScriptObject) and not isinstance(made, text.Vocab)
    assert len(made) == 2 and "b" in made and made["b"] == 1 and made.get_itos() == ["a", "b"]
    assert copy.deepcopy(made)["b"] == 1
    assert ops.torchtext.gpt2_bpe_pre_tokenizer("a b") == ["a", " b"]
    with pytest.raises(RuntimeError, match="not loaded"):
        classes.torchtext.Nothing  # noqa: B018
    with pytest.raises(OSError, match="compiled for PyTorch"):
        classes.load_library("/site-packages/other/lib/libother.so")
    spec = seams.find("torchtext._torchtext")
    module = type(seams)("torchtext._torchtext")
    assert spec.loader is not None
    spec.loader.exec_module(module)
    assert module.BERTEncoder is tokenizing.BERTEncoder and module._load_vocab_from_file is not None
