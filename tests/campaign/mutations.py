"""Ways to damage a file: its bytes, its json or yaml, its arrays."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

HOSTILE: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1.5,
    2**63,
    10**30,
    float("1e308"),
    "",
    " ",
    "a\nb",
    "../../etc/passwd",
    "/etc/passwd",
    "\x1b[31mred",
    "<script>alert(1)</script>",
    "| a | b |",
    "${oc.env:HOME}",
    "名" * 100,
    "x" * 5000,
    [],
    {},
    [[]],
    [None],
    {"a": {"b": {}}},
    ["a", 1, None],
    list(range(50)),
)


def damage_bytes(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """A way to damage a file, in words, and what is left of it."""
    kinds: dict[str, Callable[[], bytes]] = {
        "emptied": lambda: b"",
        "cut short": lambda: content[: rng.randrange(max(1, len(content)))],
        "last byte lost": lambda: content[:-1],
        "zeroed": lambda: bytes(len(content)),
        "tail zeroed": lambda: content[: len(content) // 2] + bytes(len(content) - len(content) // 2),
        "noise": lambda: rng.randbytes(rng.randrange(1, 2000)),
        "bytes changed": lambda: _flip(content, rng),
        "doubled": lambda: content + content,
        "text appended": lambda: content + b"\nhello\n",
        "not utf-8": lambda: content[: len(content) // 3] + b"\xff\xfe\x80" + content[len(content) // 3 :],
        "nul inside": lambda: content[: len(content) // 3] + b"\0\0" + content[len(content) // 3 :],
    }
    name = rng.choice(list(kinds))
    return name, kinds[name]()


def _flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content or b"x")
    for _ in range(rng.randrange(1, 12)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def damage_content(content: Any, rng: random.Random) -> tuple[str, Any]:
    """One value of parsed json or yaml replaced, removed, renamed or nested; in words, and the content."""
    content = json.loads(json.dumps(content))
    places = list(_places(content))
    if not places:
        return "replaced", rng.choice(HOSTILE)
    holder, key = rng.choice(places)
    where = str(key)[:20]
    kind = rng.choice(["replace", "replace", "replace", "remove", "rename", "nest", "root", "repeat"])
    if kind == "root":
        value = rng.choice(HOSTILE)
        return f"is {_short(value)}", value
    if kind == "remove":
        del holder[key]
        return f"{where} removed", content
    if kind == "rename" and isinstance(holder, dict):
        holder[f"{key}x"] = holder.pop(key)
        return f"{where} misspelt", content
    if kind == "nest":
        value = holder[key]
        for _ in range(rng.choice([1, 20, 300])):
            value = [value]
        holder[key] = value
        return f"{where} nested", content
    if kind == "repeat" and isinstance(holder, list):
        holder.extend([holder[key]] * rng.choice([1, 3]))
        return f"{where} repeated", content
    value = rng.choice(HOSTILE)
    holder[key] = value
    return f"{where} is {_short(value)}", content


def _places(content: Any) -> Any:
    """(holder, key) of everything inside; few of long lists."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in list(pairs)[:40]:
        yield content, key
        yield from _places(value)


def _short(value: Any) -> str:
    return repr(value)[:30]


def damage_json(path: Path, rng: random.Random) -> str:
    """Damage a json file, as text or as content."""
    if rng.random() < 0.35:
        words, content = damage_bytes(path.read_bytes(), rng)
        path.write_bytes(content)
        return words
    words, found = damage_content(json.loads(path.read_text(encoding="utf-8")), rng)
    path.write_text(json.dumps(found), encoding="utf-8")
    return words


def damage_json_lines(path: Path, rng: random.Random) -> str:
    """Damage a json lines file: its bytes, or one of its lines."""
    if rng.random() < 0.3:
        words, content = damage_bytes(path.read_bytes(), rng)
        path.write_bytes(content)
        return words
    lines = path.read_text(encoding="utf-8").splitlines()
    number = rng.randrange(len(lines))
    kind = rng.choice(["content", "content", "content", "twice", "lost", "swapped", "text"])
    words = kind
    if kind == "content":
        words, found = damage_content(json.loads(lines[number]), rng)
        lines[number] = json.dumps(found)
    elif kind == "twice":
        lines.insert(number, lines[number])
    elif kind == "lost":
        del lines[number]
    elif kind == "swapped":
        lines[0], lines[-1] = lines[-1], lines[0]
    else:
        lines[number] = rng.choice(["", "{", "[1, 2]", "null", "nonsense", "[" * 2000])
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return f"line {number}: {words}"


YAML_TEXTS = (
    "",
    "null",
    "[]",
    "hello",
    "a: b: c",
    "!!int abc",
    "a: !!int abc",
    "a: !!timestamp 2020-99-99",
    "a: 2020-99-99",
    "a: " + "9" * 5000,
    "[" * 3000,
    "{a: " * 3000,
    "&a [*a]",
    "a: &a [*a]",
    "!!python/object/apply:os.system ['touch canary']",
    "a: !!python/object/apply:os.system ['touch ../canary']",
    "a: !!binary x",
    "!!set {a, b}",
    "? [a, b]\n: c",
    "a: 1\na: 2",
    "--- 1\n--- 2",
    "\t- a",
    "a: &x [1]\nb: &y [*x,*x,*x,*x,*x,*x,*x,*x]\nc: &z [*y,*y,*y,*y,*y,*y,*y,*y]\nd: &w [*z,*z,*z,*z,*z,*z,*z,*z]\n"
    "e: &v [*w,*w,*w,*w,*w,*w,*w,*w]\nf: &u [*v,*v,*v,*v,*v,*v,*v,*v]\ng: [*u,*u,*u,*u,*u,*u,*u,*u]",
    "<<: 5",
    "%YAML 9.9\n--- a",
    "a: ${oc.env:HOME}",
    "a: ${b}\nb: ${a}",
)


def damage_yaml(path: Path, rng: random.Random) -> str:
    """Damage a yaml file, as text or as content."""
    kind = rng.random()
    if kind < 0.2:
        words, content = damage_bytes(path.read_bytes(), rng)
        path.write_bytes(content)
        return words
    if kind < 0.45:
        text = rng.choice(YAML_TEXTS)
        joined = rng.random() < 0.5
        path.write_text((path.read_text(encoding="utf-8") + "\n" if joined else "") + text, encoding="utf-8")
        return f"{'with' if joined else 'is'} {text[:30]!r}"
    words, found = damage_content(yaml.safe_load(path.read_text(encoding="utf-8")), rng)
    path.write_text(yaml.safe_dump(found, allow_unicode=True), encoding="utf-8")
    return words
