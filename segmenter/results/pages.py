"""Pages: the templates of report and study, filled in one way."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template


def open_template(name: str) -> Template:
    """A file of templates/. What it is given is escaped unless it is Markup; a name that it is not given is an error.

    Args:
        name: such as report.html.j2.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
