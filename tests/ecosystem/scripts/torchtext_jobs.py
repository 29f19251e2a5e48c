"""torchtext: vocabularies, vectors, tokenizers, transforms, SentencePiece, BLEU, attention, RoBERTa and T5."""

from __future__ import annotations

import copy
import json
import pickle
import tempfile
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import torch
import torchtext
from jobs import even, gradients, job, rng, tensor, whole

torchtext.disable_torchtext_deprecation_warning()

from torchtext import data, functional, models, nn, transforms, vocab  # noqa: E402  # after the warning is off
from torchtext.data import functional as streams  # noqa: E402
from torchtext.prototype import transforms as early  # noqa: E402
from torchtext.prototype import vectors as early_vectors  # noqa: E402
from torchtext.prototype import vocab_factory  # noqa: E402
from torchtext.prototype.generate import GenerationUtils  # noqa: E402

TEXTS = [
    "Hello World! The Spirit Is Willing, but the flesh is weak.",
    "it's  we'll THEY'RE  don't\tstop\n now 123 4.5 ½ ",
    "Avdija Vršajević në Évian, naïve café — 東京は日本 2024年 «ok» …",
    "  leading and trailing   ",
    "a" * 120 + " b\x0bc\xa0d\u3000e",
    "<|startoftext|> low lower <|endoftext|> [SEP] newest.[MASK]",
    "",
    "emoji 😀👍🏽 and \ufffd control \x01 zero",
]


def tried(fn: Any) -> Any:
    """What a call gives, or the name of the error that it ends in."""
    try:
        return fn()
    except Exception as error:
        return type(error).__name__


