"""Run the notebooks and write them with their results, so that they can be read on GitHub: `make notebooks`.

The sources are the .py files (jupytext's percent format); the .ipynb beside them are made here and never edited.
"""

from pathlib import Path

import jupytext
from nbclient import NotebookClient

FOLDER = Path(__file__).parent


def main() -> None:
    for source in sorted(FOLDER.glob("*.py")):
        if source == Path(__file__):
            continue
        notebook = jupytext.read(source)
        NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": FOLDER}}).execute()
        for number, cell in enumerate(notebook.cells):
            cell.id = f"cell-{number}"  # else a new random one each time
            cell.metadata = {}  # times
            if cell.cell_type == "code":  # progress bars go to stderr
                cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        notebook.metadata = {key: notebook.metadata[key] for key in ("jupytext", "kernelspec")}
        jupytext.write(notebook, source.with_suffix(".ipynb"))
        print(f"wrote {source.with_suffix('.ipynb')}")


if __name__ == "__main__":
    main()
