"""The command layer: a command declares its options and its work; spelling, help, exit status and errors are here."""

import sys
from argparse import Action, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter, Namespace, set_parsing_settings

from jobs.cli.interruption import INTERRUPTED, interruptible, say_how_to_continue
from ops.errors import GanfitError

OK, BAD_INPUT = 0, 1
"""Exit status: everything is accounted for; bad input or configuration. See also `INTERRUPTED`."""
PRESET_HELP = (
    "default; paper: the published method to the letter, several times slower; faceworld: for synthetic people only"
)
MODEL_DIR_HELP = "folder or URI of the model files; default: $GANFIT_MODELS, else the user's cache"
MIRROR_HELP = "a folder, bucket or web address with the model files; default: $GANFIT_MIRROR, else none"
NUM_GPUS_HELP = "GPUs to use; default: all there are; 0 computes on the CPU"
ADDRESS_HELP = "Ray cluster to join; default: $RAY_ADDRESS, else this machine alone"


set_parsing_settings(docstring_parse_attribute_docstrings=True)  # fields of settings explain options


class _HelpFormatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """Keeps the paragraphs of a description, spells options with dashes and adds defaults, but no types."""

    def _format_action_invocation(self, action: Action) -> str:
        shown = super()._format_action_invocation(action)
        for option in action.option_strings:
            shown = shown.replace(option, _dashed(option))
        return shown

    def _get_help_string(self, action: Action) -> str:
        text = action.help or ""
        if action.required:
            return f"{text} (required)"
        without = action.default in (None, False, "==SUPPRESS==", []) or "default" in text
        return text if without or not action.option_strings or action.nargs == 0 else f"{text} (default: %(default)s)"


class CommandParser(ArgumentParser):
    """Options may be typed with dashes or underscores, those of nested settings such as --fit.early-stop-window too."""

    def option_names(self) -> list[str]:
        """Every option as help shows it."""
        return sorted({_dashed(name) for action in self._actions for name in action.option_strings})

    def parse_args(self, args: Sequence[str] | None = None, *rest: Any, **named: Any) -> Namespace:
        """Parse the arguments of a command line; its own spelling is found for every option."""
        known = {_dashed(name): name for action in self._actions for name in action.option_strings}
        given = sys.argv[1:] if args is None else list(args)
        return super().parse_args([_respelled(argument, known) for argument in given], *rest, **named)


@dataclass(frozen=True)
class Command:
    """A command line: `command(arguments)` runs it and returns the exit status."""

    name: str
    """As typed after `ganfit`, for instance make-synthetic."""
    description: str | None
    """The words that help begins with."""
    declare: Callable[[CommandParser], None]
    """Adds the options to a parser."""
    run: Callable[[Namespace], int | None]
    """Does the work; the exit status, None for `OK`."""
    notes: str | None = None
    """The words that help ends with."""
    usage: str | None = None
    """The arguments in one line; default: made from the options."""
    parse: Callable[["Command", Sequence[str] | None], Namespace] | None = None
    """Parses in another way, where which options there are depends on the arguments."""

    def parser(self) -> CommandParser:
        """A parser of the command's options."""
        parser = CommandParser(
            prog=_program(self.name),
            usage=self.usage and f"%(prog)s {self.usage}",
            description=self.description,
            epilog=self.notes,
            formatter_class=_HelpFormatter,
            exit_on_error=False,
        )
        self.declare(parser)
        return parser

    def __call__(self, arguments: Sequence[str] | None = None) -> int:
        """Run the command line; returns the exit status."""
        try:
            with interruptible():
                options = self.parse(self, arguments) if self.parse else self.parser().parse_args(arguments)
                return self.run(options) or OK
        except ArgumentError as error:
            return refuse(f"{error}\nSee {_program(self.name)} --help")
        except (GanfitError, OSError) as error:
            return refuse(str(error))
        except KeyboardInterrupt:
            say_how_to_continue()
            return INTERRUPTED


def refuse(message: str) -> int:
    """Print an error; returns its exit status."""
    print(f"error: {message}", file=sys.stderr)
    return BAD_INPUT


def say(line: str) -> None:
    """A line of progress, at once."""
    print(line, flush=True)


def _program(name: str) -> str:
    """How the user started a command: as `ganfit NAME` or as `python -m jobs.NAME`."""
    module = f"jobs.{name.replace('-', '_')}"
    main = sys.modules["__main__"]
    started_as_module = getattr(getattr(main, "__spec__", None), "name", None) == module
    return f"python -m {module}" if started_as_module else f"ganfit {name}"


def _dashed(option: str) -> str:
    return option.replace("_", "-")


def _respelled(argument: str, known: dict[str, str]) -> str:
    """An option in the parser's own spelling; anything else as it is."""
    name, mark, value = argument.partition("=")
    return known.get(_dashed(name), name) + mark + value if name.startswith("--") else argument