def lines(*rows: str) -> str:
    """A file of these lines."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False, encoding="utf-8") as file:
        file.write("\n".join(rows) + "\n")
    return file.name


def folder() -> Path:
    return Path(tempfile.mkdtemp())


@job
def vocabularies() -> Any:
    """Vocabularies built, changed, looked up, pickled."""
    v = vocab.build_vocab_from_iterator([t.lower().split() for t in TEXTS], 1, ["<unk>", "<pad>"], max_tokens=20)
    first = [v.get_itos(), len(v), "the" in v, "nothing" in v, v["the"], v(["is", "<pad>"]), v.lookup_tokens([1, 3])]
    unset = tried(lambda: v["nothing"])
    v.set_default_index(v["<unk>"])
    v.insert_token("new", 1)
    v.append_token("last")
    again = pickle.loads(pickle.dumps(v))
    ordered = vocab.vocab({"b": 3, "a": 1, "c": 2}, min_freq=2, specials=["<s>"], special_first=False)
    wrong = [
        tried(lambda: v.insert_token("new", 1)),
        tried(lambda: v.insert_token("x", 999)),
        tried(lambda: v.lookup_token(999)),
        tried(lambda: v.append_token("last")),
        tried(lambda: vocab.Vocab(torch.classes.torchtext.Vocab(["a", "a"], None))),
    ]
    return {
        "first": first,
        "unset": unset,
        "then": [v["nothing"], v.get_itos()[:4], v.get_stoi()["last"], v.get_default_index(), v.lookup_token(0)],
        "again": [again.get_itos() == v.get_itos(), again.get_default_index(), copy.deepcopy(v)["new"]],
        "ordered": [ordered.get_itos(), ordered.is_jitable],
        "script": torch.jit.script(ordered)(["c"]),
        "wrong": wrong,
    }


@job
def vocabularies_of_files() -> Any:
    """Vocabularies from files of texts and of words."""
    path = lines("b a a", "c b a d", "", "d d é")
    v = vocab_factory.build_vocab_from_text_file(path, min_freq=1)
    few = vocab_factory.build_vocab_from_text_file(path, early.basic_english_normalize(), 2)
    words = vocab_factory.load_vocab_from_file(lines("x", "y", "x", "z", "y"), min_freq=2)
    return v.get_itos(), few.get_itos(), words.get_itos(), tried(lambda: vocab_factory.load_vocab_from_file("/none"))


@job
def vectors() -> Any:
    """Word vectors from files and from tensors."""
    path = lines("the 0.1 0.2 -3e-1", "cat 1 2 3", "Dog 4 5 6")
    v = vocab.Vectors(path, cache=str(folder()))
    glove = early_vectors.load_vectors_from_file_path(path, " ")
    built = early_vectors.build_vectors(["a", "b"], tensor(2, 3).cpu(), torch.ones(3))
    built["c"] = torch.tensor([7.0, 8.0, 9.0])
    built["a"] = torch.tensor([1.0, 0.0, 1.0])
    headed = early_vectors.load_vectors_from_file_path(lines("3 3", "a 1 2 3", "b 4 5 6", "c 7 8 9"), " ")
    known = vocab.build_vocab_from_iterator([["cat", "x", "Dog"]])
    return {
        "rows": [v["cat"], v["none"], v.get_vecs_by_tokens(["the", "dog"], lower_case_backup=True), len(v), v.itos],
        "of_vocab": v.get_vecs_by_tokens(known.get_itos()),
        "early": [glove.lookup_vectors(["Dog", "?"]), glove["the"], len(glove)],
        "built": [built.lookup_vectors(["a", "b", "c", "d"]), len(built), built.vectors.get_stoi()],
        "headed": headed.lookup_vectors(["b"]).shape,
        "wrong": [
            tried(lambda: early_vectors.build_vectors(["a", "a"], torch.ones(2, 3))),
            tried(lambda: early_vectors.build_vectors(["a"], torch.ones(1, 3).double())),
            tried(lambda: early_vectors.load_vectors_from_file_path(lines("a 1 2 3", "a 1 2 3"), " ")),
        ],
        "transform": early.VectorTransform(built)(["c"]) if hasattr(early, "VectorTransform") else None,
    }


@job
def basic_tokenizers() -> Any:
    """The basic English tokenizer, splitting, n-grams."""
    english = data.get_tokenizer("basic_english")
    return {
        "english": [english(t) for t in TEXTS],
        "split": data.get_tokenizer(None)(TEXTS[0]),
        "own": data.get_tokenizer(str.upper)("a b"),
        "wrong": tried(lambda: data.get_tokenizer("nothing")),
        "ngrams": list(data.utils.ngrams_iterator(["a", "b", "c"], 3)),
        "early": [early.basic_english_normalize()(t) for t in TEXTS],
    }


@job
def regex_tokenizer() -> Any:
    """Tokenizers by regular expressions, in RE2's syntax."""
    pairs = [
        [(r"[,._+ ]+", " ")],
        [(r"\'", " '  "), (r"\"", ""), (r"\s+", " ")],
        [(r"(\w+)@(\w+)", r"\2 at \1")],
        [(r"\b", "|")],
        [(r"x*", "-")],
        [(r"(?i)the", r"<\0>")],
        [(r"[^\s]", ".")],
        [(r"[[:upper:]]+", "U ")],
        [(r"\pL+", "L ")],
        [(r"\p{Lu}", "^")],
        [(r"o\z", "0")],
        [(r"a", r"\q")],
        [(r"[\]a]", "_")],
    ]
    more = [*TEXTS, "one,two..three_four+ 5", 'me@home and "you" xxy hello', "[a]"]
    found = [[transforms.RegexTokenizer(p)(t) for t in more] for p in pairs]
    tokenizer = transforms.RegexTokenizer(pairs[0])
    return found, pickle.loads(pickle.dumps(tokenizer))("a,b"), torch.jit.script(tokenizer)("a,b"), tokenizer.is_jitable


