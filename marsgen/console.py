"""What the two command lines share: common options, and errors as one line with exit code 2."""

import errno
import io
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from marsgen.checks import check_classes_file, check_data, check_each, check_out
from marsgen.completion import offer_configs
from marsgen.core.errors import InputError
from marsgen.core.process_group import first_to_say
from marsgen.core.stop import Stopped, catching_signals
from marsgen.core.storage.reading import first_line, shorten

if TYPE_CHECKING:
    from marsgen.core.config import Config
    from marsgen.core.rehearsal import Estimate
    from marsgen.core.runs import Run
    from marsgen.scenes.classes import ClassSet

Data = Annotated[
    str,
    typer.Option(
        "--data",
        callback=check_data,
        help="An .npz, an AI4Mars folder, a folder with images/ and labels/, or sim:N (N simulated scenes).",
        metavar="WHERE",
        show_default=False,
    ),
]
Classes = Annotated[
    Path | None,
    typer.Option(
        "--classes",
        help="Yaml of class names, ids and colours; default: the data's own, else Mars.",
        metavar="FILE",
        callback=check_each(check_classes_file),
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="Yaml of settings; what it leaves out keeps its default.",
        metavar="FILE",
        autocompletion=offer_configs(),
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Override one setting (a.b=1 for nested ones); the command `settings` lists them. Repeatable.",
        metavar="KEY=VALUE",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Folder to write into. Default: one under outputs/, named in the last line printed.",
        metavar="DIR",
        callback=check_out,
    ),
]

Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        help="Jobs side by side on this machine. Default: as many as its cores, GPUs and memory hold.",
        min=1,
        metavar="N",
    ),
]
On = Annotated[
    str | None,
    typer.Option(
        "--on",
        help="A Ray cluster: ray (RAY_ADDRESS, the one on this machine, or a new one) or ray://HOST:10001.",
        metavar="ray",
    ),
]
PerJob = Annotated[
    str | None,
    typer.Option(
        "--per-job",
        help="What each job needs: cpus=1,gpus=0.25,memory_gb=4. Default: a core, a GPU where there are any, 2 GB.",
        metavar="NEEDS",
    ),
]

CheckSettings = Annotated[
    bool,
    typer.Option(
        "--check-settings",
        hidden=True,
        is_eager=True,
        help="Print the settings, and stop: for `segmenter study`, before the runs that are named exist.",
    ),
]
DiskNeed = Annotated[
    bool,
    typer.Option(
        "--disk-need",
        hidden=True,
        help="Say what it will take on the disk, and stop: for `segmenter study`, before anything is trained.",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Print the settings, try the first steps, say what all of it would take, and keep nothing."
    ),
]

OUTPUTS = Path("outputs")
LOG_INTERVAL_S = 60
"""between two states of a progress bar where standard error is no terminal"""
_LONGEST_WORD, _LONGEST_SENTENCE = 200, 1000

# typer carries a click of its own in some versions and imports the public one in others; this is the one in use
UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def given_settings(values: Mapping[str, Any], table: Mapping[str, str]) -> list[str]:
    """The options that were given, as `key=value` overrides for `load_config`.

    Args:
        values: parameter name of each option -> its value, as in `typer.Context.params`; None or empty = not given.
        table: parameter name -> dotted key of the setting that it sets.
    """
    given = {key: values[name] for name, key in table.items() if values[name] not in (None, [], ())}
    return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in given.items()]


def read_class_set(classes: Path | None) -> "ClassSet | None":
    """The ClassSet of --classes, or None when it was not given."""
    from marsgen.scenes.classes import read_classes

    return None if classes is None else read_classes(classes)


@dataclass
class _Output:
    """How the command at hand speaks, and what it has said that its line of json repeats."""

    command: str = ""
    quiet: bool = False
    as_json: bool = False
    wrote: list[str] = field(default_factory=list)
    summaries: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


_output = _Output()
_FLAGS = {
    "--quiet": "Print nothing but errors.",
    "--json": "Print a last line of json: what was written where, the summary, notes, an error if there was one.",
}
"""options that every command takes, wherever they stand"""


def say(text: str) -> None:
    """Print a result line to standard output; progress bars use standard error. Of several processes, one speaks."""
    if is_first_process() and not _output.quiet:
        print(text, flush=True)


def say_wrote(path: Path, summary: Mapping[str, Any] | None = None) -> None:
    """Say where the result lies; `summary` is what the line of json says about it."""
    _output.wrote.append(str(path))
    if summary is not None:
        add_summary(summary)
    say(f"wrote {path}")


