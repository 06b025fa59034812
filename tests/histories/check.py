"""What must hold of every history, whatever was killed, paused or cut. Each check returns sentences, one a violation; they need
nothing but the recorded calls and the state that was read at the end.

The state: `log` (model → ids of all rows that were written to its observation log, in order), `kept` (those that are in it), `memories` (server
→ model → ids), `rows` (dataset → ids), `jobs`, `versions` (model → list), `streams` (server → model → GET …/stream), `predictions`
(server → model → answers), both also for servers that were started anew and have replayed the log, `anew` (a model's figures and answers
beside those of one that learned what is kept), `made` (model → statuses), `faults` (with process, kind and time).
"""

from collections import Counter

from clients import group

# A revoked key is refused everywhere within this time; a list of keys is used for 5 s without a notification.
REVOKED_WITHIN = 6.0
# A replica shows nothing of a deleted model after this time; after this much more where its connection for notifications was
# lost without notice, which it notices by a silence of 20 s.
DELETED_WITHIN = 3.0
SILENCE = 30.0


def acknowledged_is_logged(calls, state):
    bad = []
    for call in calls:
        if call["op"] == "observe" and call["outcome"] == "ok":
            missing = set(call["ids"]) - state["counted"][call["model"]].keys()
            if missing:
                bad.append(f"rows {sorted(missing)} of {call['model']} were acknowledged at {call['ended']} s and are not in the log")
        if call["op"] == "feedback" and call["outcome"] == "ok" and call["ids"][0] not in state["counted"][call["model"]]:
            bad.append(f"the label of row {call['ids'][0]} of {call['model']} was acknowledged at {call['ended']} s and is not in the log")
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


def refused_is_not_done(calls, state):
    """Rows of which every call was refused are not there."""
    outcomes = {}
    for call in calls:
        if call["op"] in ("observe", "append", "feedback"):
            outcomes.setdefault((call.get("model") or call["dataset"], tuple(call["ids"])), set()).add(call["outcome"])
    bad = []
    for (where, ids), seen in outcomes.items():
        there = set(state["counted"].get(where, state["rows"].get(where, ())))
        if seen == {"refused"} and there & set(ids):
            bad.append(f"rows {sorted(there & set(ids))} of {where} were refused and are there")
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
            if stream["observed"] != len(state["kept"][model]):
                bad.append(f"{model} has learned {stream['observed']} rows on {server}, and its log has {len(state['kept'][model])}")
    return bad


def spans(calls):
    """From the begin of its first call to the first acknowledgement of each row that was sent to a stream, by model."""
    rows = {}
    for call in calls:
        if call["op"] in ("observe", "feedback"):
            for id in call["ids"]:
                span = rows.setdefault(call["model"], {}).setdefault(id, [call["begun"], None])
                span[0] = min(span[0], call["begun"])
                if call["outcome"] == "ok":
                    span[1] = call["ended"] if span[1] is None else min(span[1], call["ended"])
    return rows


def forgotten_is_gone(calls, state):
    """Rows that were acknowledged before a request to forget them are gone after it, from log, memory and recent predictions; no others are."""
    bad, forgets = [], {}
    for call in calls:
        if call["op"] == "forget":
            forgets.setdefault((call["model"], call["group"]), []).append(call)
    done = {which: [call for call in them if call["outcome"] == "ok"] for which, them in forgets.items()}
    rows = spans(calls)
    gone = lambda model, id, by: rows[model][id][1] is not None and any(
        f["begun"] >= rows[model][id][1] and f["ended"] <= by for f in done.get((model, group(id)), []))
    for model, kept in state["kept"].items():
        left = [id for id in kept if id in rows.get(model, {}) and gone(model, id, float("inf"))]
        if left:
            bad.append(f"rows {left[:5]} of {model} were forgotten and are in the log")
        there = set(kept)
        lost = [id for id, (begun, ended) in rows.get(model, {}).items() if ended is not None and id not in there
                and all(f["ended"] <= begun for f in forgets.get((model, group(id)), []))]
        if lost:
            bad.append(f"rows {lost[:5]} of {model} were not forgotten and are gone from the log")
    for server, memories in state["memories"].items():
        for model, ids in memories.items():
            left = [id for id in ids if id in rows.get(model, {}) and gone(model, id, float("inf"))]
            if left:
                bad.append(f"rows {left[:5]} of {model} were forgotten and are in the memory of {server}")
    for call in calls:
        if call["op"] == "read_memory":
            left = [id for id in call["ids"] if id in rows.get(call["model"], {}) and gone(call["model"], id, call["begun"])]
            if left:
                bad.append(f"{call['server']} forgot rows {left[:5]} of {call['model']} and at {call['begun']} s had them in its memory")
        if call["op"] == "feedback" and call["outcome"] == "ok":
            before = [f for f in done.get((call["model"], group(call["ids"][0])), [])
                      if f["begun"] >= call["predicted_at"] and f["ended"] + allowed(state, call, f["ended"]) < first_begun(calls, call)]
            if before:
                bad.append(f"the row of prediction {call['ids'][0]} of {call['model']} was forgotten at {before[0]['ended']} s, and "
                           f"{call['server']} had it at {call['begun']} s")
    return bad