def byte_pairs() -> tuple[str, str]:
    """A small vocabulary of byte pairs: every byte's letter, and merges."""
    letters = list(transforms.bytes_to_unicode().values())
    merges = ["l o", "lo w", "e r", "Ġ low", "n e", "ne w", "Ġ t", "h e", "Ġt he", "1 2", "w e", "s t", "Ġ Ġ", "Ã ©"]
    tokens = [*letters, *(m.replace(" ", "") for m in merges), "<|endoftext|>"]
    place = folder()
    (place / "encoder.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    (place / "vocab.bpe").write_text("#version\n" + "\n".join(merges) + "\n", encoding="utf-8")
    return str(place / "encoder.json"), str(place / "vocab.bpe")


@job
def gpt2_tokenizer() -> Any:
    """GPT-2's byte pairs, encoded and decoded, special tokens."""
    numbers, pairs = byte_pairs()
    more = [*TEXTS, "the newest lowest   lower\n\n  the 12", " é", "low\u00a0low"]
    ids = transforms.GPT2BPETokenizer(numbers, pairs)
    tokens = transforms.GPT2BPETokenizer(numbers, pairs, return_tokens=True)
    plain = [ids(t) for t in more], [tokens(t) for t in more], ids(more[:2])
    decoded = [tried(lambda t=t: ids.decode(ids(t))) for t in more]
    special = {"eos_token": "<|endoftext|>", "sep_token": "[SEP]", "additional_special_tokens": ["[MASK]", "<n>"]}
    added = ids.add_special_tokens(special), ids.add_special_tokens(special)
    tokens.add_special_tokens(special)
    texts = ["low [SEP] lower<|endoftext|> [MASK] <n>", "[SEP] low", "low <n>", "low[SEP][SEP] low"]
    whole_ones = [ids(t) for t in texts], [tokens.bpe.tokenize(t) for t in texts], [ids.decode(ids(t)) for t in texts]
    again = pickle.loads(pickle.dumps(tokens))
    return plain, decoded, added, whole_ones, again("lower"), torch.jit.script(tokens)("lower"), ids.is_jitable


@job
def clip_tokenizer() -> Any:
    """CLIP's byte pairs."""
    letters = list(transforms.bytes_to_unicode().values())
    merges = ["l o", "lo w</w>", "lo w", "e r</w>", "low er</w>", "t h", "th e</w>"]
    tokens = [*letters, *(x + "</w>" for x in letters), *(m.replace(" ", "") for m in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    place = folder()
    (place / "encoder.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    (place / "merges.bpe").write_text("#version\n" + "\n".join(merges) + "\n", encoding="utf-8")
    files = str(place / "merges.bpe"), str(place / "encoder.json")
    ids, pieces = transforms.CLIPTokenizer(*files), transforms.CLIPTokenizer(*files, return_tokens=True)
    made = transforms.CLIPTokenizer(str(place / "merges.bpe"), num_merges=3)
    return [ids(t) for t in TEXTS], [pieces(t) for t in TEXTS], made("low the"), pieces(TEXTS[:2])


@job
def char_tokenizer() -> Any:
    """Byte pairs of characters."""
    numbers, pairs = byte_pairs()
    tokenizer = transforms.CharBPETokenizer(numbers, pairs, unk_token="<|endoftext|>")
    return tried(lambda: tokenizer("low lower")), tried(lambda: tokenizer(["new", "the"]))


@job
def bert_tokenizer() -> Any:
    """BERT's word pieces, with case, accents and special tokens."""
    path = lines(
        "[PAD]", "[UNK]", "[CLS]", "hello", "world", "##s", "!", "the", "spirit", "is", "will", "##ing", ",", "but",
        "fl", "##esh", "weak", ".", "it", "'", "s", "cafe", "café", "東", "京", "na", "##ive", "Hello", "low", "##er",
        "1", "##2", "##3", "", "é", "stop", "now", "[SEP]", "👍🏽", "...", "…",
    )  # fmt: skip
    found = {}
    for lower in (True, False):
        for strip in (None, True, False):
            options = {"do_lower_case": lower, "strip_accents": strip, "never_split": ["[SEP]", "Hello", "Évian,"]}
            tokens = transforms.BERTTokenizer(path, return_tokens=True, **options)
            found[f"{lower} {strip}"] = tokens(TEXTS), tokens(TEXTS[2])
    ids = transforms.BERTTokenizer(path)
    again = pickle.loads(pickle.dumps(ids))
    return (
        found,
        ids(TEXTS),
        again("hello worlds!"),
        torch.jit.script(ids)("hello"),
        tried(lambda: transforms.BERTTokenizer(lines("a"))("b")),
    )


def corpus() -> str:
    numbers = rng(5)
    words = ["".join(numbers.choice(list("abcdeflmnorst"), numbers.integers(2, 7))) for _ in range(60)]
    return lines(*(" ".join(numbers.choice(words, 8)) for _ in range(300)))


@job
def sentence_pieces() -> Any:
    """SentencePiece: a model made, read, used both ways."""
    place = folder()
    model = str(place / "m")
    streams.generate_sp_model(corpus(), vocab_size=40, model_type="char", model_prefix=model)
    loaded = streams.load_sp_model(f"{model}.model")
    with open(f"{model}.model", "rb") as file:
        again = streams.load_sp_model(file)
    with open(f"{model}.model", "rb") as file:
        old = early.load_sp_model(file)
    rows = ["able rest", "zebra  moon!"]
    return {
        "numbers": list(streams.sentencepiece_numericalizer(loaded)(rows)),
        "pieces": list(streams.sentencepiece_tokenizer(again)(rows)),
        "transform": transforms.SentencePieceTokenizer(f"{model}.model")(rows),
        "early": [
            early.SentencePieceTokenizer(old)(rows[0]),
            early.SentencePieceTokenizer(old).decode(["▁a", "b"]),
            early.SentencePieceProcessor(old)(rows[0]),
            early.SentencePieceProcessor(old).decode([3, 4, 5]),
        ],
        "model": [loaded.GetPieceSize(), loaded.unk_id(), loaded.PieceToId("▁"), loaded.IdToPiece(1)],
        "wrong": [tried(lambda: streams.load_sp_model("/none")), tried(lambda: streams.load_sp_model(3))],
    }


@job
def streams_of_tokens() -> Any:
    """Tokens numbered in a stream; a wiki's markup removed."""
    v = vocab.build_vocab_from_iterator([["a", "b", "c"]])
    given = [["a", "c"], ["b"]]
    found = [list(row) for row in streams.numericalize_tokens_from_iterator(v, given)]
    dropped = [list(r) for r in streams.numericalize_tokens_from_iterator(v, iter(given), ["a"])]
    mapped = streams.to_map_style_dataset(iter(given))
    wiki = list(streams.filter_wikipedia_xml(["<page>", "Plain text [[of links|words]] &amp; 3 more", "#REDIRECT x"]))
    return found, dropped, [mapped[1], len(mapped)], wiki


@job
def steps() -> Any:
    """Transforms in a row: numbers, truncation, tokens added, padding."""
    v = vocab.build_vocab_from_iterator([["the", "cat", "sat"]], specials=["<unk>", "<pad>"])
    v.set_default_index(0)
    chain = transforms.Sequential(
        transforms.VocabTransform(v),
        transforms.Truncate(4),
        transforms.AddToken(9, begin=True),
        transforms.AddToken(8, begin=False),
        transforms.ToTensor(padding_value=1),
        transforms.PadTransform(max_length=8, pad_value=1),
    )
    rows = [["the", "cat", "sat", "on", "the"], ["cat"]]
    strings = transforms.Sequential(transforms.StrToIntTransform(), transforms.ToTensor(1, dtype=torch.int32))
    masked = transforms.MaskTransform(12, 5, 0, 1, mask_bos=False, mask_prob=0.0)(whole(4, 2, 6).cpu())
    labels = transforms.LabelToIndex(label_names=["neg", "pos"])
    return {
        "chain": chain(rows),
        "one": chain(rows[0]),
        "strings": strings([["1", "2"], ["3"]]),
        "labels": [labels(["pos", "neg"]), labels("pos"), transforms.LabelToIndex(label_path=lines("x", "y"))("y")],
        "sorted": transforms.LabelToIndex(label_names=["b", "a"], sort_names=True)("b"),
        "functional": [
            functional.truncate(["a", "b", "c"], 2),
            functional.add_token([[1], [2, 3]], 7, False),
            functional.str_to_int(["4", "5"]),
            functional.to_tensor([[1, 2], [3]], 0),
        ],
        "masked": [list(m.shape) for m in masked],
        "wrong": tried(lambda: transforms.VocabTransform(v)(3)),
    }


@job
def bleu() -> Any:
    """BLEU of several orders and weights."""
    said = [["My", "full", "pytorch", "test"], ["Another", "Sentence"]]
    meant = [[["My", "full", "pytorch", "test"], ["Completely", "Different"]], [["No", "Match"]]]
    return [
        data.metrics.bleu_score(said, meant),
        data.metrics.bleu_score([TEXTS[0].split()], [[TEXTS[0].lower().split(), TEXTS[3].split()]], 2, [0.5, 0.5]),
        data.metrics.bleu_score([["a"]], [[["b"]]]),
    ]


@job
def attention() -> Any:
    """Attention made of parts, with masks and gradients."""
    dim, heads, count, length = 8, 2, 3, 5
    layers = nn.InProjContainer(*(torch.nn.Linear(dim, dim) for _ in range(3)))
    block = even(nn.MultiheadAttentionContainer(heads, layers, nn.ScaledDotProduct(), torch.nn.Linear(dim, dim)))
    q, k, v = (tensor(length, count, dim, seed=i, grad=True) for i in range(3))
    mask = torch.ones(count * heads, length, length, dtype=torch.bool).triu(1).to(jobs.DEVICE)
    out, weights = block(q, k, v, attn_mask=mask)
    (out * tensor(*out.shape, seed=7)).sum().backward()
    bias = tensor(1, count * heads, dim // heads, seed=8), tensor(1, count * heads, dim // heads, seed=9)
    more = block(q, k, v, bias_k=bias[0], bias_v=bias[1])
    first = even(
        nn.MultiheadAttentionContainer(
            heads,
            nn.InProjContainer(*(torch.nn.Linear(dim, dim) for _ in range(3))),
            nn.ScaledDotProduct(batch_first=True),
            torch.nn.Linear(dim, dim),
            batch_first=True,
        )
    )
    return out, weights, q.grad, k.grad, v.grad, more, first(*(t.detach().transpose(0, 1) for t in (q, k, v)))[0]


@job
def roberta() -> Any:
    """RoBERTa in small: outputs and gradients."""
    conf = models.RobertaEncoderConf(50, 16, 24, 1, 20, 2, 2, 0.0)
    found = []
    for name, encoder in (
        ("base", conf),
        ("first", models.RobertaEncoderConf(50, 16, 24, 1, 20, 2, 2, 0.0, None, True)),
    ):
        head = models.RobertaClassificationHead(num_classes=3, input_dim=16, dropout=0.0)
        model = even(models.RobertaBundle.build_model(encoder_conf=encoder, head=head))
        tokens = whole(48, 2, 7) + 2
        tokens[1, 5:] = 1
        model.train()
        out = model(tokens)
        out.square().sum().backward()
        grads = gradients(model)
        model.eval()
        with torch.no_grad():
            found.append((name, out, dict(list(grads.items())[::5]), model(tokens), sorted(model.state_dict())[:6]))
    bare = even(models.RobertaBundle.build_model(encoder_conf=conf)).eval()
    bundles = models.ROBERTA_BASE_ENCODER.encoderConf, models.XLMR_LARGE_ENCODER.encoderConf
    return found, bare(whole(48, 1, 5) + 2), [(b.vocab_size, b.num_encoder_layers) for b in bundles]


@job
def t5() -> Any:
    """T5 in small: encoder, decoder, generation, gradients."""
    found = []
    options = {
        "embedding_dim": 16, "qkv_dim": 8, "num_attention_heads": 2, "num_encoder_layers": 2, "num_decoder_layers": 2,
        "ffn_dimension": 24, "dropout": 0.0, "relative_attention_num_buckets": 8,
        "relative_attention_max_distance": 16, "max_seq_len": 20, "vocab_size": 40,
    }  # fmt: skip
    for more in (
        {"linear_head": True},
        {"encoder_only": True},
        {"linear_head": True, "feed_forward_proj": "gated-gelu"},
    ):
        model = even(models.T5Bundle.build_model(config=models.T5Conf(**options, **more)))
        tokens = whole(38, 2, 6) + 1
        tokens[1, 4:] = 0
        out = model(
            encoder_tokens=tokens, decoder_tokens=None if "encoder_only" in more else whole(38, 2, 4, seed=2) + 1
        )
        picked = out["encoder_output"] if "encoder_only" in more else out["decoder_output"]
        picked.square().mean().backward()
        found.append((picked, dict(list(gradients(model).items())[::7]), sorted(out)))
        if "linear_head" in more:
            made = GenerationUtils(model.eval())
            with torch.no_grad():
                found.append(made.generate(tokens, num_beams=1, max_length=6, pad_idx=0))
    return found, [models.T5_BASE.config.num_encoder_layers, models.FLAN_T5_BASE.config.is_gated_act]


@job
def datasets() -> Any:
    """Data sets are wrapped in torchdata's pipes; without it they say so."""
    from torchtext import datasets

    names = sorted(datasets.DATASETS)
    split = data.datasets_utils._check_default_set("train", ("train", "test"), "x")
    return names, split, tried(lambda: datasets.AG_NEWS(root=str(folder()))), np.sign(len(names))


if __name__ == "__main__":
    jobs.main("torchtext")
