"""Background jobs of the identity service: `sim.engine.jobs`, one record and one request per replica."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from sim.engine.compiled import layout as w
from sim.engine.compiled.cleanup import exists, find_page
from sim.engine.compiled.database import release_transaction
from sim.engine.compiled.jit import Floats, Ints, entry, kernel
from sim.engine.compiled.network import resume_later
from sim.engine.compiled.requests import put_in, runs, set_off
from sim.protocols import expiry

_NOTHING = expiry.NOTHING


@entry
def begin(i64: Ints, f64: Floats, call: int) -> None:
    """A replica's scheduler begins; the jobs' due times are set."""
    i64[i64[call + w.C_WHO] + w.BG_RUNS] = 1
    set_off(i64, f64, call, w.PC_JOB_BEGIN)


@kernel
def sleep(i64: Ints, f64: Floats, call: int) -> bool:
    """Wait for the job that is due first."""
    state = i64[call + w.C_WHO]
    due = i64[state + w.BG_DUE]
    first = 0
    for job in range(1, i64[w.JOB_COUNT]):
        if f64[due + job] < f64[due + first]:
            first = job
    i64[state + w.BG_JOB] = first
    i64[call + w.C_STATUS] = 0
    return resume_later(i64, f64, call, max(0.0, f64[due + first] - f64[w.NOW]), w.PC_JOB_DUE)


@kernel
def do(i64: Ints, f64: Floats, call: int, kind: int, cleans: int, deletes: int) -> bool:
    """Carry out the steps at place ``kind`` of the step tables."""
    i64[call + w.C_KIND] = kind
    i64[call + w.C_CLEANS] = cleans
    i64[call + w.C_DELETES] = deletes
    i64[call + w.C_STATUS] = 0
    i64[call + w.C_CONFLICT] = 0
    i64[call + w.C_ROW] = 0
    i64[call + w.C_PART] = 0
    i64[call + w.C_PC] = w.PC_STEP
    return True


@kernel
def do_row(i64: Ints, f64: Floats, call: int) -> bool:
    """Delete the row of the page that is next."""
    state = i64[call + w.C_WHO]
    part = i64[w.PARTS] + i64[state + w.BG_PART] * w.PART_WORDS
    which, number = i64[part + w.PART_ROWS], i64[i64[state + w.BG_FOUND] + i64[state + w.BG_PLACE]]
    there = exists(i64, f64, i64[call + w.C_MEMBER], which, number)
    return do(i64, f64, call, i64[part + (w.PART_REMOVE if there else w.PART_GONE)], which, number)


@kernel
def next_part(i64: Ints, f64: Floats, state: int, part: int) -> None:
    """Go on with ``part``."""
    i64[state + w.BG_PART] = part
    i64[state + w.BG_PAGES] = 0
    f64[state + w.BG_BEGAN] = f64[w.NOW]


@kernel
def go_on_with_parts(i64: Ints, f64: Floats, call: int) -> bool:
    """Statements or a page of the part that the job is at, or the end of the run."""
    state = i64[call + w.C_WHO]
    job = i64[w.JOBS] + i64[state + w.BG_JOB] * w.JOB_WORDS
    while i64[state + w.BG_PART] < i64[job + w.JOB_WORDS + w.JOB_PART]:
        part = i64[w.PARTS] + i64[state + w.BG_PART] * w.PART_WORDS
        which = i64[part + w.PART_ROWS]
        if which == _NOTHING:
            i64[state + w.BG_PLACE] = w.AT_STATEMENTS
            return do(i64, f64, call, i64[part + w.PART_GONE], _NOTHING, 0)
        if (
            i64[state + w.BG_PAGES] < i64[job + w.JOB_PAGES]
            and f64[w.NOW] - f64[state + w.BG_BEGAN] < f64[job + w.JOB_BUDGET]
        ):
            member, found = i64[call + w.C_MEMBER], i64[state + w.BG_FOUND]
            count = find_page(i64, f64, member, which, i64[job + w.JOB_PAGE], found)
            trips = 1 + i64[part + w.PART_LOAD] * count
            row = i64[state + w.BG_STEP]
            i64[row + 1] = trips
            f64[row + 2] = f64[w.SELECT_APP] * trips
            f64[row + 3] = f64[w.SELECT_DB] * trips
            i64[row + 8] = trips
            i64[state + w.BG_COUNT] = count
            i64[state + w.BG_PLACE] = w.AT_PAGE
            return do(i64, f64, call, i64[state + w.BG_KIND], _NOTHING, 0)
        next_part(i64, f64, state, i64[state + w.BG_PART] + 1)
    return run_is_over(i64, f64, call)


@kernel
def run_is_over(i64: Ints, f64: Floats, call: int) -> bool:
    """The job is due again after its period."""
    state = i64[call + w.C_WHO]
    number = i64[state + w.BG_JOB]
    period = f64[i64[w.JOBS] + number * w.JOB_WORDS + w.JOB_PERIOD]
    f64[i64[state + w.BG_DUE] + number] = f64[w.NOW] + period
    return sleep(i64, f64, call)


@kernel
def background(i64: Ints, f64: Floats, call: int, pc: int) -> bool:
    """One replica's scheduler; whether it can go on at once."""
    state, replica = i64[call + w.C_WHO], i64[call + w.C_REPLICA]
    if pc == w.PC_JOB_BEGIN:
        put_in(i64, f64, call, w.C_RI_NEXT, replica + w.A_INSIDE_HEAD)
        return sleep(i64, f64, call)
    if pc == w.PC_JOB_DUE:
        if not runs(i64, f64, call, replica):
            return False
        job = i64[w.JOBS] + i64[state + w.BG_JOB] * w.JOB_WORDS
        next_part(i64, f64, state, i64[job + w.JOB_PART])
        return go_on_with_parts(i64, f64, call)
    # PC_JOB_DONE
    release_transaction(i64, f64, i64[call + w.C_TX])
    i64[call + w.C_TX] = 0
    status, place = i64[call + w.C_STATUS], i64[state + w.BG_PLACE]
    if status == 0:  # the process is dead
        i64[state + w.BG_RUNS] = 0
        i64[call + w.C_PC] = w.PC_OVER
        return False
    if place >= 0:  # whatever became of the row
        i64[state + w.BG_PLACE] = place + 1
        if place + 1 < i64[state + w.BG_COUNT]:
            return do_row(i64, f64, call)
        i64[state + w.BG_PAGES] += 1
    elif status != 200:
        return run_is_over(i64, f64, call)
    elif place == w.AT_PAGE and i64[state + w.BG_COUNT]:
        i64[state + w.BG_PLACE] = 0
        return do_row(i64, f64, call)
    else:
        next_part(i64, f64, state, i64[state + w.BG_PART] + 1)
    return go_on_with_parts(i64, f64, call)
