"""The one place where errors end: with a sentence, the reason and the remedy; a bug is called a bug."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

from k8slab.cli.session import Session, look, session_of
from k8slab.errors import Interrupted, LabError, StepFailed

BROKEN_PIPE = 141

# Muscle memory of those who know the scripts this lab grew from: the target came first there.
VERBS_AFTER_TARGET = {"start": "start", "s": "start", "manual": "manual", "m": "manual", "kill": "kill"}


class Group(TyperGroup):
    """A group of commands whose errors end here."""

    def invoke(self, ctx: Any) -> Any:
        if ctx.obj is None:
            ctx.obj = Session()
        session = session_of(ctx)
        try:
            return super().invoke(ctx)
        except LabError as error:
            raise typer.Exit(tell(session, error)) from error
        except BrokenPipeError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(BROKEN_PIPE) from error
        except KeyboardInterrupt as error:
            if session.changing:
                raise typer.Exit(tell(session, Interrupted(session.changing))) from error
            raise typer.Exit(Interrupted.exit_code) from error
        except (typer.Exit, typer.Abort, typer.TyperException):
            raise
        except Exception as error:
            raise typer.Exit(tell(session, bug(error))) from error

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if len(args) > 1 and args[0] not in self.commands and (verb := VERBS_AFTER_TARGET.get(args[1])):
            args = [verb, args[0], *args[2:]]
        return super().resolve_command(ctx, args)


class Part(TyperGroup):
    """A group within the group: its errors go on to the outer one."""


def tell(session: Session, error: LabError) -> int:
    """Say what went wrong where it is looked for; the exit code that goes with it."""
    if session.verbose:
        print("".join(traceback.format_exception(error.__cause__ or error)), file=sys.stderr, flush=True)
    if session.json:
        session.answer_json(error.as_json())
    else:
        from k8slab.view.errors import error as drawn

        session.say(drawn(error, look(session.err)))
    return error.exit_code


def bug(error: Exception) -> LabError:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return StepFailed(
        f"This is a bug in k8slab: {type(error).__name__}: {error}",
        why=f"It was met in {frame.name}, {frame.filename}:{frame.lineno}.",
        remedy="`k8slab -v` before the same command shows its path; `k8slab export` collects the rest for a report.",
    )
