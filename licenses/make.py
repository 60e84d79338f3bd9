#!/usr/bin/env python3
"""Writes licenses/THIRD-PARTY.txt: the licence texts of all crates and scripts that are part of rbench.

usage: licenses/make.py [--check]      needs cargo, and the crates' sources, which `cargo fetch --locked` brings
"""

import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "licenses" / "THIRD-PARTY.txt"
# Packages of npm whose files lie in the tree, each with its package.json and its licence.
VENDORED = [ROOT / "src/output/html/uplot"]
NAMES = re.compile(r"^(licen[sc]e|copying|copyright|notice|unlicense)", re.I)


def cargo(*args):
    run = subprocess.run(["cargo", *args], cwd=ROOT, check=True, capture_output=True, text=True)
    return run.stdout


def linked():
    """Names and versions of the crates that are linked, on any platform."""
    lines = cargo("tree", "--locked", "-e", "normal,no-proc-macro", "--target", "all", "--prefix", "none", "-f", "{p}")
    crates = {tuple(line.split()[:2]) for line in lines.splitlines() if line.strip()}
    return {(name, version.removeprefix("v")) for name, version in crates if name != "llm-rbench"}


def texts(folder):
    """The licence texts that lie in a crate's folder."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and NAMES.match(path.name))
    for sub in ("LICENSES", "licenses"):
        if (folder / sub).is_dir():
            files += sorted(path for path in (folder / sub).iterdir() if path.is_file())
    found = []
    for path in files:
        text = path.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n").strip("\n")
        text = "\n".join(line.rstrip() for line in text.split("\n"))
        if text and text not in found:
            found.append(text)
    return found


def main():
    packages = json.loads(cargo("metadata", "--locked", "--format-version", "1"))["packages"]
    wanted = linked()
    by_text, lines, without = {}, [], []

    def add(label, licence, folder):
        lines.append(f"  {label:<40} {licence or 'see its text'}")
        found = texts(folder)
        if not found:
            without.append(label)
        for text in found:
            by_text.setdefault(text, []).append(label)

    for package in sorted(packages, key=lambda package: (package["name"], package["version"])):
        if (package["name"], package["version"]) not in wanted:
            continue
        folder = pathlib.Path(package["manifest_path"]).parent
        add(f"{package['name']} {package['version']}", package["license"], folder)
    if not lines:
        sys.exit("no crate was found")
    for folder in VENDORED:
        package = json.loads((folder / "package.json").read_text(encoding="utf-8"))
        add(f"{package['name']} {package['version']} (npm)", package["license"], folder)
    parts = [
        "Third-party notices\n\nrbench is under the Apache License 2.0 (LICENSE). It is linked with these works, under the licences beside them:\n",
        "\n".join(lines) + "\n",
    ]
    if without:
        parts.append(
            "Packages that come without the text of their licence, which is the usual one of that name:\n\n"
            + "\n".join(f"  {label}" for label in without)
            + "\n"
        )
    for text, labels in sorted(by_text.items(), key=lambda item: (-len(item[1]), item[1])):
        parts.append("-" * 80 + "\n" + ", ".join(labels) + "\n\n" + text + "\n")
    result = "\n".join(parts)
    if "--check" in sys.argv[1:]:
        if not OUT.exists() or OUT.read_text(encoding="utf-8") != result:
            sys.exit("licenses/THIRD-PARTY.txt is not that of Cargo.lock: run licenses/make.py")
        return
    OUT.write_text(result, encoding="utf-8")
    print(f"{OUT.relative_to(ROOT)}: {len(lines)} works, {len(by_text)} texts, {len(result)} bytes; without a text: {len(without)}")


main()