def say_finished(run: "Run") -> None:
    """Print the summary of a finished run in one line, and where it lies."""
    say("   ".join(f"{key} {value}" for key, value in _flat(run.summary)))
    say_wrote(run.folder, run.summary)


def _flat(summary: Mapping[str, Any]) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in summary.items():
        pairs += _flat(value) if isinstance(value, dict) else [(key, value)]
    return pairs


def add_summary(summary: Mapping[str, Any]) -> None:
    """Have the line of json say this."""
    _output.summaries.append(dict(summary))


def say_note(text: str) -> None:
    """Print what the user may want to know to standard error. Of several processes, one speaks."""
    _output.notes.append(text)
    if is_first_process() and not _output.quiet:
        print(f"note: {text}", file=sys.stderr)


def _say_json(exit_code: int, error: str | None = None) -> None:
    """Print the line of json that --json asks for."""
    if not _output.as_json or not is_first_process():
        return
    content: dict[str, Any] = {"command": _output.command, "exit_code": exit_code, "wrote": _output.wrote}
    content |= {"summaries": _output.summaries, "notes": _output.notes} | ({"error": error} if error else {})
    from marsgen.core.storage.files import plain  # here: imports numpy

    print(json.dumps(plain(content), ensure_ascii=False, allow_nan=False), flush=True)


def _read_flags(words: list[str], program: str) -> list[str]:
    """Set how this command speaks; returns the words without the flags that every command takes."""
    global _output
    named = [word for word in words if not word.startswith("-")]
    end = words.index("--") if "--" in words else len(words)
    given = {word for word in words[:end] if word in _FLAGS}
    _output = _Output(" ".join([program, *named[:1]]), quiet="--quiet" in given, as_json="--json" in given)
    if "--version" in words[:end]:  # of every command
        return ["--version"]
    return [word for number, word in enumerate(words) if number >= end or word not in _FLAGS]


def is_first_process() -> bool:
    """Whether torchrun, if it started this process, calls it number 0."""
    return int(os.environ.get("RANK", "0")) == 0


def say_settings(settings: "Config") -> None:
    """Print a config as the yaml file that says the same."""
    import yaml

    say(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True).rstrip())


def say_dry_run(settings: "Config", estimate: "Callable[[], Estimate]") -> None:
    """Print a config, and below it, as a comment of its yaml, what the command would take."""
    say_settings(settings)
    packages = [logging.getLogger(name) for name in ("marsgen", "segmenter")]
    for logger in packages:  # what the command says of its data is not for a yaml file
        logger.setLevel(logging.WARNING)
    found = estimate()
    _end_line()
    for logger in packages:
        logger.setLevel(logging.INFO)
    add_summary({"seconds": found.seconds, "memory": found.memory, "disk": found.disk})
    say(f"# {found.line()}")


def run_app(app: typer.Typer, program: str) -> None:
    """Run a command line. A user's mistake is one line on standard error and exit code 2; a bug is a traceback."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looking for some reads every installed package
    # `marsgen auto` hands its words on
    given = sys.argv[1:] if [program, *sys.argv[1:2]] == ["marsgen", "auto"] else _read_flags(sys.argv[1:], program)
    _set_bars()
    _show_notes()
    try:
        with catching_signals():
            code = app(given, standalone_mode=False, prog_name=program)
        _say_json(code if isinstance(code, int) else 0)
        sys.stdout.flush()
    except InputError as problem:
        _stop(str(problem))
    except UsageError as problem:
        context = getattr(problem, "ctx", None)
        sentence = getattr(problem, "format_message", problem.__str__)().replace(": Value error, ", ": ")
        _stop(f"{sentence.rstrip('.')}; see `{context.command_path if context else program} --help`")
    except (typer.Abort, KeyboardInterrupt, Stopped) as problem:
        if is_first_process():
            _end_line()
            print(
                "stopped; repeat the command and it goes on from its last checkpoint, or anew where it had none",
                file=sys.stderr,
            )
        code = problem.exit_code if isinstance(problem, Stopped) else 130
        _say_json(code, "stopped")
        sys.exit(code)
    except BrokenPipeError:
        # whoever read the output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)
    except OSError as problem:
        _stop(_os_sentence(problem))
    except (MemoryError, RuntimeError) as problem:
        if not _is_out_of_memory(problem):
            raise
        reason = first_line(problem)
        _stop(f"not enough memory ({reason}); lower batch_size or the size of pictures, or use a larger machine")
    sys.exit(code if isinstance(code, int) else 0)


def _set_bars() -> None:
    """One process shows bars; in a file or a pipe they are a line a minute, for a log is read and not watched.

    tqdm reads its own switches when it is first imported; those that the user set win.
    """
    if not is_first_process() or _output.quiet:
        os.environ["TQDM_DISABLE"] = "1"
    elif not sys.stderr.isatty():
        for switch in ("TQDM_MININTERVAL", "TQDM_DELAY"):
            os.environ.setdefault(switch, str(LOG_INTERVAL_S))


class _NoteHandler(logging.Handler):
    """Prints what the packages log: information as a result line, each warning once as a note."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno < logging.WARNING:
            say(text)
        elif text not in self._said:
            self._said.add(text)
            say_note(text)


