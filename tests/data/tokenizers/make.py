"""Makes the tokenizer files of this folder and `golden.json`, the ids that other programs give.

pip install sentencepiece tiktoken tokenizers gguf
python make.py
"""

import base64
import io
import json
import pathlib
import unicodedata

import gguf
import sentencepiece
import tiktoken
import tokenizers

HERE = pathlib.Path(__file__).parent
DATA = HERE.parent.parent.parent / "datasets" / "conversations.json"

TEXTS = [
    "",
    " ",
    "Hello, world!",
    " leading and trailing  ",
    "two  spaces   and\ttabs\t\tand\n\nlines\r\n\n  end\n",
    "I'LL don't we've IT'S they're x'y",
    "1 22 333 4444 1234567890 3.14159 ４２",
    "中文English混合 北京市 Pascal 日本語のテキスト 한국어 텍스트",
    "HTTPServer iPhone camelCase ÀÉÎõü straße Ǆ ʰ",
    "naïve café e\u0301 Ω≈ç√ ﬁ ① Ａｂｃ",
    "emoji 🙂👩‍👩‍👧‍👦 🇩🇪 \u200b zero\u00a0width",
    "path/to//file_name.rs:12 <|im_start|> <s> </s> <unk> [INST]",
    "<tool>call</tool><tool> text <tool>\n",
    "==--==<<>>!!?? (a+b)*c^2 {x:[y]} $5.00 50% #tag @me &c ~/ \\n",
    "aaaaaaaaaaaaaaaa abababababab      xyzzy",
    "ᚠᛇᚻ \u0378 हिन्दी ไทย العربية עברית",
    "▁already ▁▁ marked",
    "<0x41> <0x0A>",
]

# How the tokenizers that are published in these formats cut words.
S = r"\s*[\r\n]+|\s+(?!\S)|\s+"
C = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
GPT2 = [r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""]
CL100K = [r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""]
QWEN = [r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""]
QWEN35 = [r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""]
O200K = ["|".join([
    r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
    r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
    r"""\p{N}{1,3}""",
    r""" ?[^\s\p{L}\p{N}]+[\r\n/]*""",
    r"""\s*[\r\n]+""",
    r"""\s+(?!\S)""",
    r"""\s+""",
])]
TEKKEN = [r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"""]
KIMI = ["|".join([
    r"""[\p{Han}]+""",
    r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
    r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
    r"""\p{N}{1,3}""",
    r""" ?[^\s\p{L}\p{N}]+[\r\n]*""",
    r"""\s*[\r\n]+""",
    r"""\s+(?!\S)""",
    r"""\s+""",
])]
DEEPSEEK = [
    r"\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""",
]


def corpus():
    for conversation in json.loads(DATA.read_text()):
        for turn in conversation["conversations"]:
            yield turn["value"]
    # So that what the texts above have is more than bytes.
    for text in TEXTS:
        for _ in range(4):
            yield text


def byte_letters():
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in visible}
    for byte in range(256):
        letters.setdefault(byte, chr(256 + len(letters) - len(visible)))
    return letters


def byte_level(patterns, ignore_merges):
    """A tokenizer of Hugging Face over the ranks, and its vocabulary and merges."""
    cuts = [
        tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern.replace(r"[\p{Han}]", r"\p{Han}")), "isolated")
        for pattern in patterns
    ]
    cuts.append(tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    return tokenizers.pre_tokenizers.Sequence(cuts)


def train_ranks():
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = byte_level(CL100K, False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=700,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    letters = {letter: byte for byte, letter in byte_letters().items()}
    ranks = {bytes(letters[c] for c in token): id for token, id in model["vocab"].items()}
    return ranks, model["vocab"], [tuple(merge) for merge in model["merges"]]


def train_pieces(**options):
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for text in corpus() for line in text.split("\n") if line]),
        model_writer=out,
        minloglevel=2,
        character_coverage=0.98,
        hard_vocab_limit=False,
        **options,
    )
    return out.getvalue()