def first_begun(calls, call):
    return min(c["begun"] for c in calls if c["op"] == call["op"] and c["key"] == call["key"])


def allowed(state, call, since):
    """How long after `since` a server may show what another has changed: it follows once it is not kept from it any more."""
    server, until = call["server"], since
    for fault in state["faults"]:
        if fault["process"] == server and fault["begun"] <= call["begun"] and (fault["ended"] is None or fault["ended"] >= since - SILENCE):
            ended = fault["ended"] if fault["ended"] is not None else call["begun"]
            until = max(until, ended + (SILENCE if fault["kind"] in ("lose", "packets") else 0))
    return until - since + DELETED_WITHIN


def forgotten_as_never_received(calls, state):
    return [f"{model} differs from a model that learned what its log still holds" for model, both in state["anew"].items()
            if both["live"] != both["anew"]]


def deleted_is_gone(calls, state):
    """After the acknowledged deletion of a model no server describes it, and none answers with it, other servers within the stated time.
    A generation of which a call has an unknown outcome is left out: that call may be done at any time."""
    bad, unknown, deleted, made = [], {}, {}, {}
    for call in calls:
        if call["op"] in ("create_model", "delete_model"):
            which = (call["model"], call["generation"])
            if call["outcome"] == "unknown":
                unknown.setdefault(call["model"], set()).add(call["generation"])
            elif call["outcome"] == "ok":
                (made if call["op"] == "create_model" else deleted).setdefault(which, call)
    for call in calls:
        model, shown = call.get("model"), call.get("shown")
        if not call["op"].startswith("look_") or call["outcome"] != "ok":
            continue
        if call["op"] == "look_versions":
            if shown != 1:
                bad.append(f"{call['server']} lists {shown} versions of {model} at {call['begun']} s, which was made with one")
            continue
        end = deleted.get((model, shown))
        if end is None or shown in unknown.get(model, ()):
            continue
        # Descriptions come from the database.
        late = 0 if call["op"] == "look_get" or call["server"] == end["server"] else allowed(state, call, end["ended"])
        if call["begun"] > end["ended"] + late:
            bad.append(f"{call['op']} on {call['server']} at {call['begun']} s shows model {model} number {shown}, deleted at {end['ended']} s")
    for model, (there, answers) in state["made"].items():
        if there == 200 and answers not in (200, "nothing_learned"):
            bad.append(f"{model} is there and does not answer: {answers}")
        last = max((g for m, g in made if m == model), default=None)
        if there == 404 and last is not None and not unknown.get(model) and (model, last) not in deleted:
            bad.append(f"{model} number {last} was made and is lost")
    return bad


def jobs_succeed_once(calls, state):
    bad = []
    versions = Counter(v["job_id"] for items in state["versions"].values() for v in items)
    bad += [f"the job {job} made {n} versions" for job, n in versions.items() if n > 1]
    canceled = {call["job"] for call in calls if call["op"] == "cancel" and call["outcome"] == "ok"
                and call["answer"]["status"] == "canceled"}
    faults = Counter(fault["kind"] for fault in state["faults"])
    for id, job in state["jobs"].items():
        # A job that finds no space says so, and one that was killed again and again before it got anywhere is given up.
        code = job["error"]["code"] if job["status"] == "failed" else None
        stated = (code == "disk_full" and faults["disk_full"] > 0) or (code == "no_progress" and faults["kill"] + faults["stop"] >= job["attempt"])
        if job["status"] not in ("succeeded", "canceled") and not stated:
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
    bad, written, forgets, taught = [], {}, {}, {}
    for call in calls:
        if call["op"] == "forget":
            forgets.setdefault((call["model"], call["group"]), []).append(call)
    for call in sorted(calls, key=lambda call: call["ended"]):
        if call["op"] == "observe" and call["outcome"] == "ok":
            written.setdefault((call["server"], call["model"]), []).append(call)
        if call["op"] == "teach" and call["outcome"] == "ok":
            taught.setdefault((call["server"], call["model"], call["generation"]), call["ended"])
        if call["op"] == "look_predict" and call["code"] == "nothing_learned":
            at = taught.get((call["server"], call["model"], call["generation"]))
            if at is not None and at <= call["begun"]:
                bad.append(f"{call['server']} acknowledged a row of {call['model']} at {at} s and at {call['begun']} s had learned nothing")
        if call["op"] == "read_stream" and call["outcome"] == "ok":
            # What is forgotten is not counted any more after the next consolidation.
            gone = lambda id, write: any(f["begun"] < call["ended"] and f["ended"] > write["begun"]
                                         for f in forgets.get((call["model"], group(id)), ()))
            writes = [w for w in written.get((call["server"], call["model"]), []) if w["ended"] <= call["begun"]]
            before = sum(not gone(id, write) for write in writes for id in write["ids"])
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


CHECKS = [acknowledged_is_logged, one_effect_a_key, calls_land_whole, refused_is_not_done, replays_equal, forgotten_is_gone,
          forgotten_as_never_received, jobs_succeed_once, reads_see_writes, deleted_is_gone, revoked_keys_end, nothing_fails_undocumented]


def violations(calls, state):
    state["counted"] = {model: Counter(ids) for model, ids in state["log"].items()}
    return [f"{check.__name__}: {sentence}" for check in CHECKS for sentence in check(calls, state)]
