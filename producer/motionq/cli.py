"""The job verbs of the command line: submit, status, wait, list; those that act on jobs are in `cli_acting`.

Here they are declared; what they do is in `motionq.verbs`, which is imported when a verb is called.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from motionq import cli_acting
from motionq.cli_parts import BASIC, CODES, Jobs, Json, call
from motionq.contract.models import MODELS
from motionq.contract.states import State
from motionq.helping import Program
from motionq.output import run

app = Program(
    help="Paid AI-video jobs that are never bought twice and never lost.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SUBMIT_EPILOG = f"""Examples:
  motionq submit --image hero.png --video dance.mp4 --key order-17
  motionq submit --image hero.png --video dance.mp4 --mode 1080p --wait
  motionq submit --batch jobs.jsonl
  make-jobs | motionq submit --batch - --json

A line of a batch: {{"image": "a.png", "video": "b.mp4", "key": "order-19"}}

Prints the job's ID; with --wait the video's place, when it is there.

{CODES}0 enqueued (with --wait: succeeded), 1 failed, cancelled or refused, {BASIC}"""

STATUS_EPILOG = f"""Examples:
  motionq status 01jb2m4c6e8g0j2m4p6r8t0v2x
  motionq status JOB --json | jq .state

{CODES}0 found, whatever the state, 3 not found, {BASIC}"""

WAIT_EPILOG = f"""Examples:
  motionq wait 01jb2m4c6e8g0j2m4p6r8t0v2x
  motionq wait --all --timeout 45m

A time-out or Ctrl+C ends the waiting only; the jobs go on.

{CODES}0 all succeeded, 1 one failed or was cancelled, 3 not found, 4 time-out, {BASIC}"""

LIST_EPILOG = f"""Examples:
  motionq list --state running --state submit_unknown
  motionq list --label order=17 --since 2h
  motionq list --task 4d6f0d2b0c1e4a3f8b7a6c5d4e3f2a1b --json

AGE: since the job was submitted. TOOK: from then to its end. LEFT: how long it will probably take still.

States: {", ".join(State)}.

{CODES}0 done, also when nothing matches, {BASIC}"""


def main() -> None:
    """The job verbs alone; the command `motionq` has more."""
    sys.exit(run(app))


# -- submit -----------------------------------------------------------------------------------------------------------
@app.command(epilog=SUBMIT_EPILOG)
def submit(
    image: Annotated[str | None, typer.Option(metavar="FILE|URL", help="The character: a file or an address.")] = None,
    video: Annotated[str | None, typer.Option(metavar="FILE|URL", help="The motion: a file or an address.")] = None,
    prompt: Annotated[str | None, typer.Option(metavar="TEXT", help="What else should be seen.")] = None,
    mode: Annotated[str | None, typer.Option(metavar="720p|1080p", help="Size of the video. Default: 720p.")] = None,
    orientation: Annotated[
        str | None,
        typer.Option(
            metavar="image|video",
            help="Whose direction the character faces; with image the driving video is at most 10 s. Default: video.",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help=f"{' or '.join(MODELS)}. Default: {next(iter(MODELS))}.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Idempotency key: running this again gives the same job, not a second one."),
    ] = None,
    tenant: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose job it is; tenants take turns. Default: default.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="To find it by; may be given several times.")
    ] = None,
    priority: Annotated[
        str | None, typer.Option(metavar="low|normal|high", help="Among the tenant's own jobs. Default: normal.")
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="Not to be bought later than this: 45m, 2h (from now), or an ISO time."),
    ] = None,
    pass_url: Annotated[bool, typer.Option("--pass-url", help="Give the addresses to the vendor unchecked.")] = False,
    batch_file: Annotated[
        str | None, typer.Option("--batch", metavar="FILE|-", help="Many jobs from jsonl or csv: all or none.")
    ] = None,
    wait_: Annotated[bool, typer.Option("--wait", help="Wait until the video is there.")] = False,
    as_json: Json = False,
) -> int:
    """Enqueue a job: the character of an image performs the motion of a video."""
    given: dict[str, Any] = {
        "image": image,
        "video": video,
        "prompt": prompt,
        "mode": mode,
        "orientation": orientation,
        "model": model,
        "key": key,
        "tenant": tenant,
        "label": label or None,
        "priority": priority,
        "deadline": deadline,
        "pass_url": pass_url or None,
    }
    return call("submitting.submit", given=given, batch_file=batch_file, wait_until_done=wait_, as_json=as_json)


# -- looking ----------------------------------------------------------------------------------------------------------
@app.command(epilog=STATUS_EPILOG)
def status(jobs: Jobs, as_json: Json = False) -> int:
    """Show jobs: state, files, result or failure, and the history."""
    return call("looking.status", jobs=jobs, as_json=as_json)


@app.command(epilog=WAIT_EPILOG)
def wait(
    jobs: Annotated[list[str] | None, typer.Argument(metavar="JOB", help="Job IDs.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every job that has not ended yet.")] = False,
    timeout: Annotated[
        str | None, typer.Option(metavar="DURATION", help="How long to wait at most: 20s, 45m, 2h.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Wait until jobs have ended, and say how."""
    return call("waiting.wait", jobs=jobs or (), everything=all_, timeout=timeout, as_json=as_json)


@app.command("list", epilog=LIST_EPILOG)
def list_(
    state: Annotated[list[str] | None, typer.Option(metavar="STATE", help="May be given several times.")] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Jobs that have all of them.")] = None,
    tenant: Annotated[str | None, typer.Option(metavar="NAME", help="Jobs of this tenant.")] = None,
    task: Annotated[str | None, typer.Option(metavar="ID", help="The job of the vendor's task ID.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Submitted since: 20s, 45m, 2h (ago), or an ISO time.")
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="How many at most.")] = 50,
    as_json: Json = False,
) -> int:
    """List jobs, newest first."""
    return call(
        "looking.list_jobs",
        state=state or (),
        label=label or (),
        tenant=tenant,
        task=task,
        since=since,
        limit=limit,
        as_json=as_json,
    )


app.add_typer(cli_acting.app)
