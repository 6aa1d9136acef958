"""The job verbs that act: cancel, replay, attach, and the gate. Declared here, done in `motionq.verbs.acting`."""

from __future__ import annotations

from typing import Annotated

import typer

from motionq.cli_parts import BASIC, CODES, Jobs, Json, call
from motionq.helping import Program

CANCEL_EPILOG = f"""Examples:
  motionq cancel 01jb2m4c6e8g0j2m4p6r8t0v2x
  motionq cancel JOB JOB --json | jq .state

A job that was not bought ends at once. Where a purchase is open the job is "cancelling" until kie.ai's verdict, \
since kie.ai can't be told to stop: what it charges for is kept, and `motionq replay JOB` delivers it.

{CODES}0 cancelled or cancelling, 1 refused: it has its result, or has failed, 3 not found, {BASIC}"""

REPLAY_EPILOG = f"""Examples:
  motionq replay 01jb2m4c6e8g0j2m4p6r8t0v2x
  motionq replay JOB --may-pay-twice

Takes failed or cancelled jobs up again, under the same ID. A video that is paid is delivered, not bought again; a \
task that is known is waited for. Where nobody knows whether a purchase was charged the job is refused: look for its \
task at https://kie.ai/logs and name it with `motionq attach JOB TASK_ID`; or give --may-pay-twice, and it is bought \
again.

{CODES}0 taken up again, 1 refused, 3 not found, {BASIC}"""

ATTACH_EPILOG = f"""Examples:
  motionq attach 01jb2m4c6e8g0j2m4p6r8t0v2x 4d6f0d2b0c1e4a3f8b7a6c5d4e3f2a1b
  motionq attach JOB TASK_ID --unchecked

For a job whose purchase has no task ID (submit_unknown, or failed as such): find the task at https://kie.ai/logs. A \
worker reads it, and it is taken only if it is this job's. --unchecked takes your word for it: the job will deliver \
whatever that task makes.

{CODES}0 attached, 1 refused: another request's task, or no worker found it, 3 not found, {BASIC}"""

GATE_EPILOG = f"""Examples:
  motionq gate status
  motionq gate pause "moving the server"
  motionq gate resume

The gate lets jobs through to be bought. While it is closed jobs wait and burn nothing; what is bought goes on. One \
that is closed as `restored` (the server lost purchases that it had known) is opened by `resume --restored` alone.

{CODES}0 done, 1 refused: closed as `restored`, {BASIC}"""

app = Program()
gate_app = Program(
    help="See, close and open the gate that lets jobs through to be bought.",
    no_args_is_help=True,
    epilog=GATE_EPILOG,
)


# -- jobs -------------------------------------------------------------------------------------------------------------
@app.command(epilog=CANCEL_EPILOG)
def cancel(jobs: Jobs, as_json: Json = False) -> int:
    """End jobs; what is paid by then is kept."""
    return call("acting.cancel", jobs=jobs, as_json=as_json)


@app.command(epilog=REPLAY_EPILOG)
def replay(
    jobs: Jobs,
    may_pay_twice: Annotated[
        bool, typer.Option("--may-pay-twice", help="Buy again also where the first purchase may have been charged.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Take failed or cancelled jobs up again."""
    return call("acting.replay", jobs=jobs, may_pay_twice=may_pay_twice, as_json=as_json)


@app.command(epilog=ATTACH_EPILOG)
def attach(
    job: Annotated[str, typer.Argument(metavar="JOB", help="The job's ID.")],
    task: Annotated[str, typer.Argument(metavar="TASK_ID", help="kie.ai's name for its generation.")],
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Take it without asking kie.ai whether it is this job's.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Name the task of a job whose purchase has lost it."""
    return call("acting.attach", job=job, task=task, unchecked=unchecked, as_json=as_json)


# -- the gate ---------------------------------------------------------------------------------------------------------
app.add_typer(gate_app, name="gate")


@gate_app.command(epilog=GATE_EPILOG)
def status(as_json: Json = False) -> int:
    """Whether jobs are bought now, and why not."""
    return call("acting.gate_status", as_json=as_json)


@gate_app.command(epilog=GATE_EPILOG)
def pause(
    message: Annotated[
        str, typer.Argument(metavar="MESSAGE", help="Why, for those who look.", show_default=False)
    ] = "",
    as_json: Json = False,
) -> int:
    """Buy nothing until the gate is resumed; what is bought goes on."""
    return call("acting.gate_pause", message=message, as_json=as_json)


@gate_app.command(epilog=GATE_EPILOG)
def resume(
    restored: Annotated[
        bool, typer.Option("--restored", help="Also one closed as `restored`: every missing purchase was looked for.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Open the gate, whatever closed it."""
    return call("acting.gate_resume", restored=restored, as_json=as_json)
