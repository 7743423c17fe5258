"""Typed configs: yaml holds values, pydantic models check them, `--set key=value` overrides them.

The model of a command stands beside the command; `SETTINGS` in each package's cli.py lists them all, and the command
`settings` prints every key with its meaning and default.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from marsgen.core.errors import ConfigError, nearest
from marsgen.core.storage.numbers import is_numpy
from marsgen.core.storage.places import configs_folder
from marsgen.core.storage.reading import parse_yaml, read_yaml, shorten


class Config(BaseModel):
    """Base of all configs: frozen, no unknown keys, no NaN, the text under a field is its help.

    That text is read where settings are listed (core/settings.py): pydantic would read it at every start of a command.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    listed_by: ClassVar[str] = ""
    """what lists all keys, such as "`segmenter settings train`"; "" = nothing does"""


ConfigT = TypeVar("ConfigT", bound=Config)

_MOST_SAID = 5
_FEW_KEYS = 12
"""so many are named one by one"""

MOST_SIDE_PX = 16_384
Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""what numpy and torch both take"""
BatchSize = Annotated[int, Field(ge=1, le=65_536)]
Side = Annotated[int, Field(ge=1, le=MOST_SIDE_PX)]
"""height or width in pixels of what is held in memory"""
MOST_STEPS = 10**9
Steps = Annotated[int, Field(ge=1, le=MOST_STEPS)]


def load_config(model: type[ConfigT], path: Path | None = None, overrides: Sequence[str] = ()) -> ConfigT:
    """Defaults of `model`, then the yaml file, then `key=value` overrides (dotted keys), checked.

    Raises:
        ConfigError: unreadable file, unknown key (the nearest real one is offered), value of the wrong type or range.
    """
    content = {} if path is None else _read_settings(path)
    for override in overrides:
        content = _merge(content, _parse_override(override))
    return build_config(model, content, f"--config {path}" if path is not None and not overrides else "config")


def make_config(
    model: type[ConfigT], base: ConfigT | str | Path | None = None, settings: Mapping[str, Any] | None = None
) -> ConfigT:
    """`load_config` for settings that are Python values.

    Args:
        base: a config, or the yaml file of one; None = the defaults.
        settings: what differs from it; keys are dotted ("draw.strength"), or name a block ({"draw": {"strength": 1}}).
    Raises:
        ConfigError: see `load_config`; or a key is no text.
    """
    if isinstance(base, model) and not settings:
        return base
    content: dict[str, Any] = {}
    if isinstance(base, (str, Path)):
        content = _read_settings(Path(base))
    elif base is not None:
        content = base.model_dump()
    for key, value in (settings or {}).items():
        content = _merge(content, _nest(key, value))
    return build_config(model, content, "settings")


def _nest(key: Any, value: Any) -> dict[str, Any]:
    """("a.b", 1) -> {"a": {"b": 1}}, in the value too; numbers of numpy become Python's."""
    if not isinstance(key, str):
        raise ConfigError(
            f"settings: the key {shorten(repr(key), 80)} is no text; keys are words such as 'steps' or 'draw.strength'"
        )
    if isinstance(value, Mapping):
        block: dict[str, Any] = {}
        for inner, content in value.items():
            block = _merge(block, _nest(inner, content))
        value = block
    elif is_numpy(value, "generic"):
        value = value.item()
    first, _, rest = key.partition(".")
    return {first: _nest(rest, value) if rest else value}


def _read_settings(path: Path) -> dict[str, Any]:
    """The content of a file of --config."""
    if not path.exists():
        known = sorted(p.stem for p in configs_folder().glob("*.yaml") if not p.stem.startswith("classes"))
        raise ConfigError(
            f"--config {path}: no such file; shipped ones are {', '.join(known)} in {configs_folder().name}/"
        )
    if path.is_dir():
        raise ConfigError(f"--config {path}: a folder; name the yaml file in it that holds settings")
    content = read_yaml(path, ConfigError)
    if not isinstance(content, dict):
        raise ConfigError(f"--config {path}: expected 'key: value' lines, found a list or nothing")
    return content


def _parse_override(override: str) -> dict[str, Any]:
    """a.b=1 -> {"a": {"b": 1}}; the value is yaml."""
    dotted, sign, text = override.partition("=")
    keys = dotted.split(".")
    if not sign or not all(keys):
        raise ConfigError(f"--set {shorten(override)}: expected key=value, for example --set steps=200")
    value = parse_yaml(text, f"--set {shorten(override)}", ConfigError)
    for key in reversed(keys):
        value = {key: value}
    return value


def _merge(base: dict[Any, Any], change: dict[Any, Any]) -> dict[Any, Any]:
    """`base` with what `change` says, mapping by mapping; anything else is replaced whole."""
    merged = dict(base)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def build_config(model: type[ConfigT], content: Any, where: str) -> ConfigT:
    """A config from plain values, checked.

    Args:
        where: what the values stand in, for the message.
    Raises:
        ConfigError: unknown key (the nearest real one is offered), value of the wrong type or range.
    """
    try:
        return model.model_validate(content)
    except ValidationError as problem:
        # the reason first: an unknown key may come with a long list of known ones
        said = [_sentence(model, error) for error in problem.errors()]
        more = f"; and {len(said) - _MOST_SAID} more" if len(said) > _MOST_SAID else ""
        if model.listed_by and any(text.startswith("unknown key") and "keys there" not in text for text in said):
            more += f"; all keys: {model.listed_by}"
        raise ConfigError(f"{where}: " + "; ".join(said[:_MOST_SAID]) + more) from None
    except RecursionError:
        raise ConfigError(f"{where}: nested too deeply") from None


