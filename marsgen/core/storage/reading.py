"""Reading: text files that people or earlier commands wrote; whatever is wrong with one is said in a sentence.

One reader for yaml, one for json, one for json lines. None of them runs anything, and none hangs: size, depth and the
number of nodes that anchors repeat are limited.
"""

import errno
import json
import os
import re
import stat
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, overload

from marsgen.core.errors import DataError, InputError

MAX_YAML_BYTES = 16 * 2**20
MAX_JSON_BYTES = 2**30
MAX_DEPTH = 32
"""lists and mappings inside one another"""
MAX_REPEATED = 10_000
"""yaml nodes that anchors add: "&a [...]" written once and meant a thousand times"""

Shape = TypeVar("Shape")
Fault = type[InputError]


def read_bytes(path: Path, fault: Fault = DataError, remedy: str = "", limit: int = MAX_JSON_BYTES) -> bytes:
    """The content of a plain file of at most `limit` bytes.

    Args:
        fault: what is raised.
        remedy: what the user can do; ends the sentence.
    """
    with naming(path, fault, remedy):
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ValueError("a folder, a pipe or a device, where a plain file was expected")
            if found.st_size > limit:
                raise ValueError(f"{found.st_size:,} bytes; at most {limit:,} are read")
            return file.read()


def read_text(path: Path, fault: Fault = DataError, remedy: str = "") -> str:
    """The content of a text file in utf-8."""
    with naming(path, fault, remedy):
        return _decoded(read_bytes(path, fault, remedy))


def read_yaml(path: Path, fault: Fault = DataError, remedy: str = "", *, as_texts: bool = False) -> Any:
    """The content of a yaml file; see `parse_yaml`."""
    return parse_yaml(read_bytes(path, fault, remedy, MAX_YAML_BYTES), str(path), fault, remedy, as_texts=as_texts)


def parse_yaml(
    content: bytes | str, where: str, fault: Fault = DataError, remedy: str = "", *, as_texts: bool = False
) -> Any:
    """Plain values (no dates, no objects) from yaml text. 1e-4 is a number, and a key may stand only once.

    Args:
        where: the file, for the message.
        as_texts: scalars stay the texts that they are, so that a class may be called no, 010 or 1e3.
    Raises:
        fault: it is no yaml, nested too deeply, or its anchors repeat too much.
    """
    with naming(where, fault, remedy or "mend it", "not readable yaml"):
        import yaml

        text = _decoded(content) if isinstance(content, bytes) else content
        try:
            return _loaded(text, as_texts, in_c=yaml.__with_libyaml__)
        except (yaml.YAMLError, UnicodeError):
            return _loaded(text, as_texts, in_c=False)  # what is wrong in the same words on every machine


