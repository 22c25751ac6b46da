"""A bare Typer program, to hold `run-kfp --help` against."""

import typer

app = typer.Typer()


@app.command()
def main(name: str) -> None:
    """Say hello."""
    print(f"Hello {name}")


app()
