"""The command `launch`: a table of verbs, of which only the one that is used is imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NamedTuple, NoReturn, Optional

import click

from launcher import __version__


class Verb(NamedTuple):
    """One line of the table; `module` holds a click command named `command`."""

    name: str
    module: str
    help: str
    aliases: tuple[str, ...] = ()


VERBS = (
    Verb("submit", "launcher.cli.submit", "Start a phase, or a chain of phases."),
    Verb("check", "launcher.cli.check", "Say what would stop a submit, and submit nothing."),
    Verb("status", "launcher.cli.status", "Show where jobs stand.", ("ps",)),
    Verb("tail", "launcher.cli.tail", "Show and follow the logs of a job.", ("logs",)),
    Verb("wait", "launcher.cli.wait", "Wait for the end of a job; exit with its verdict."),
    Verb("cancel", "launcher.cli.cancel", "Stop a job, or some of its tasks."),
    Verb("retry", "launcher.cli.retry", "Run tasks again, from their last checkpoint."),
    Verb("reconcile", "launcher.cli.reconcile", "Find what was lost, and end what nobody needs.", ("gc",)),
    Verb("profiles", "launcher.cli.profiles", "Show profiles, and where their values come from."),
    Verb("init", "launcher.cli.init", "Write a first phase and profile that run as they are."),
)
_BY_NAME = {name: verb for verb in VERBS for name in (verb.name, *verb.aliases)}
_EPILOG = """\b
Tab completion: eval "$(_LAUNCH_COMPLETE=bash_source launch)" in ~/.bashrc (zsh_source, fish_source).
Exit codes: 0 fine or succeeded, 1 error, 2 usage, 3 configuration, 4 a decision is needed,
100 failed, 101 not finished, 102 not found, 103 cancelled."""


class Verbs(click.Group):
    """Loads a verb's module when the verb is used, and suggests the nearest one for a word that is none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order of the table, without aliases."""
        return [verb.name for verb in VERBS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> Optional[click.Command]:
        """None for a word that is no verb."""
        verb = _BY_NAME.get(cmd_name)
        if verb is None:
            return None
        import importlib

        found = importlib.import_module(verb.module).command
        if not isinstance(found, click.Command):
            raise TypeError(f"{verb.module}.command is no click command")
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table's own words, so that `--help` imports no verb."""
        with formatter.section("Verbs"):
            formatter.write_dl([(", ".join((verb.name, *verb.aliases)), verb.help) for verb in VERBS])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[Optional[str], Optional[click.Command], list[str]]:
        """Raises UsageError that names the nearest verb."""
        if args and args[0] not in _BY_NAME and not args[0].startswith("-"):
            import difflib

            from launcher.errors import UsageError

            near = difflib.get_close_matches(args[0], _BY_NAME, n=1, cutoff=0.5)
            hint = f"did you mean `launch {near[0]}`?" if near else f"verbs: {', '.join(self.list_commands(ctx))}"
            raise UsageError(f"{args[0]!r} is no verb of launch", hint=hint)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[click.shell_completion.CompletionItem]:
        """Verbs with their one-line help; imports none of them."""
        from click.shell_completion import CompletionItem

        found = [CompletionItem(v.name, help=v.help) for v in VERBS if v.name.startswith(incomplete)]
        return found if found or not incomplete.startswith("-") else click.Command.shell_complete(self, ctx, incomplete)


launch = Verbs(
    "launch",
    help="Run the phases of an experiment, and lose neither progress nor money.",
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=lambda ctx, param, value: _say_version(ctx) if value else None,
            help="Show the version and exit.",
        )
    ],
)


def _say_version(ctx: click.Context) -> NoReturn:
    click.echo(f"launch {__version__}")
    ctx.exit(0)


def main(argv: Optional[Sequence[str]] = None) -> NoReturn:
    """Run one verb and exit with its code. Never ends in a traceback, unless LAUNCH_DEBUG asks for it."""
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if "_LAUNCH_COMPLETE" in os.environ:
        launch.main(arguments, prog_name="launch", complete_var="_LAUNCH_COMPLETE")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a log may hold what the terminal's encoding does not have
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - the one place where everything ends in words and an exit code
        from launcher.cli.errors import report

        code = report(error, arguments)
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    try:
        with launch.make_context("launch", arguments) as ctx:
            launch.invoke(ctx)
    except click.exceptions.Exit as end:
        return end.exit_code
    return 0


if __name__ == "__main__":
    main()
