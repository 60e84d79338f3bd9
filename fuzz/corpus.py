#!/usr/bin/env python3
"""Makes the seed corpus of the fuzz targets from the files of the tests; run it in this folder.

The first bytes of an input choose what is done with the rest, see src/.
"""
import json
import pathlib

TESTS = pathlib.Path("../tests/data")
CORPUS = pathlib.Path("corpus")
# The places of backends and datasets in their registries.
BACKENDS = {"native": 0, "completions": 2, "chat": 3, "embeddings": 4, "trt": 10, "predict": 11}
DATASETS = {"sharegpt": 0, "random": 1, "mmmu": 2, "custom": 3, "openai": 4, "longbench_v2": 5, "speed-bench": 6,
            "embedding": 7, "agentic-trace": 8, "mooncake": 9}


def write(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def recording(path):
    """The bytes of a recorded response, without the times of its chunks."""
    out = b""
    for line in path.read_bytes().splitlines(keepends=True):
        if not line.startswith(b"@ "):
            out += line[:-2] if line.endswith(b"\\\n") else line
    return out


def chunked(body, size=40):
    parts = [body[i:i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def streams():
    for path in sorted((TESTS / "streams").glob("*.txt")):
        body = recording(path)
        backend = BACKENDS.get(path.stem.split("-")[0], 0)
        whole = path.stem.endswith("whole") or path.stem == "embeddings"
        write("collector", path.stem, bytes([backend, whole, 7]) + body)
        if not whole:
            write("sse", path.stem, bytes([7, 60]) + body)
            crlf = body.replace(b"\n", b"\r\n")
            write("sse", path.stem + "-crlf", bytes([3, 200]) + crlf)
    write("sse", "bare", b"\x05\x40\xef\xbb\xbf: hi\nid: 1\ndata\n\n{\"a\":1}\n{\"a\":2}\nevent: e\ndata: a\ndata: b\r\rdata: {}\ndata: {}\n")
    body = recording(TESTS / "streams" / "chat.txt")
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    responses = {
        "chunked": head + b"transfer-encoding: chunked\r\n\r\n" + chunked(body[:300]),
        "length": head + b"content-length: 5\r\n\r\nabcde",
        "close": head + b"\r\n" + body[:100],
        "interim": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 \r\nlink: x\r\n\r\n" + head + b"content-length: 1\r\n\r\na",
        "two": (head + b"content-length: 1\r\n\r\na") * 2,
        "trailer": head + b"transfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nsum: 1\r\n\r\n",
        "feeds": b"HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n1\na\n0\n\n",
        "redirect": b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://u:p@h/x?y\r\ncontent-length: 0\r\n\r\n",
        "old": b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\na",
        "huge": head + b"transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\nabc",
        "none": b"HTTP/1.1 204 No Content\r\n\r\n",
        "proxy": b"HTTP/1.1 200 Connection established\r\nvia: 1.1 x\r\n\r\n",
        "garbage": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    }
    for name, data in responses.items():
        write("http1", name, b"\x07" + data)


def odd():
    """Answers that are not as protocols say, and that are read all the same."""
    text = b'{"choices":[{"index":0,"text":"a","finish_reason":null}]}'
    data = b"data: " + text + b"\n\n"
    end = b'data: {"choices":[],"usage":{"prompt_tokens":8,"completion_tokens":2}}\n\ndata: [DONE]\n\n'
    completions, chat, native = BACKENDS["completions"], BACKENDS["chat"], BACKENDS["native"]
    message = b'data: {"choices":[{"index":0,"delta":%s,"finish_reason":""}]}\n\n'
    generate = b'data: {"text":" the","meta_info":{"completion_tokens":%d,"finish_reason":null}}\n\n'
    shapes = {
        "lines": (completions, text + b"\n" + text + b"\n"),
        "blank": (completions, b"\n\n" + data + end),
        "pretty": (completions, b'{\n "choices": [{"text": "a"}],\n "usage": {"completion_tokens": 1}\n}\n'),
        "gzip": (completions, b"\x1f\x8b\x08\x00"),
        "page": (completions, b"<html>no</html>"),
        "zero": (completions, data * 2 + end.replace(b":2}", b":0}")),
        "million": (completions, data * 2 + end.replace(b":2}", b":1000000}")),
        "early": (completions, end.replace(b"data: [DONE]\n\n", b"") + data * 2),
        "each": (completions, data + end.replace(b"data: [DONE]\n\n", b"") * 3),
        "numbered": (completions, data + data.replace(b'"index":0', b'"index":1.0') + data.replace(b'"index":0', b'"index":"7"')),
        "nan": (completions, data.replace(b"null", b'null,"logprobs":[-Infinity,NaN]') + end),
        "twice": (completions, data.replace(b'"text"', b'"text":"b","text"') + end),
        "surrogates": (completions, data.replace(b'"a"', b'"\\ud83d"') + data.replace(b'"a"', b'"\\ude00"') + end),
        "null": (completions, b"data: null\n\n" + data + end),
        "after": (completions, data + end + data),
        "cut": (completions, data + b'data: {"choi'),
        "parts": (chat, message % b'{"content":[{"type":"text","text":"a"},"b",5]}'),
        "number": (chat, message % b'{"content":1e300}'),
        "object": (chat, message % b'{"tool_calls":[{"function":{"name":"f","arguments":{"x":1}}}]}'),
        "base": (chat, b'{"base_resp":{"status_code":1004,"status_msg":"no"}}'),
        "detail": (chat, b'{"detail":[{"msg":"no"}]}'),
        "errors": (chat, b'data: {"error":[{"code":"no"}]}\n\n'),
        "alike": (native, generate % 1 + generate % 2 + generate % 3),
        "back": (native, generate % 3 + (generate % 2).replace(b" the", b" the a")),
        "leap": (native, generate % 1 + (generate % 16000000).replace(b" the", b" the a")),
    }
    for name, (backend, body) in shapes.items():
        write("collector", "odd-" + name, bytes([backend, 4 if name == "each" else 2, 7]) + body)


def batches():
    def event(index, count, reason):
        meta = {"completion_tokens": count, "finish_reason": reason, "prompt_tokens": 5, "cached_tokens": 2}
        return b"data: " + json.dumps({"text": "ab", "index": index, "meta_info": meta}).encode() + b"\n\n"

    def choice(index, text, reason):
        data = {"choices": [{"index": index, "text": text, "finish_reason": reason}]}
        return b"data: " + json.dumps(data).encode() + b"\n\n"

    ends = {"type": "length", "length": 2}
    done = b"data: [DONE]\n\n"
    write("batch", "generate", b"\x02\x07" + event(0, 1, None) + event(1, 1, None) + event(0, 2, ends)
          + event(1, 2, ends) + done)
    write("batch", "stop", b"\x00\x07" + event(0, 1, None) + event(0, 2, {"type": "stop", "matched": "NaN happened"}))
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":1}}}\n\n'
    write("batch", "completions", b"\x03\x07" + choice(0, "a", None) + choice(1, "b", None) + choice(0, "c", "length")
          + choice(1, "d", "length") + usage + done)
    write("batch", "error", b"\x01\x07" + b'data: {"error":{"message":"too long"}}\n\n')


def files():
    for path in sorted((TESTS / "datasets").glob("*.json*")):
        place = DATASETS[path.stem]
        write("datasets", path.stem, bytes([place, 0]) + path.read_bytes())
        write("datasets", path.stem + "-skipping", bytes([place, 31]) + path.read_bytes() + b"\n{\"x\": 1}\n")
    rows = [{"conversations": [{"from": "human", "value": "What is new?"}, {"from": "gpt", "value": "Nothing, and you?"}]}] * 3
    write("datasets", "sharegpt", bytes([0, 0]) + json.dumps(rows).encode())
    write("datasets", "random", bytes([1, 4]) + json.dumps(rows).encode())
    write("datasets", "parquet", bytes([2, 0]) + b"PAR1" + bytes(16) + b"\x10\0\0\0PAR1")
    endings = {".model": 0, ".gguf": 1, ".tiktoken": 2}
    for path in sorted((TESTS / "tokenizers").iterdir()):
        if path.suffix in endings:
            write("tokenizers", path.name, bytes([endings[path.suffix]]) + path.read_bytes())


streams()
odd()
batches()
files()