def _show_notes() -> None:
    """Let what the packages log through, and let no console fail over a letter that its encoding lacks."""
    handler = _NoteHandler()
    for package in ("marsgen", "segmenter"):
        logger = logging.getLogger(package)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(logging.INFO)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _os_sentence(problem: OSError) -> str:
    """What the operating system refused, on which file, and what to do."""
    name = problem.filename or "a file of this command"
    if isinstance(name, bytes):
        name = os.fsdecode(name)
    remedies = {
        errno.ENOSPC: "make room and repeat the command, it goes on",
        errno.EDQUOT: "make room and repeat the command, it goes on",
        errno.EFBIG: "give an --out on a file system that holds larger files",
        errno.EROFS: "it can only be read; give an --out that can be written",
        errno.EACCES: "make it readable and writable, or give another --out",
        errno.EPERM: "make it readable and writable, or give another --out",
        errno.ENAMETOOLONG: "give a shorter name",
        errno.ENOENT: "it is gone; was it removed or moved while the command ran? Repeat the command",
        errno.EMFILE: "allow more open files (ulimit -n) and repeat the command",
        errno.EIO: "the disk or network drive failed; check it and repeat the command",
        errno.ESTALE: "the network drive was lost; check it and repeat the command",
        errno.ENOTDIR: "a file stands where a folder was expected",
        errno.EISDIR: "a folder stands where a file was expected",
    }
    remedy = remedies.get(problem.errno or 0, "mend that and repeat the command, it goes on")
    return f"{name}: {problem.strerror or problem}; {remedy}"


def _is_out_of_memory(problem: BaseException) -> bool:
    words = str(problem)
    torch = sys.modules.get("torch")
    on_gpu = torch is not None and isinstance(problem, torch.OutOfMemoryError)
    return isinstance(problem, MemoryError) or on_gpu or "allocate memory" in words or "not enough memory" in words


def _end_line() -> None:
    """End the line of a progress bar that an error left where it was."""
    tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)
    for bar in list(getattr(tqdm, "_instances", ())):
        bar.close()


def _stop(sentence: str) -> None:
    # most mistakes stop all processes alike, some only one of them, and that need not be the first
    _end_line()
    if first_to_say(sentence):
        # a line of its own, wherever the progress bar of another process stands
        line_break = "" if os.environ.get("WORLD_SIZE", "1") == "1" else "\n"
        print(f"{line_break}error: {printable(_brief(sentence))}", file=sys.stderr, flush=True)
    _say_json(2, printable(_brief(sentence)))
    sys.exit(2)


def _brief(sentence: str) -> str:
    """A sentence that a screen holds, whatever a user or a file put into it: first its longest words are shortened."""
    words = [word if len(word) <= _LONGEST_WORD else f"{word[:120]}...{word[-60:]}" for word in sentence.split()]
    return shorten(" ".join(words), _LONGEST_SENTENCE)


def printable(sentence: str) -> str:
    """One line without characters that steer a terminal: names of files and classes may hold any."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(sentence.split()))


class Commands(TyperGroup):
    """A group of commands whose --help says of each what it does in a whole sentence."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its options; of the two for completion, --help lists one. See click."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[assignment]
        for param in params:
            if param.name in ("show_completion", "install_completion", "help"):
                param.default = False  # where it is None, typer imports pydantic to read it
            if param.name == "show_completion":
                param.hidden = True
            elif param.name == "install_completion":
                param.help = "Let the tab key complete commands, options and names in this shell."
        return params

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands; see click."""
        shown = [(name, self.commands[name]) for name in self.list_commands(ctx) if not self.commands[name].hidden]
        with formatter.section("Commands"):
            formatter.write_dl([(name, (command.help or "").partition("\n\n")[0]) for name, command in shown])
        with formatter.section("Every command also takes"):
            formatter.write_dl([*_FLAGS.items(), ("--version", "Print the version and stop.")])


def show_version(program: str) -> Callable[[bool], None]:
    """A --version callback."""

    def show(wanted: bool) -> None:
        if wanted:
            from marsgen import __version__

            say(f"{program} {__version__}")
            raise typer.Exit

    return show