def _loaded(text: str, as_texts: bool, in_c: bool) -> Any:
    loader = _loader(as_texts, in_c)(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


@overload
def read_json(path: Path, *, fault: Fault = DataError, remedy: str = "") -> dict[str, Any]: ...
@overload
def read_json(path: Path, like: type[Shape], fault: Fault = DataError, remedy: str = "") -> Shape: ...
def read_json(path: Path, like: Any = dict, fault: Fault = DataError, remedy: str = "") -> Any:
    """The content of a json file.

    Args:
        like: its type, such as dict[str, list[str]] or a pydantic model; object = any.
    Raises:
        fault: missing, no json, or of another type.
    """
    return parse_json(read_bytes(path, fault, remedy), str(path), like, fault, remedy)


@overload
def parse_json(content: bytes | str, where: str, *, fault: Fault = DataError, remedy: str = "") -> dict[str, Any]: ...
@overload
def parse_json(
    content: bytes | str, where: str, like: type[Shape], fault: Fault = DataError, remedy: str = ""
) -> Shape: ...
def parse_json(content: bytes | str, where: str, like: Any = dict, fault: Fault = DataError, remedy: str = "") -> Any:
    """`read_json` of text."""
    with naming(where, fault, remedy or "delete it and make it again", "not readable json"):
        text = _decoded(content) if isinstance(content, bytes) else content
        if not text.strip():
            raise ValueError("empty")
        found = json.loads(text, parse_constant=_refuse_constant)
        _refuse_depth(found)
        if like is object or type(found) is like:
            return found
        if like in (dict, list, str):
            raise ValueError(f"{_kind(found)} where {_kind(like())} was expected")
        return _checked(found, like)


def read_json_lines(path: Path, fault: Fault = DataError, remedy: str = "") -> Iterator[tuple[int, dict[str, Any]]]:
    """(byte at which its line ends, mapping) for every line of a json lines file.

    A last line without its end, and lines of zero bytes, were not yet written when a process was killed or the power
    went: they are left out.

    Raises:
        fault: any other line that is no json mapping.
    """
    end = 0
    with naming(path, fault, remedy), path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n") or not line.strip(b"\0\n"):
                return
            end += len(line)
            yield end, parse_json(line, f"{path}: line {number}", dict, fault, remedy)


def _decoded(content: bytes) -> str:
    return content.decode("utf-8-sig")  # editors of Windows put a mark before the text


class naming:
    """Within it, whatever goes wrong with a file becomes one sentence that names it."""

    def __init__(self, where: Path | str, fault: Fault = DataError, remedy: str = "", what: str = "") -> None:
        self.where, self.fault, self.remedy, self.what = where, fault, remedy, what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, problem: BaseException | None, _: Any) -> None:
        if problem is None or isinstance(problem, InputError) or not isinstance(problem, Exception):
            return
        if isinstance(problem, MemoryError):
            reason = "more than fits in memory"
        elif isinstance(problem, FileNotFoundError):
            reason = "missing"
        elif isinstance(problem, OSError):
            if problem.errno in (errno.ENOSPC, errno.EROFS, errno.EDQUOT):
                return  # nothing is wrong with the file
            reason = f"cannot be read: {problem.strerror or problem}"
        elif isinstance(problem, RecursionError):
            reason = f"nested more than {MAX_DEPTH} deep"
        elif isinstance(problem, UnicodeDecodeError):
            reason = "not UTF-8 text"
        else:
            said = getattr(problem, "problem", None) or str(problem) or type(problem).__name__
            mark = getattr(problem, "problem_mark", None)
            reason = shorten(said) + (f" at line {mark.line + 1}" if mark else "")
        words = f"{self.what} ({reason})" if self.what else reason
        remedy = f"; {self.remedy}" if self.remedy else ""
        raise self.fault(f"{self.where}: {words}{remedy}") from None


def value_at(content: Any, key: str, kind: Any, where: Path | str, fault: Fault = DataError, remedy: str = "") -> Any:
    """The value under a dotted key of nested mappings, checked.

    Args:
        kind: its type, or a tuple of types; int takes no truth value, float takes whole numbers too.
    Raises:
        fault: it is missing or of another type.
    """
    found: Any = content
    for part in key.split("."):
        if not isinstance(found, dict) or part not in found:
            raise fault(f"{where}: no '{key}'{'; ' if remedy else ''}{remedy}")
        found = found[part]
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not any(type(found) is one or (one is float and type(found) is int) for one in kinds):
        words = " or ".join(_kind(one() if one is not type(None) else None) for one in kinds)
        raise fault(
            f"{where}: '{key}' is {shorten(repr(found), 60)}; {words} was expected{'; ' if remedy else ''}{remedy}"
        )
    return found


def check_content(
    content: Any, like: type[Shape], where: Path | str, fault: Fault = DataError, remedy: str = ""
) -> Shape:
    """Parsed content as a dataclass, a pydantic model or any other type.

    Raises:
        fault: it is not of that type.
    """
    with naming(where, fault, remedy):
        return _checked(content, like)


def first_line(problem: BaseException) -> str:
    """What an exception says, shortened; its type where it says nothing."""
    return shorten((str(problem).strip().splitlines() or [type(problem).__name__])[0])


