"""The job verbs of the command line: submit, status, wait, list; those that act on jobs are in `cli_acting`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from motionq import batch, cli_acting, words
from motionq.cli_parts import BASIC, CODES, Jobs, Json, code, each, opened_queue, read, show
from motionq.client import MotionQueue
from motionq.contract.errors import InvalidJob, WaitTimeout
from motionq.contract.job import PRIORITIES, Job
from motionq.contract.models import MODELS
from motionq.contract.states import UNFINISHED, State
from motionq.live import follow
from motionq.output import Code, WrongUsage, note, report, run, say, say_json, worst
from motionq.precheck import check_lines
from motionq.request import Request
from motionq.tables import detail, ended_line, list_of, result_place, span

app = typer.Typer(
    help="Paid AI-video jobs that are never bought twice and never lost.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SUBMIT_EPILOG = f"""Examples:
  motionq submit --image hero.png --video dance.mp4 --key order-17
  motionq submit --image hero.png --video dance.mp4 --key order-18 --mode 1080p --wait
  motionq submit --batch jobs.jsonl      lines like {{"image": "hero.png", "video": "dance.mp4", "key": "order-19"}}
  make-jobs | motionq submit --batch - --json

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
  motionq list --task 4d6f0d2b0c1e --json

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
    model: Annotated[str | None, typer.Option(metavar="MODEL", help=f"{' or '.join(MODELS)}.")] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Idempotency key: running this again gives the same job, not a second one."),
    ] = None,
    tenant: Annotated[str | None, typer.Option(metavar="NAME", help="Whose job it is; tenants take turns.")] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="May be given several times.")] = None,
    priority: Annotated[str | None, typer.Option(metavar="|".join(PRIORITIES), help="Within the tenant.")] = None,
    deadline: Annotated[
        str | None, typer.Option(metavar="D", help="Not to be bought later than this: 45m, 2h, or an ISO time.")
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
    given = {name: value for name, value in given.items() if value is not None}
    if batch_file is None:
        requests = [_single(given)]
    elif given:
        option = next(iter(given)).replace("_", "-")
        raise WrongUsage(f"batch: --{option} does not go with --batch, each line says what it needs", field="batch")
    else:
        requests = _many(batch_file, as_json)
    if not requests:
        return Code.USAGE
    with opened_queue() as queue:
        jobs = queue.submit_many(requests)
        return _submitted(queue, jobs, wait_until_done=wait_, as_json=as_json)


def _single(given: dict[str, Any]) -> Request:
    for name in ("image", "video"):
        if not given.get(name):
            raise WrongUsage(f"{name}: give --{name} FILE or URL (many jobs at once: --batch FILE)", field=name)
    fields = dict(given)
    if "key" in fields:
        fields["idempotency_key"] = fields.pop("key")
    if "label" in fields:
        fields["labels"] = read("label", words.labels, fields.pop("label"))
    if "deadline" in fields:
        fields["deadline"] = read("deadline", words.moment, fields["deadline"])
    return Request.from_fields(fields)


def _many(name: str, as_json: bool) -> list[Request]:
    """The requests of a batch file; none, and every bad line reported, if one is bad."""
    found = batch.parse(_content(name), name=name, folder="." if name == "-" else Path(name).parent)
    bad = sorted([*found.bad, *check_lines(found.lines)], key=lambda line: line.number)
    for line in bad:
        said = InvalidJob(
            f"line {line.number}: {line.error}", field=line.error.field, limit=line.error.limit, value=line.error.value
        )
        report(said, as_json=as_json)
    if bad:
        note(f"nothing was enqueued: {len(bad)} of {len(found.lines) + len(found.bad)} lines are bad")
        return []
    if found.without_key:
        note(f"{found.without_key} of {len(found.lines)} lines have no key: running the batch again buys them again")
    return [line.request for line in found.lines]


def _content(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise InvalidJob(f"batch: can't read {name}: {error.strerror}", field="batch", value=name) from None


def _submitted(queue: MotionQueue, jobs: Sequence[Job], *, wait_until_done: bool, as_json: bool) -> int:
    ids = list(dict.fromkeys(job.id for job in jobs))
    if wait_until_done:
        note(f"enqueued {' '.join(ids)}")
        return worst(_wait_submitted(queue, ids, as_json))
    for job in jobs:
        show(job, as_json, job.id)
    note(f"to wait for it: motionq wait {ids[0]}" if len(ids) == 1 else "to wait for them: motionq wait --all")
    return Code.DONE


def _wait_submitted(queue: MotionQueue, ids: Sequence[str], as_json: bool) -> Iterator[Code]:
    for job in follow(queue, ids):
        if job.result is None:
            if as_json:
                show(job, as_json, "")
            else:
                note(ended_line(job))
        else:
            show(job, as_json, result_place(job.result))
        yield code(job)


# -- looking ----------------------------------------------------------------------------------------------------------
@app.command(epilog=STATUS_EPILOG)
def status(jobs: Jobs, as_json: Json = False) -> int:
    """Show jobs: state, files, result or failure, and the history."""
    codes: list[Code] = []
    with opened_queue() as queue:
        for at, job in enumerate(each(queue.get, jobs, codes, as_json)):
            purchases = [] if as_json else [p for r in queue.store.get_many([job.id]) for p in r.purchases]
            show(job, as_json, ("\n" if at else "") + detail(job, purchases))
    return worst(codes)


@app.command(epilog=WAIT_EPILOG)
def wait(
    jobs: Annotated[list[str] | None, typer.Argument(metavar="JOB", help="Job IDs.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every job that has not ended yet.")] = False,
    timeout: Annotated[str | None, typer.Option(metavar="D", help="How long to wait at most: 20s, 45m, 2h.")] = None,
    as_json: Json = False,
) -> int:
    """Wait until jobs have ended, and say how."""
    if bool(jobs) == all_:
        raise WrongUsage("name the jobs to wait for, or give --all (one of the two)", field="job")
    patience = read("timeout", words.duration, timeout).total_seconds() if timeout is not None else None
    codes: list[Code] = []
    with opened_queue() as queue:
        ids = _unfinished(queue) if all_ else [job.id for job in each(queue.get, jobs or (), codes, as_json)]
        waiting = dict.fromkeys(ids)
        for job in follow(queue, list(waiting), patience):
            waiting.pop(job.id)
            codes.append(code(job))
            show(job, as_json, ended_line(job))
    for job_id in waiting:
        codes.append(report(_NotDone(job_id, patience or 0.0), as_json=as_json))
    return worst(codes)


class _NotDone(WaitTimeout):
    """One of the jobs that were waited for; `limit` in seconds."""

    def __init__(self, job_id: str, limit: float) -> None:
        super().__init__(f"job {job_id} is not done after {span(limit)}; it goes on")
        self.field, self.value, self.limit = "job", job_id, limit


def _unfinished(queue: MotionQueue) -> list[str]:
    found = [job.id for job in queue.list(states=UNFINISHED, limit=None)]
    if not found:
        note("no job is unfinished")
    return found


@app.command("list", epilog=LIST_EPILOG)
def list_(
    state: Annotated[list[str] | None, typer.Option(metavar="STATE", help="May be given several times.")] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Jobs that have all of them.")] = None,
    tenant: Annotated[str | None, typer.Option(metavar="NAME", help="Jobs of this tenant.")] = None,
    task: Annotated[str | None, typer.Option(metavar="ID", help="The job of the vendor's task ID.")] = None,
    since: Annotated[str | None, typer.Option(metavar="D", help="Made since: 20s, 45m, 2h, or an ISO time.")] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="How many at most.")] = 50,
    as_json: Json = False,
) -> int:
    """List jobs, newest first."""
    wanted = [read("state", _state, text) for text in state or ()]
    pairs = read("label", words.labels, label or ())
    after = read("since", words.moment, since) if since is not None else None
    with opened_queue() as queue:
        found = queue.list(states=wanted, labels=pairs, tenant=tenant, task_id=task, since=after, limit=limit)
    if as_json:
        for job in found:
            say_json(job.to_json())
    elif found:
        say(list_of(found))
    if len(found) == limit:
        note(f"the newest {limit} are shown; --limit N shows more")
    if not found:
        note("no job matches")
    return Code.DONE


def _state(text: str) -> State:
    if text not in tuple(State):
        raise ValueError(f"{text!r} is not one of {', '.join(State)}")
    return State(text)


app.add_typer(cli_acting.app)
