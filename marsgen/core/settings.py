"""Every setting of a command, with its meaning and its default, as a yaml file that `--config` takes."""

import ast
import importlib
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from itertools import pairwise

from marsgen.core.config import Config
from marsgen.core.errors import ConfigError, nearest

_WIDTH = 110


def find_settings(command: str, models: Mapping[str, str]) -> type[Config]:
    """The config model of a command.

    Args:
        models: command -> "module:class".
    Raises:
        ConfigError: no such command.
    """
    if command not in models:
        raise ConfigError(f"settings {command}: unknown{nearest(command, models)}; there are {', '.join(models)}")
    module, _, name = models[command].partition(":")
    return getattr(importlib.import_module(module), name)


def meanings_of(model: type[Config]) -> dict[str, str]:
    """Key -> the text under it in the source; keys without one are left out."""
    found = dict[str, str]()
    for part in reversed(model.__mro__):
        if not issubclass(part, Config):
            continue
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(part))).body
        assert isinstance(node, ast.ClassDef)
        for field, below in pairwise(node.body):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[key] = inspect.cleandoc(text)
    return {key: found[key] for key in model.model_fields if key in found}


def list_settings(model: type[Config]) -> str:
    """All settings of a model whose fields have defaults, as commented yaml; reading it back gives `model()`."""
    return "\n".join(_lines(model()))


def _lines(config: Config, indent: str = "") -> Iterator[str]:
    import yaml

    values, meanings = config.model_dump(mode="json"), meanings_of(type(config))
    for key in type(config).model_fields:
        if key in meanings:
            comment = " ".join(meanings[key].split())
            yield from textwrap.wrap(comment, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
        value = getattr(config, key)
        if isinstance(value, Config):
            yield f"{indent}{key}:"
            yield from _lines(value, indent + "  ")
        else:
            text = yaml.safe_dump(values[key], default_flow_style=True, allow_unicode=True, width=10_000)
            text = text.removesuffix("...\n").rstrip()  # yaml's end mark behind a plain value
            yield f"{indent}{key}: {text}"