def _sentence(model: type[Config], error: Any) -> str:
    keys = [str(k) for k in error["loc"]]
    dotted = shorten(".".join(keys), 80)
    if error["type"] == "extra_forbidden":
        return f"unknown key '{dotted}'{_where_known(model, keys[-1], _fields_at(model, keys[:-1]))}"
    found = error["input"]
    if error["type"] == "missing":
        return f"{dotted} is missing"
    if error["type"] == "value_error":
        words = error["msg"].removeprefix("Value error, ")
        return f"{dotted}: {words}" if isinstance(found, (dict, BaseModel)) and dotted else words
    shown = "a block of settings" if isinstance(found, dict) else shorten(repr(found))
    return f"{dotted or 'config'} is {shown}; expected {_expected(error)}"


def _where_known(model: type[Config], key: str, fields: Sequence[str]) -> str:
    """The nearest real key; where none is near and they are few, or nothing lists them, all of them."""
    hint = nearest(key[:80], fields)
    if not hint and (len(fields) <= _FEW_KEYS or not model.listed_by):
        return f"; the keys there are {', '.join(sorted(fields))}"
    return hint


_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "a text",
    "tuple": "a list in brackets, such as [64,128]",
    "list": "a list in brackets, such as [a,b]",
    "dict": "a block of settings, key by key",
    "model": "a block of settings, key by key",
    "none": "null",
}
"""begin of a pydantic error type -> what was expected there"""
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
    "too_short": ("min_length", "a list of at least"),
    "too_long": ("max_length", "a list of at most"),
}


def _expected(error: Any) -> str:
    """What a pydantic error wants, in our words."""
    kind, context = error["type"], error.get("ctx", {})
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"{words} {context[key]}"
    if kind == "literal_error":
        return f"one of {context['expected'].replace(' or ', ', ')}"
    return _EXPECTED.get(kind.partition("_")[0], error["msg"])


def _fields_at(model: type[BaseModel], keys: Sequence[str]) -> list[str]:
    for key in keys:
        annotation: Any = model.model_fields[key].annotation if key in model.model_fields else None
        # a block of its own, or one of the values of a mapping or a list, whose key is passed over
        for block in (annotation, *get_args(annotation)):
            if isinstance(block, type) and issubclass(block, BaseModel):
                model = block
    return list(model.model_fields)


class DataConfig(Config):
    """Which scenes of a data set are used, and for what; the `data` block of every training config."""

    val_fraction: float = Field(0.15, gt=0, lt=1)
    """share of the scenes that choose the checkpoint (with folds: of those outside the test part); always real, never
    trained on"""
    test_fraction: float = Field(0.0, ge=0, lt=1)
    """share kept aside for `segmenter evaluate` on this same data; 0 when the test set is a file of its own.
    Without effect where the data set itself says which scenes are for testing"""
    folds: int = Field(0, ge=0)
    """0 = test_fraction decides; otherwise the scenes are divided into this many folds and fold number `fold` is the
    test part, so that over all folds each scene is tested once"""
    fold: int = Field(0, ge=0)
    """which fold is the test part, counted from 0"""
    rare_scenes: int | None = Field(None, ge=1)
    """at most this many training scenes that show a rare class are used, the others are left out; null = all of them.
    Nested: 10 are among the 20. Validation and test part stay whole"""
    split_seed: Seed = 0
    """seed of the split and of the choice of rare_scenes; separate from `seed`, so that runs of several seeds share
    one split"""
    suspects: Literal["auto", "keep", "remove"] = "auto"
    """scenes whose label map occurs too often to be chance (see `marsgen inspect`): auto leaves them out where their
    pictures differ and they are at most a tenth of the scenes; keep trains on all, remove on none of them"""
    near_duplicate_similarity: float = Field(0.75, gt=0, le=1)
    """pictures whose fine detail correlates this much show the same ground: where the data set names no groups, they
    stay in one part of the split (compared more strictly, with a note, where one group would leave too few scenes
    for the other parts); 1 = only exact copies do"""

    @model_validator(mode="after")
    def _leaves_scenes_to_train_on(self) -> "DataConfig":
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError(
                f"val_fraction {self.val_fraction:g} and test_fraction {self.test_fraction:g} leave no scene to train "
                "on; their sum has to be below 1"
            )
        return self

    @model_validator(mode="after")
    def _names_a_fold_that_exists(self) -> "DataConfig":
        if self.folds == 1:
            raise ValueError("folds is 1, which leaves no scene to train on; give 2 or more, or 0 for no folds")
        if self.folds and self.test_fraction > 0:
            raise ValueError(
                f"folds {self.folds} and test_fraction {self.test_fraction:g} both choose the test part; set one of "
                "them to 0"
            )
        if self.fold >= max(self.folds, 1):
            there = f"fold has to be one of 0..{self.folds - 1}" if self.folds else "say how many there are with folds"
            raise ValueError(f"fold is {self.fold} and folds is {self.folds}; {there}")
        return self
