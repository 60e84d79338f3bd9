#!/usr/bin/env python3
"""Writes the default data of rbench: conversations.json and tokenizer/.

All text comes from datasets/text/*.txt, which was written for this project.
The script puts it together at random with a fixed seed, so that each run
writes the same bytes. It needs the PyPI package `tokenizers`.

Usage: python3 datasets/make.py
"""

import hashlib
import json
import math
import os
import re
import statistics
from pathlib import Path
from random import Random

os.environ["TOKENIZERS_PARALLELISM"] = "false"

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: E402

HERE = Path(__file__).resolve().parent
TEXT = HERE / "text"
SEED = 20250101
COUNT = 1200
ONE_TURN = {137, 402, 655, 871, 1120}  # item numbers with the human's turn only
EMPTY = {250, 733, 1004}  # item numbers with no turn at all
VOCAB = 4096
SPECIAL = ["<|begin|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    r"|[^\r\n\p{L}\p{N}]?\p{L}+"
    r"|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+"
    r"|\s+(?!\S)"
    r"|\s+"
)
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)


# ---------------------------------------------------------------- word material


def lines(name):
    """The lines of a text file after its comment line, without blank ones."""
    text = (TEXT / name).read_text(encoding="utf-8")
    return [line for line in text.split("\n")[1:] if line.strip()]


def sections(name):
    """The "[heading]" sections of a text file: a list of (rest of line, heading, lines)."""
    found = []
    for line in lines(name):
        head = re.fullmatch(r"\[(.+?)\](.*)", line)
        if head:
            found.append((head[2].strip(), head[1], []))
        else:
            found[-1][2].append(line)
    return found


def fields(line):
    return [part.strip() for part in line.split(" | ")]


def snippets():
    """The code snippets: a list of (language, task, explanation, code)."""
    text = (TEXT / "code.txt").read_text(encoding="utf-8")
    found = []
    for block in text.split("\n%% ")[1:]:
        head, code = block.split("\n", 1)
        found.append((*fields(head), code.rstrip("\n")))
    return found


TOPICS = [(group, topic, body) for topic, group, body in sections("topics.txt")]
PATTERNS = {name: body for _, name, body in sections("patterns.txt")}
LISTS = [(what, body) for _, what, body in sections("lists.txt")]
STEPS = [(goal, body) for _, goal, body in sections("steps.txt")]
PAIRS = [(fields(pair), [fields(row) for row in body]) for _, pair, body in sections("compare.txt")]
TRANSLATIONS = [fields(line) for line in lines("translations.txt")]
FOREIGN = [fields(line) for line in lines("foreign.txt")]
MATHS = [fields(line) for line in lines("maths.txt")]
CODE = snippets()
WORDS = {}
for _line in lines("words.txt"):
    _name, _choices = _line.split(":", 1)
    WORDS[_name] = [choice.strip() for choice in _choices.split(";")]


# ---------------------------------------------------------------- chance


class Dice:
    """Random choices built on Random.random() alone, whose sequence Python guarantees."""

    def __init__(self, seed):
        self.random = Random(seed).random

    def below(self, n):
        return int(self.random() * n)

    def between(self, low, high):
        return low + self.below(high - low + 1)

    def pick(self, items):
        return items[self.below(len(items))]

    def chance(self, p):
        return self.random() < p

    def some(self, items, n):
        """n different items in random order."""
        rest = list(items)
        return [rest.pop(self.below(len(rest))) for _ in range(min(n, len(rest)))]

    def weighted(self, table):
        point = self.random() * sum(weight for _, weight in table)
        for item, weight in table:
            point -= weight
            if point < 0:
                return item
        return table[-1][0]

    def length(self, median, spread, low, high):
        """A length in words, lognormal between two bounds."""
        normal = math.sqrt(-2 * math.log(1 - self.random())) * math.cos(2 * math.pi * self.random())
        return min(max(round(median * math.exp(spread * normal)), low), high)


def size(text):
    return len(text.split())


def upper(text):
    return text[:1].upper() + text[1:]


