"""The command line: sub-commands and exit codes. Imports torch only if a command needs it.

Exit codes: 0 if done, 1 if the run failed, 2 if the input is wrong, 130 if interrupted. Results go to stdout.
Progress, logs and error messages of one line go to stderr.
"""

import io
import logging
import os
import sys
import traceback

from nasmeta.cli.arguments import parsed
from nasmeta.cli.commands import HANDLERS
from nasmeta.errors import NasmetaError, StorageError
from nasmeta.runtime.import_path import leave_out_current_folder
from nasmeta.runtime.text import PrintableFormatter, message

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    leave_out_current_folder()
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an ASCII terminal has no ±, and file names may be anything
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    try:
        return _dispatch(arguments)
    except KeyboardInterrupt as interrupt:  # includes Interrupted
        _tell(str(interrupt) or "interrupted")
        return INTERRUPTED
    except NasmetaError as error:
        if debug:
            traceback.print_exc()
        _tell(str(error))
        return error.exit_code
    except BrokenPipeError:  # a reader such as `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more
        return 1
    except OSError as error:  # a full disk or a forbidden folder that nobody else has reported
        if debug:
            traceback.print_exc()
        _tell(f"{error.filename or 'a file'}: {error.strerror or error}")
        return StorageError.exit_code


def _dispatch(arguments: list[str]) -> int:
    """Runs the command that the arguments name. Raises BrokenPipeError if a reader of its output is gone."""
    try:
        code = _run(arguments)
    except SystemExit:  # argparse has printed its help
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return code


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["search"]:
        if {"--help", "-h"} & set(arguments):
            from nasmeta.cli.search_help import search_help

            print(search_help(arguments))
            return 0
        from nasmeta.cli.search import search

        return search(arguments[1:])
    if arguments[:1] == ["train"]:
        from nasmeta.cli.train import train

        return train(arguments[1:])
    options = parsed(arguments)
    return HANDLERS[options.command](options)


def _tell(text: str) -> None:
    """Prints one line on stderr about how a command ended; does nothing if its terminal was closed."""
    try:
        print(f"nasmeta: {message(text)}", file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # Python flushes it once more


if __name__ == "__main__":
    sys.exit(main())
