"""``runnel-trio completion``: what a shell needs to complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from runnel_trio._cli._errors import print_out

__all__ = ["completion"]

#: The variable by which the shell's script asks us; click derives it from the program's name.
VARIABLE = "_RUNNEL_TRIO_COMPLETE"


HELP = """Print a script that completes commands and options.

Where to put it, once for all:

\b
  bash  echo 'eval "$(runnel-trio completion bash)"' >> ~/.bashrc
  zsh   echo 'eval "$(runnel-trio completion zsh)"' >> ~/.zshrc
        (below the line with compinit)
  fish  runnel-trio completion fish \\
            > ~/.config/fish/completions/runnel-trio.fish

It holds for shells that are started from then on.
"""


@click.command(help=HELP)
@click.argument("shell", metavar="bash|zsh|fish", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """See `HELP`."""
    script = get_completion_class(shell)
    if script is None:  # click has all three shells, in every version that we support
        raise click.UsageError(f"this click has no completion for {shell}")
    print_out(script(click.Group(), {}, "runnel-trio", VARIABLE).source())