def fill(dice, pattern, **given):
    """Puts words into the braces of a pattern; the words given come first."""

    def word(match):
        name = match[1]
        if name in given:
            return str(given[name])
        if name == "n":
            return str(dice.between(3, 8))
        if name == "m":
            return str(dice.between(4, 90) * 10)
        return dice.pick(WORDS[name])

    filled = re.sub(r"\{(\w+)\}", word, pattern)
    return upper(filled) if pattern.startswith("{") and dice.chance(0.7) else filled


def say(dice, use, **given):
    return fill(dice, dice.pick(PATTERNS[use]), **given)


def grow(dice, ask, words):
    """Adds sentences of context to a question until it is about so many words long."""
    extra = []
    for sentence in dice.some(PATTERNS["context"], len(PATTERNS["context"])):
        if size(ask) + sum(map(size, extra)) + size(sentence) / 2 > words:
            break
        extra.append(sentence)
    if not extra:
        return ask
    cut = dice.below(len(extra) + 1)
    return " ".join(extra[:cut] + [upper(ask)] + extra[cut:])


def take(body, words):
    """The first sentences of a body that make about so many words; at least one."""
    taken = []
    for sentence in body:
        if taken and sum(map(size, taken)) + size(sentence) / 2 > words:
            break
        taken.append(sentence)
    return taken


def marks(dice, items, numbered=False):
    if numbered:
        return "\n".join(f"{i}. {item}" for i, item in enumerate(items, 1))
    mark = dice.pick(["-", "-", "*", "•"])
    return "\n".join(f"{mark} {item}" for item in items)


def framed(dice, body, sep="\n\n"):
    """An answer with or without a line before and after it."""
    if dice.chance(0.35):
        body = say(dice, "open") + sep + body
    if dice.chance(0.25):
        body = body + sep + say(dice, "close")
    return body


# ---------------------------------------------------------------- kinds of exchange
# Each takes the dice and the wanted lengths in words, and gives back
# (prompt, answer, sentences for answers to further questions).


def essay(dice, first, words):
    """About so many words on a topic, and then on others of its group."""
    group, topic, body = first
    if words < 160 and dice.chance(0.25):
        items = take(body, words)
        if len(items) > 2:
            return framed(dice, items[0] + "\n\n" + marks(dice, items[1:]))
    near = [t for t in TOPICS if t[0] == group and t[1] != topic]
    far = [t for t in TOPICS if t[0] != group]
    order = [first] + dice.some(near, len(near)) + dice.some(far, 4)
    headed = words > 220 and dice.chance(0.5)
    parts = []
    for n, (_, name, sentences) in enumerate(order):
        left = words - sum(map(size, parts))
        if n and left < 25:
            break
        chosen = take(sentences, left)
        cut = len(chosen) // 2 if len(chosen) > 6 else len(chosen)
        text = " ".join(chosen[:cut]) + ("\n\n" + " ".join(chosen[cut:]) if chosen[cut:] else "")
        if headed:
            text = f"## {upper(name)}\n\n{text}"
        elif n:
            text = say(dice, "bridge", t=name) + " " + text
        parts.append(text)
    body = "\n\n".join(parts)
    return body if words < 30 else framed(dice, body)