def write_gguf(name, model, tokens, **more):
    writer = gguf.GGUFWriter(HERE / name, "llama")
    writer.add_tokenizer_model(model)
    writer.add_token_list(tokens)
    for key, value in more.items():
        getattr(writer, f"add_{key}")(value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


golden = {}

# -- tiktoken ----------------------------------------------------------------

ranks, vocab, merges = train_ranks()
lines = [f"{base64.b64encode(token).decode()} {rank}" for token, rank in sorted(ranks.items(), key=lambda x: x[1])]
(HERE / "ranks.tiktoken").write_text("\n".join(lines) + "\n")
for name, patterns in {"qwen": QWEN, "kimi": KIMI, "cl100k_base": CL100K, "o200k_base": O200K, "r50k_base": GPT2}.items():
    encoding = tiktoken.Encoding(name, pat_str=patterns[0], mergeable_ranks=ranks, special_tokens={})
    # Qwen composes characters first.
    form = (lambda text: unicodedata.normalize("NFC", text)) if name == "qwen" else str
    golden[f"tiktoken {name}"] = [encoding.encode(form(text), disallowed_special=()) for text in TEXTS]

# -- GGUF, byte-level --------------------------------------------------------

tokens = [token for token, _ in sorted(vocab.items(), key=lambda x: x[1])] + ["<|begin|>", "<|end|>"]
write_gguf(
    "bytes.gguf",
    "gpt2",
    tokens,
    tokenizer_pre="PRE-----",
    token_types=[1] * len(vocab) + [3, 3],
    token_merges=[" ".join(merge) for merge in merges],
    bos_token_id=len(vocab),
    eos_token_id=len(vocab) + 1,
    chat_template="{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}",
)
for pre, patterns, whole in [
    ("gpt-2", GPT2, False),
    ("smollm", [r"\p{N}", *GPT2], False),
    ("llama-bpe", CL100K, True),
    ("qwen2", QWEN, False),
    ("qwen35", QWEN35, False),
    ("gpt-4o", O200K, False),
    ("tekken", TEKKEN, True),
    ("deepseek-v3", DEEPSEEK, False),
]:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, merges, ignore_merges=whole))
    tokenizer.pre_tokenizer = byte_level(patterns, whole)
    golden[f"gguf {pre}"] = [tokenizer.encode(text).ids for text in TEXTS]

# -- SentencePiece -----------------------------------------------------------

RULES = HERE / "rules.tsv"
# Characters that become others: full width, a ligature, tabs, and what is dropped.
rules = [(0xFF10 + i, [0x30 + i]) for i in range(10)] + [(0xFF21 + i, [0x41 + i]) for i in range(26)]
rules += [(0xFF41 + i, [0x61 + i]) for i in range(26)] + [(0xFB01, [0x66, 0x69]), (0x9, [0x20]), (0xA, [0x20]), (0x200B, []), (0xA0, [0x20])]
RULES.write_text("".join(f"{source:X}\t{' '.join(f'{c:X}' for c in target)}\n" for source, target in rules))
models = {
    # As Llama 2.
    "pairs": train_pieces(
        model_type="bpe", vocab_size=700, byte_fallback=True, normalization_rule_name="identity",
        remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, split_digits=True,
    ),
    # As Gemma: pieces that are never cut, and no space before the text.
    "whole": train_pieces(
        model_type="bpe", vocab_size=700, byte_fallback=True, normalization_rule_name="identity",
        remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, add_dummy_prefix=False,
        user_defined_symbols=["<tool>", "</tool>", "\n", "▁▁", "▁▁▁", "1234"], control_symbols=["[INST]"],
    ),
    # As T5: the most likely pieces, normalized characters, single spaces, no bytes.
    "likely": train_pieces(
        model_type="unigram", vocab_size=500, normalization_rule_tsv=str(RULES), pad_id=3,
        user_defined_symbols=["<tool>"],
    ),
    # The same with bytes.
    "likely-bytes": train_pieces(
        model_type="unigram", vocab_size=700, byte_fallback=True, normalization_rule_name="identity",
    ),
}
RULES.unlink()
for name, model in models.items():
    (HERE / f"{name}.model").write_bytes(model)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    golden[f"sentencepiece {name}"] = [processor.encode(text) for text in TEXTS]

# -- GGUF, with pieces -------------------------------------------------------

for name in ["pairs", "likely"]:
    processor = sentencepiece.SentencePieceProcessor(model_proto=models[name])
    kinds = [
        2 if processor.is_unknown(i) else 3 if processor.is_control(i) else 6 if processor.is_byte(i)
        else 4 if processor.id_to_piece(i) == "<tool>" else 1
        for i in range(processor.vocab_size())
    ]
    more = {}
    if name == "likely":
        from sentencepiece import sentencepiece_model_pb2

        proto = sentencepiece_model_pb2.ModelProto.FromString(models[name])
        more = {"precompiled_charsmap": proto.normalizer_spec.precompiled_charsmap, "remove_extra_whitespaces": True}
    write_gguf(
        f"{name}.gguf",
        "t5" if name == "likely" else "llama",
        [processor.id_to_piece(i) for i in range(processor.vocab_size())],
        token_scores=[processor.get_score(i) for i in range(processor.vocab_size())],
        token_types=kinds,
        bos_token_id=processor.bos_id(),
        eos_token_id=processor.eos_id(),
        **more,
    )

(HERE / "golden.json").write_text(json.dumps({"texts": TEXTS, "ids": golden}, ensure_ascii=True, indent=None, separators=(",", ":")).replace('],"', '],\n"').replace("]],", "]],\n") + "\n")
