"""What a refused command has to look like."""

from test_flow import call


def refused(capsys, *words: str) -> str:
    """Run a command that has to fail; return its one line."""
    code = call(*words)
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 2, err
    assert len(lines) == 1, err
    assert "Traceback" not in err
    return lines[0]