def explain(dice, p, a):
    first = dice.pick(TOPICS)
    limit = max(50, (a + 49) // 50 * 50)
    ask = say(dice, "ask explain", t=first[1], w=limit, n=max(2, round(a / 14)))
    return grow(dice, ask, p), essay(dice, first, a), first[2]


def listing(dice, p, a):
    what, items = dice.pick(LISTS)
    n = min(max(3, a // 8), len(items))
    chosen = dice.some(items, n)
    answer = marks(dice, chosen, dice.chance(0.4))
    return grow(dice, say(dice, "ask list", l=what, n=n), p), framed(dice, answer), items


def plan(dice, p, a):
    goal, steps = dice.pick(STEPS)
    answer = framed(dice, marks(dice, steps, dice.chance(0.8)))
    return grow(dice, say(dice, "ask plan", g=goal), p), answer, steps


def compare(dice, p, a):
    (one, two), rows = dice.pick(PAIRS)
    aspects = dice.some([row for row in rows if row[0] != "verdict"], 2 if a < 50 else 4)
    verdict = next(row[1] for row in rows if row[0] == "verdict")
    style = dice.below(3)
    if style == 0:
        table = [f"| | {one} | {two} |", "|---|---|---|"]
        table += [f"| {aspect} | {x} | {y} |" for aspect, x, y in aspects]
        answer = "\n".join(table) + "\n\n" + verdict
    elif style == 1:
        answer = "\n".join(f"- **{upper(aspect)}**: {x} {y}" for aspect, x, y in aspects) + "\n\n" + verdict
    else:
        answer = (
            f"{upper(one)}: " + " ".join(x for _, x, _ in aspects) + "\n\n"
            f"{upper(two)}: " + " ".join(y for _, _, y in aspects) + "\n\n" + verdict
        )
    ask = say(dice, "ask compare", a=one, b=two)
    return grow(dice, upper(ask), p), answer, [verdict] + [x for _, x, _ in aspects]


def document(dice, words):
    """A text of about so many words: (two or more topics in it, the text)."""
    group = dice.pick(TOPICS)[0]
    near = [t for t in TOPICS if t[0] == group]
    far = [t for t in TOPICS if t[0] != group]
    used, parts = [], []
    for topic in dice.some(near, len(near)) + dice.some(far, len(far)):
        left = words - sum(map(size, parts))
        if len(parts) > 1 and left < 15:
            break
        chosen = take(topic[2][dice.below(2):], left if parts else min(left, words * 0.6))
        used.append((topic[1], chosen))
        parts.append(" ".join(chosen))
    return used, "\n\n".join(parts)


def summary(dice, p, a):
    used, text = document(dice, max(p - 8, 30))
    n = min(max(1, a // 16), 12, sum(len(body) for _, body in used) // 2)
    points = [s for depth in range(9) for _, body in used for s in body[depth:depth + 1]][:n]
    ask = say(dice, "ask summary", n="one or two" if n == 1 else n)
    prompt = f"{ask}\n\n{text}" if dice.chance(0.8) else f"{text}\n\n{ask}"
    answer = marks(dice, points) if n > 1 and dice.chance(0.4) else " ".join(points)
    return prompt, answer, points


def passage(dice, p, a):
    used, text = document(dice, max(p - 12, 40))
    name, body = dice.pick(used)
    ask = say(dice, "ask passage", t=name)
    prompt = f'{ask}\n\n"""\n{text}\n"""' if dice.chance(0.5) else f"{ask}\n\n{text}"
    return prompt, " ".join(take(body, a)), body


def code(dice, p, a):
    language, task, why, text = dice.pick(CODE)
    answer = f"```{language}\n{text}\n```"
    if a > 40 or dice.chance(0.6):
        answer += "\n\n" + why
    return grow(dice, say(dice, "ask code", c=task), p), framed(dice, answer), []


def review(dice, p, a):
    language, task, why, text = dice.pick(CODE)
    prompt = grow(dice, say(dice, "ask review"), p - size(text)) + f"\n\n```{language}\n{text}\n```"
    return prompt, f"This is {task}. {why}", []


def translate(dice, p, a):
    language, source, target = dice.pick(TRANSLATIONS)
    return say(dice, "ask translate", lang=language, s=source), target, []


def foreign(dice, p, a):
    ask, answer = dice.pick(FOREIGN)
    return ask, answer, []


def maths(dice, p, a):
    names = {"a": dice.between(3, 19), "b": dice.between(3, 29), "c": dice.between(2, 18), "c5": 5 * dice.between(1, 9)}
    given = {"name": dice.pick(WORDS["name"]), "item": dice.pick(WORDS["item"])}

    def value(match):
        return given.get(match[1]) or str(eval(match[1], {"__builtins__": {}}, names))

    ask, answer = (re.sub(r"\{([^}]+)\}", value, part) for part in dice.pick(MATHS))
    return grow(dice, ask, min(p, 60)), answer, []


def extract(dice, p, a):
    rows = []
    for _ in range(min(max(4, p // 4), 60)):
        rows.append((dice.pick(WORDS["name"]), dice.pick(WORDS["city"]), dice.pick(WORDS["item"]), dice.between(5, 990)))
    table = "name,city,item,amount\n" + "\n".join(",".join(map(str, row)) for row in rows)
    style = dice.below(4)
    ask = PATTERNS["ask extract"][style]
    if style == 0:
        best = max(rows, key=lambda row: row[3])
        answer = f"The largest order is the one by {best[0]} in {best[1]}: {best[2]} for {best[3]} euros."
    elif style == 1:
        answer = f"The {len(rows)} amounts add up to {sum(row[3] for row in rows)} euros."
    elif style == 2:
        keys = ("name", "city", "item", "amount")
        objects = ",\n".join("  " + json.dumps(dict(zip(keys, row)), ensure_ascii=False) for row in rows)
        answer = f"```json\n[\n{objects}\n]\n```"
    else:
        city = dice.pick(rows)[1]
        ask = ask.replace("{city}", city)
        answer = f"Orders from {city}: {sum(row[1] == city for row in rows)} of {len(rows)}."
    return f"{ask}\n\n{table}", answer, []


def log(dice, p, a):
    second, bad, rows = dice.below(3600), [], []
    day = f"2025-{dice.between(1, 12):02}-{dice.between(1, 28):02}"
    for _ in range(min(max(6, p // 6), 45)):
        second += dice.between(1, 90)
        clock = f"{day}T{second // 3600 % 24:02}:{second // 60 % 60:02}:{second % 60:02}Z"
        part = dice.pick(WORDS["part"])
        if dice.chance(0.2):
            bad.append((clock, part, dice.pick(WORDS["fault"])))
            rows.append(f"{clock} ERROR {part}: {bad[-1][2]}")
        else:
            rows.append(f"{clock} INFO  {part}: {dice.pick(WORDS['note'])} id={dice.below(65536):04x}")
    if bad:
        answer = f"The first error is at {bad[0][0]}: {bad[0][1]} reports \"{bad[0][2]}\"."
        if len(bad) > 1:
            parts = sorted({part for _, part, _ in bad})
            answer += f" There are {len(bad)} errors in all, reported by: {', '.join(parts)}."
    else:
        answer = "There is no error in these lines; every entry is at level INFO."
    return say(dice, "ask log") + "\n\n```\n" + "\n".join(rows) + "\n```", answer, []


def letter(dice, p, a):
    name, day, why = dice.pick(WORDS["name"]), dice.pick(WORDS["day"]), say(dice, "why")
    frame = PATTERNS["letter body"]
    body = frame[1:3] + dice.some(frame[3:], 1 if a < 60 else 3)
    if dice.chance(0.6):
        body = frame[:1] + body
    text = " ".join(fill(dice, s, why=why, day=day) for s in body)
    answer = f"Dear {name},\n\n{text}\n\nKind regards,\n{dice.pick(WORDS['name'])}"
    return grow(dice, say(dice, "ask letter", name=name, why=why), p), answer, body[3:]


SHORT = [(explain, 34), (listing, 12), (plan, 9), (compare, 9), (code, 10), (maths, 9), (translate, 6), (foreign, 7), (letter, 4)]
MIDDLE = [(explain, 34), (listing, 9), (plan, 8), (compare, 7), (code, 8), (maths, 4), (letter, 6), (summary, 8), (passage, 6), (review, 6), (extract, 3), (log, 3)]
LONG = [(explain, 12), (summary, 34), (passage, 26), (extract, 9), (log, 9), (review, 4)]
LONGEST = [(summary, 45), (passage, 40), (extract, 6), (log, 9)]


def exchange(dice):
    p = dice.length(24, 1.15, 3, 590)
    a = dice.length(95, 0.9, 5, 500)
    table = SHORT if p < 16 else MIDDLE if p < 60 else LONG if p < 180 else LONGEST
    return dice.weighted(table)(dice, p, a)


def conversations():
    dice = Dice(SEED)
    seen = set()
    items = []
    for number in range(1, COUNT + 1):
        values = []
        turns = 2 if number in ONE_TURN | EMPTY else dice.weighted([(2, 90), (4, 7), (6, 3)])
        while True:
            prompt, answer, pool = exchange(dice)
            if prompt not in seen and (turns == 2 or pool):
                break
        seen.add(prompt)
        values = [prompt, answer]
        for _ in range(turns // 2 - 1):
            if dice.chance(0.4):
                ask, answer, pool = explain(dice, dice.length(14, 0.8, 3, 60), dice.length(60, 0.7, 8, 250))
            else:
                ask, answer = say(dice, "follow"), say(dice, "short answer", s=dice.pick(pool or TOPICS[0][2]))
            values += [ask, answer]
        if number in ONE_TURN:
            values = values[:1]
        if number in EMPTY:
            values = []
        talk = [{"from": "gpt" if i % 2 else "human", "value": value} for i, value in enumerate(values)]
        items.append({"id": f"rbench-{number:04}", "conversations": talk})
    return items


# ---------------------------------------------------------------- tokenizer


def train(texts):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        min_frequency=2,
        show_progress=False,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def config():
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIAL[0],
        "eos_token": SPECIAL[1],
        "additional_special_tokens": SPECIAL[2:],
        "model_max_length": 8192,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }


# ---------------------------------------------------------------- output


def write(path, text):
    path.parent.mkdir(exist_ok=True)
    data = text.encode("utf-8")
    path.write_bytes(data)
    print(f"{path.relative_to(HERE)}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


def report(items, tokenizer):
    """Checks the data and prints its figures."""
    texts = [turn["value"] for item in items for turn in item["conversations"]]
    for text in texts:
        ids = tokenizer.encode(text).ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == text, text
    assert tokenizer.get_vocab_size() == VOCAB
    assert [tokenizer.token_to_id(token) for token in SPECIAL] == list(range(len(SPECIAL)))

    turns = [len(item["conversations"]) for item in items]
    print("conversations:", len(items))
    print("by number of turns:", {n: turns.count(n) for n in sorted(set(turns))})
    firsts = [item["conversations"][:2] for item in items if len(item["conversations"]) > 1]
    tokens = [[len(tokenizer.encode(turn["value"]).ids) for turn in pair] for pair in firsts]
    print("with two turns of two tokens or more:", sum(min(pair) >= 2 for pair in tokens))
    for name, column in (("prompt", 0), ("answer", 1)):
        for unit, values in (
            ("tokens", [pair[column] for pair in tokens]),
            ("words", [size(pair[column]["value"]) for pair in firsts]),
        ):
            ordered = sorted(values)
            print(
                f"{name} {unit}: mean {statistics.mean(values):.1f}, median {statistics.median(values):g}, "
                f"90th percentile {ordered[len(ordered) * 9 // 10]}, least {ordered[0]}, most {ordered[-1]}"
            )
    print("vocabulary:", tokenizer.get_vocab_size())
    print("characters per token:", round(sum(map(len, texts)) / sum(len(tokenizer.encode(t).ids) for t in texts), 2))


def main():
    items = conversations()
    rows = ",\n".join(json.dumps(item, ensure_ascii=False) for item in items)
    write(HERE / "conversations.json", f"[\n{rows}\n]\n")
    tokenizer = train([turn["value"] for item in items for turn in item["conversations"]])
    compact = json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":"))
    write(HERE / "tokenizer" / "tokenizer.json", compact + "\n")
    write(HERE / "tokenizer" / "tokenizer_config.json", json.dumps(config(), ensure_ascii=False, indent=2) + "\n")
    report(items, tokenizer)


if __name__ == "__main__":
    main()