def shorten(text: str, most: int = 160) -> str:
    """The text on one line, its middle left out where it is long."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 4 :]}"


def is_printable_name(name: Any) -> bool:
    """Whether something can be the name of a class or an arm: text on one line, without blanks at its ends."""
    return isinstance(name, str) and bool(name) and name.strip() == name and name.isprintable()


def _refuse_depth(found: Any) -> None:
    level = [found]
    for _ in range(MAX_DEPTH):
        level = [
            part
            for each in level
            if isinstance(each, (dict, list))
            for part in (each.values() if isinstance(each, dict) else each)
            if isinstance(part, (dict, list))
        ]
        if not level:
            return
    raise RecursionError


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no json number")


def _kind(value: Any) -> str:
    kinds = {
        dict: "a mapping",
        list: "a list",
        str: "a text",
        bool: "a truth value",
        int: "a number",
        float: "a number",
    }
    return kinds.get(type(value), "nothing" if value is None else type(value).__name__)


def _checked(found: Any, like: type[Shape]) -> Shape:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(like).validate_python(found)
    except ValidationError as problem:
        first = problem.errors()[0]
        place = shorten(".".join(str(key) for key in first["loc"]), 60)
        raise ValueError(f"{place or 'content'}: {first['msg']}") from None


@cache
def _loader(as_texts: bool, in_c: bool) -> Any:
    """A loader of plain values that counts what it composes; made late, because yaml is imported late.

    Args:
        in_c: the text is taken apart by libyaml, in a fifth of the time.
    """
    import yaml
    from yaml.composer import Composer
    from yaml.constructor import SafeConstructor
    from yaml.resolver import Resolver

    base: Any = yaml.SafeLoader
    if in_c:
        from yaml.cyaml import CParser  # type: ignore[attr-defined]

        class InC(Composer, CParser, SafeConstructor, Resolver):
            def __init__(self, text: str) -> None:
                CParser.__init__(self, text)
                for part in (Composer, SafeConstructor, Resolver):
                    part.__init__(self)

        base = InC

    class Loader(base):
        def __init__(self, text: str) -> None:
            super().__init__(text)
            self.depth = self.repeated = 0
            self.sizes: dict[int, int] = {}

        def compose_node(self, parent: Any, index: Any) -> Any:
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise ValueError(f"nested more than {MAX_DEPTH} deep")
            is_alias = self.check_event(yaml.AliasEvent)
            node = super().compose_node(parent, index)
            self.depth -= 1
            if is_alias:
                if id(node) not in self.sizes:
                    raise ValueError("an anchor that contains itself")
                self.repeated += self.sizes[id(node)]
                if self.repeated > MAX_REPEATED:
                    raise ValueError(f"anchors that repeat more than {MAX_REPEATED:,} values")
            else:
                self.sizes[id(node)] = 1 + sum(self.sizes[id(child)] for child in _children(node))
            return node

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
                if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                    if (key.tag, key.value) in seen:
                        raise ValueError(f"key '{shorten(key.value, 60)}' twice, line {key.start_mark.line + 1}")
                    seen.add((key.tag, key.value))
            return super().construct_mapping(node, deep)

    def _children(node: Any) -> Iterator[Any]:
        if isinstance(node, yaml.MappingNode):
            yield from (part for pair in node.value for part in pair)
        elif isinstance(node, yaml.SequenceNode):
            yield from node.value

    if as_texts:
        Loader.yaml_implicit_resolvers = {}
    # plain values only: no sets, bytes, dates
    plain = ("str", "seq", "map") if as_texts else ("null", "bool", "int", "float", "str", "seq", "map")
    known = {None, *(f"tag:yaml.org,2002:{kind}" for kind in plain)}
    Loader.yaml_constructors = {t: make for t, make in yaml.SafeLoader.yaml_constructors.items() if t in known}
    if as_texts:
        Loader.yaml_implicit_resolvers = {}
        return Loader
    # dates are words here
    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":float"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    # yaml 1.1 takes 1e-4 for a word
    number = (
        r"^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    )
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(number), list("-+0123456789."))
    return Loader
