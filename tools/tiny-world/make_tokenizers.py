"""Trains the tokenizers on the captions: CLIP's byte-level BPE and T5's unigram model, in FLUX's files.

python make_tokenizers.py DATA MODEL
"""

import json
import os
import re
import sys
from collections import Counter

import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2
from transformers.convert_slow_tokenizer import T5Converter

# Letters, digits and words that the captions lack.
EXTRA = [
    "Highly detailed cinematic portrait with depth cues",
    "A photo of a person, sharp focus, dramatic light.",
    "the quick brown fox jumps over the lazy dog 0123456789",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ !?.,;:'\"()-/&%#@+*=",
    "image picture render painting drawing 3D scene landscape house tree water city car cat dog",
    "very beautiful bright dark warm cold soft hard light shadow",
] * 40

MERGES = 400
RAREST_PAIR = 8  # occurrences


def write_json(path, value, **options):
    with open(path, "w") as file:
        json.dump(value, file, **options)


# ---------------------------------------------------------------- T5


def train_t5(texts, folder):
    """SentencePiece's unigram model of 512 pieces: pad 0, </s> 1, <unk> 2."""
    os.makedirs(folder, exist_ok=True)
    corpus = f"{folder}/corpus.txt"
    with open(corpus, "w") as file:
        file.write("\n".join(texts))
    spm.SentencePieceTrainer.train(
        input=corpus,
        model_prefix=f"{folder}/spiece",
        vocab_size=512,
        model_type="unigram",
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        pad_piece="<pad>",
        character_coverage=1.0,
        hard_vocab_limit=False,
        num_threads=2,
        byte_fallback=False,
        max_sentence_length=8192,
    )
    os.remove(corpus)
    os.remove(f"{folder}/spiece.vocab")
    forget_paths(f"{folder}/spiece.model")
    T5Converter(SlowT5(f"{folder}/spiece.model")).converted().save(f"{folder}/tokenizer.json")
    special = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    config = {
        "add_prefix_space": None,
        "clean_up_tokenization_spaces": True,
        "eos_token": "</s>",
        "extra_ids": 0,
        "legacy": True,
        "model_max_length": 64,
        "pad_token": "<pad>",
        "tokenizer_class": "T5TokenizerFast",
        "unk_token": "<unk>",
    }
    write_json(f"{folder}/tokenizer_config.json", config, indent=2)
    write_json(f"{folder}/special_tokens_map.json", special, indent=2)


def forget_paths(path):
    """SentencePiece stores the paths it was trained from."""
    proto = sentencepiece_model_pb2.ModelProto()
    with open(path, "rb") as file:
        proto.ParseFromString(file.read())
    del proto.trainer_spec.input[:]
    proto.trainer_spec.input.append("captions.txt")
    proto.trainer_spec.model_prefix = "spiece"
    with open(path, "wb") as file:
        file.write(proto.SerializeToString())


class SlowT5:
    """The properties of a slow tokenizer that transformers' converter reads."""

    _extra_ids = 0
    add_prefix_space = True
    legacy = True
    unk_token = "<unk>"
    eos_token = "</s>"
    pad_token = "<pad>"

    def __init__(self, vocab_file):
        self.vocab_file = vocab_file

    def convert_tokens_to_ids(self, token):
        return {"<pad>": 0, "</s>": 1, "<unk>": 2}[token]


# ---------------------------------------------------------------- CLIP


def byte_symbols():
    """GPT-2's printable symbol for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    symbols = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}
    return [symbols[byte] for byte in range(256)]


def merge(word, pair):
    merged, i = [], 0
    while i < len(word):
        if word[i : i + 2] == pair:
            merged.append(pair[0] + pair[1])
            i += 2
        else:
            merged.append(word[i])
            i += 1
    return tuple(merged)


def learn_merges(words):
    """Byte-pair encoding; of pairs that occur equally often, the last in alphabetical order is merged first."""
    merges = []
    while len(merges) < MERGES:
        pairs = Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += count
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        if pairs[best] < RAREST_PAIR:
            break
        merges.append(best)
        merged = Counter()
        for word, count in words.items():
            merged[merge(word, best)] += count
        words = merged
    return merges


def train_clip(texts, folder):
    """256 bytes, the same at the end of a word, the merges, then the two special tokens."""
    os.makedirs(folder, exist_ok=True)
    symbols = byte_symbols()
    pattern = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+")
    words = Counter()
    for text in texts:
        for word in pattern.findall(text.lower()):
            *start, end = word.encode()
            words[(*(symbols[byte] for byte in start), symbols[end] + "</w>")] += 1
    merges = learn_merges(words)
    vocabulary = symbols + [symbol + "</w>" for symbol in symbols] + ["".join(pair) for pair in merges]
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    write_json(f"{folder}/vocab.json", {token: i for i, token in enumerate(vocabulary)}, ensure_ascii=False)
    with open(f"{folder}/merges.txt", "w") as file:
        file.write("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges) + "\n")
    special = {"bos_token": "<|startoftext|>"} | {
        name: "<|endoftext|>" for name in ("eos_token", "unk_token", "pad_token")
    }
    config = {
        "add_prefix_space": False,
        **special,
        "errors": "replace",
        "do_lower_case": True,
        "model_max_length": 77,
        "tokenizer_class": "CLIPTokenizer",
        "clean_up_tokenization_spaces": True,
    }
    write_json(f"{folder}/tokenizer_config.json", config, indent=2)
    write_json(f"{folder}/special_tokens_map.json", special, indent=2)


def main(data, model):
    with open(f"{data}/captions.json") as file:
        captions = [caption for looks in json.load(file) for caption in looks]
    train_t5(captions + EXTRA, f"{model}/tokenizer_2")
    train_clip(captions[:6000] + EXTRA, f"{model}/tokenizer")


if __name__ == "__main__":
    main(*sys.argv[1:3])
