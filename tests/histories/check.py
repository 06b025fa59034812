"""What must hold of every history, whatever was killed, paused or cut. Each check returns sentences, one a violation; they need
nothing but the recorded calls and the state that was read at the end.

The state: `log` (model → ids of the rows in its observation log, in order), `rows` (dataset → ids), `jobs`, `versions`
(model → list), `streams` (server → model → GET …/stream), `predictions` (server → model → answers), both also for servers that were
started anew and have replayed the log.
"""

from collections import Counter

# A revoked key is refused everywhere within this time; a list of keys is used for 5 s without a notification.
REVOKED_WITHIN = 6.0


def acknowledged_is_logged(calls, state):
    bad = []
    for call in calls:
        if call["op"] == "observe" and call["outcome"] == "ok":
            missing = set(call["ids"]) - state["counted"][call["model"]].keys()
            if missing:
                bad.append(f"rows {sorted(missing)} of {call['model']} were acknowledged at {call['ended']} s and are not in the log")
        if call["op"] == "append" and call["outcome"] == "ok":
            missing = set(call["ids"]) - set(state["rows"][call["dataset"]])
            if missing:
                bad.append(f"rows {sorted(missing)} were appended to {call['dataset']} at {call['ended']} s and are not there")
    return bad


def one_effect_a_key(calls, state):
    bad = []
    for model, counted in state["counted"].items():
        twice = {i: n for i, n in counted.items() if n > 1}
        if twice:
            bad.append(f"rows of {model} were learned more than once: {twice}")
    for dataset, ids in state["rows"].items():
        twice = {i: n for i, n in Counter(ids).items() if n > 1}
        if twice:
            bad.append(f"rows of {dataset} were appended more than once: {twice}")
    jobs = {}
    for call in calls:
        if call["op"] == "train" and call["outcome"] == "ok":
            jobs.setdefault(call["key"], set()).add(call["answer"]["id"])
    bad += [f"the key {key} made the jobs {sorted(made)}" for key, made in jobs.items() if len(made) > 1]
    made = {job for ids in jobs.values() for job in ids}
    keys = {call["key"] for call in calls if call["op"] == "train"}
    if len(state["jobs"]) > len(keys):
        bad.append(f"{len(state['jobs'])} jobs exist, for {len(keys)} keys: {sorted(set(state['jobs']) - made)} have no call")
    return bad


def calls_land_whole(calls, state):
    bad = []
    for call in calls:
        if call["op"] in ("observe", "append"):
            there = state["counted"][call["model"]].keys() if call["op"] == "observe" else set(state["rows"][call["dataset"]])
            landed = set(call["ids"]) & set(there)
            if landed and len(landed) < len(call["ids"]):
                bad.append(f"a part of a call landed: {sorted(landed)} of {call['ids']}")
    return bad


def replays_equal(calls, state):
    bad = []
    for kind in ("streams", "predictions"):
        servers = list(state[kind])
        for other in servers[1:]:
            for model, expected in state[kind][servers[0]].items():
                if state[kind][other][model] != expected:
                    bad.append(f"{kind} of {model} differ between {servers[0]} and {other}")
    for server, streams in state["streams"].items():
        for model, stream in streams.items():
            if stream["observed"] != len(state["log"][model]):
                bad.append(f"{model} has learned {stream['observed']} rows on {server}, and its log has {len(state['log'][model])}")
    return bad


def jobs_succeed_once(calls, state):
    bad = []
    versions = Counter(v["job_id"] for items in state["versions"].values() for v in items)
    bad += [f"the job {job} made {n} versions" for job, n in versions.items() if n > 1]
    canceled = {call["job"] for call in calls if call["op"] == "cancel" and call["outcome"] == "ok"
                and call["answer"]["status"] == "canceled"}
    for id, job in state["jobs"].items():
        if job["status"] not in ("succeeded", "canceled"):
            bad.append(f"the job {id} ended as {job['status']}: {job['error']}")
        if (job["status"] == "succeeded") != (versions[id] == 1):
            bad.append(f"the job {id} is {job['status']} and has {versions[id]} versions")
        if id in canceled and job["status"] != "canceled":
            bad.append(f"the job {id} was canceled and is {job['status']}")
    for call in calls:
        if call["op"] == "train" and call["outcome"] == "ok" and call["answer"]["id"] not in state["jobs"]:
            bad.append(f"the job {call['answer']['id']} was acknowledged and is lost")
    return bad


def reads_see_writes(calls, state):
    """A read that begins after a write was acknowledged by the same server has it, also after that server was killed."""
    bad, written = [], {}
    for call in sorted(calls, key=lambda call: call["ended"]):
        if call["op"] == "observe" and call["outcome"] == "ok":
            written.setdefault((call["server"], call["model"]), []).append((call["ended"], len(call["ids"])))
        if call["op"] == "read_stream" and call["outcome"] == "ok":
            before = sum(n for at, n in written.get((call["server"], call["model"]), []) if at <= call["begun"])
            if call["answer"]["observed"] < before:
                bad.append(f"{call['server']} acknowledged {before} rows of {call['model']} and at {call['begun']} s knew {call['answer']['observed']}")
        if call["op"] == "predict" and call["outcome"] == "ok" and call["answer"]["version"] != call["promoted"]:
            bad.append(f"{call['model']} answered with version {call['answer']['version']} after version {call['promoted']} was promoted")
    return bad


def revoked_keys_end(calls, state):
    late = [c for c in calls if c["op"] == "use_key" and c["outcome"] == "ok" and c["begun"] > c["revoked_at"] + REVOKED_WITHIN]
    left = set(state["keys"]) & {c["id"] for c in calls if c["op"] == "delete_key" and c["outcome"] == "ok"}
    return [f"the key {c['id']} worked at {c['begun']} s, revoked at {c['revoked_at']} s" for c in late] + [
        f"the key {key} was revoked and is there" for key in left]


def nothing_fails_undocumented(calls, state):
    """An outage is 503, 504 or a cut connection; a call in progress with the same key is 409. 500 is a fault."""
    return [f"{c['op']} on {c['server']} at {c['begun']} s: {c['status']} {c['answer']}" for c in calls if c.get("status") == 500]


CHECKS = [acknowledged_is_logged, one_effect_a_key, calls_land_whole, replays_equal, jobs_succeed_once, reads_see_writes,
          revoked_keys_end, nothing_fails_undocumented]


def violations(calls, state):
    state["counted"] = {model: Counter(ids) for model, ids in state["log"].items()}
    return [f"{check.__name__}: {sentence}" for check in CHECKS for sentence in check(calls, state)]
