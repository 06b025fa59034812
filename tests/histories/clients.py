"""Clients that call the servers at random and record each call with its outcome: `ok` with the answer, `refused` (a status that
promises that nothing was done), or `unknown` (cut off, or an answer that leaves it open). Faults that a server might have are put
between client and server on demand, so that the checks can show that they find them.
"""

import json
import random
import threading
import time
import urllib.error
import urllib.request

# What these statuses answer was not done.
REFUSED = {400, 401, 403, 404, 413, 415, 422, 429}
FAULTS = ("lost", "twice", "stale", "revoked", "promoted", "half", "retrained", "served", "remembered", "fed")
# What a planted fault answers in place of the server, by operation.
UNSENT = {"observe": ("lost", 200), "promote": ("promoted", 200), "delete_key": ("revoked", 204), "delete_model": ("served", 204),
          "forget": ("remembered", 200)}
# Faults of calls that are made often.
OFTEN = ("lost", "twice", "stale", "half")
# Rows are forgotten by the group that follows from their id.
GROUPS = 8
# Calls that are open when a run ends are repeated for so long, in seconds: there are no faults any more.
PATIENCE = 90
# Seconds between two trainings of a client, and seconds between two of its calls at most: there are few processors.
TRAIN_EVERY = 6
PAUSE = 0.08


def group(id):
    return f"g{id % GROUPS}"


def row(id):
    return {"id": id, "x": id % 7, "g": group(id)}


def label(id):
    return "up" if id % 7 > 3 else "down"


def code_of(answer):
    return answer.get("code") if isinstance(answer, dict) else None


def about_stream():
    """The body that makes a stream."""
    return {"family": "hybrid", "target": "y", "task": "classification", "features": {"id": "number", "x": "number", "g": "category"}}


class History:
    """All calls of a run, in the order of their ends."""

    def __init__(self, file):
        self.file, self.calls, self.lock, self.begun = file, [], threading.Lock(), time.monotonic()

    def add(self, **call):
        with self.lock:
            self.calls.append(call)
            self.file.write(json.dumps(call) + "\n")

    def now(self):
        return round(time.monotonic() - self.begun, 4)


class Client(threading.Thread):
    """One client: it owns a model, a stream and a dataset, so what it reads must be what it wrote."""

    def __init__(self, number, servers, history, seed, plant=None):
        super().__init__(daemon=True)
        self.number, self.servers, self.history = number, servers, history
        self.random = random.Random(f"{seed}-{number}")
        self.plant, self.stopping, self.next_id = plant, False, 0
        self.stream, self.model, self.data = f"s{number}", f"m{number}", f"d{number}"
        self.seen, self.error, self.trained = {}, None, 0
        # The model that is made and deleted: its name, how often it was made, whether it is there.
        self.made, self.generation, self.there = f"g{number}", 0, False
        # Bodies of observe by key, and predictions that have no label yet.
        self.sent, self.predicted = [], []

    # -- calls

    def send(self, server, method, path, body=None, headers=None, timeout=20):
        headers = dict(headers or {})
        if isinstance(body, dict):
            body, headers["content-type"] = json.dumps(body).encode(), "application/json"
        request = urllib.request.Request(server.url + path, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                data = answer.read()
                return answer.status, json.loads(data) if data else None
        except urllib.error.HTTPError as error:
            try:
                return error.code, json.loads(error.read() or b"null")
            except (OSError, ValueError):
                return error.code, None
        except (OSError, ValueError) as error:
            return None, str(error)

    def planted(self, fault):
        """Whether the fault happens now. Rare calls are met more often, so that a short run has some."""
        return self.plant == fault and self.random.random() < (0.3 if fault in OFTEN else 0.8)

    def call(self, op, method, path, body=None, key=None, server=None, **about):
        server = server or self.random.choice(self.servers)
        begun = self.history.now()
        headers = {"idempotency-key": key} if key else {}
        fault, instead = UNSENT.get(op, (None, None))
        if fault and self.planted(fault):
            status, answer = instead, {"planted": True}
        elif op == "read_stream" and self.planted("stale") and "stale" in self.seen:
            status, answer = 200, self.seen["stale"]
        else:
            status, answer = self.send(server, method, path, body, headers)
            if op == "observe" and status == 200 and self.planted("twice"):
                self.send(server, method, path, body)
            if op == "train" and status == 202 and self.planted("retrained"):
                self.send(server, method, path, body)
            if op == "feedback" and status == 200 and self.planted("fed"):
                id = about["ids"][0]
                self.send(server, "POST", f"/api/v1/models/{self.stream}/observe", {"rows": [row(id) | {"y": label(id)}]})
        if op == "read_stream" and status == 200 and "stale" not in self.seen:
            self.seen["stale"] = answer
        refused = status in REFUSED or code_of(answer) == "model_exists"
        outcome = "ok" if status and 200 <= status < 300 else "refused" if refused else "unknown"
        self.history.add(client=self.number, op=op, server=server.name, begun=begun, ended=self.history.now(), outcome=outcome,
                         status=status, key=key, answer=answer if op != "read_rows" else None, **about)
        return outcome, answer, server

    def until_known(self, op, method, path, body=None, key=None, tries=1000, **about):
        """Sends a call that may be repeated until its outcome is known, on whatever server."""
        until = None
        for _ in range(tries):
            outcome, answer, server = self.call(op, method, path, body, key, **about)
            if outcome != "unknown" and not (outcome == "refused" and answer and answer.get("status") == 429):
                return outcome, answer, server
            if self.stopping:
                until = until or time.monotonic() + PATIENCE
                if time.monotonic() > until:
                    break
            time.sleep(0.1 + self.random.random() * 0.2)
        return "unknown", answer, server

    def ids(self, count):
        first = self.next_id
        self.next_id += count
        return [self.number * 10_000_000 + first + i for i in range(count)]

    # -- what it does

    def run(self):
        try:
            self.prepare()
            actions = [self.observe] * 8 + [self.append] * 2 + [self.read] * 3 + [self.feedback] * 3 + [self.churn] * 3
            actions += [self.keys, self.train, self.promote, self.forget]
            while not self.stopping:
                self.random.choice(actions)()
                time.sleep(self.random.random() * PAUSE)
        except Exception as error:  # noqa: BLE001 (reported by the main thread)
            self.error = error

    def prepare(self):
        self.until_known("create", "PUT", f"/api/v1/models/{self.stream}", about_stream())
        rows = "x,label\n" + "".join(f"{i % 40},{'a' if i % 40 < 20 else 'b'}\n" for i in range(120))
        self.until_known("put", "PUT", f"/api/v1/datasets/{self.data}t", rows.encode())
        self.until_known("put", "PUT", f"/api/v1/datasets/{self.data}", b"id,x\n-1,0\n")

    def observe(self):
        ids = self.ids(self.random.randint(1, 5))
        rows = [row(id) | {"y": label(id)} for id in ids]
        key = f"o-{self.number}-{ids[0]}"
        self.sent.append((key, rows))
        outcome, _, server = self.until_known("observe", "POST", f"/api/v1/models/{self.stream}/observe", {"rows": rows}, key, ids=ids,
                                              model=self.stream)
        if outcome == "ok" and self.random.random() < 0.3:
            self.call("read_stream", "GET", f"/api/v1/models/{self.stream}/stream", server=server, model=self.stream)

    def append(self):
        ids = self.ids(3)
        body = ("id,x\n" + "".join(f"{i},1\n" for i in ids)).encode()
        if self.planted("half"):
            body = body[: body.rindex(b"\n", 0, -1) + 1]
        # Not repeated: a call whose end is unknown may have had its effect.
        self.call("append", "POST", f"/api/v1/datasets/{self.data}/rows", body, ids=ids, dataset=self.data)

    def read(self):
        self.call("read_stream", "GET", f"/api/v1/models/{self.stream}/stream", model=self.stream)

    def keys(self):
        made = self.call("create_key", "POST", "/api/v1/keys", {"name": "k", "scopes": ["read"]})
        if made[0] != "ok":
            return
        key, secret = made[1]["id"], made[1]["key"]
        if self.until_known("delete_key", "DELETE", f"/api/v1/keys/{key}", id=key)[0] == "unknown":
            return
        ended = self.history.now()
        time.sleep(0.2)
        server = self.random.choice(self.servers)
        begun = self.history.now()
        status, _ = self.send(server, "GET", "/api/v1/models", headers={"authorization": f"Bearer {secret}"})
        self.history.add(client=self.number, op="use_key", server=server.name, begun=begun, ended=self.history.now(), id=key, revoked_at=ended,
                         status=status, outcome="ok" if status == 200 else "refused")

    def train(self):
        # One worker must keep up.
        if time.monotonic() < self.trained + TRAIN_EVERY:
            return
        self.trained = time.monotonic()
        self.next_id += 1
        key = f"t-{self.number}-{self.next_id}"
        request = {"dataset": f"{self.data}t", "target": "label", "family": "sparse_mlp", "promote": False,
                   "config": {"epochs": self.random.choice([2, 40])}}
        outcome, job, _ = self.until_known("train", "POST", f"/api/v1/models/{self.model}/train", request, key, model=self.model)
        if outcome == "ok" and self.random.random() < 0.2:
            self.until_known("cancel", "POST", f"/api/v1/jobs/{job['id']}/cancel", job=job["id"])

    def promote(self):
        outcome, answer, _ = self.call("versions", "GET", f"/api/v1/models/{self.model}/versions", model=self.model)
        ready = [v["version"] for v in answer["items"]] if outcome == "ok" else []
        if not ready:
            return
        version = self.random.choice(ready)
        outcome, _, server = self.until_known("promote", "POST", f"/api/v1/models/{self.model}/versions/{version}/promote",
                                              model=self.model, version=version)
        if outcome == "ok":
            self.call("predict", "POST", f"/api/v1/models/{self.model}/predict", {"rows": [{"x": 3}]}, server=server,
                      model=self.model, promoted=version)

    def feedback(self):
        """Asks for a prediction, and gives the label of one that was made now or before."""
        [id] = self.ids(1)
        outcome, answer, server = self.call("ask", "POST", f"/api/v1/models/{self.stream}/predict", {"rows": [row(id)]}, model=self.stream)
        if outcome == "ok":
            prediction = answer["predictions"][0]["prediction_id"]
            self.predicted.append({"id": id, "prediction": prediction, "server": server, "at": self.history.now()})
        if self.predicted and self.random.random() < 0.7:
            self.label(self.predicted.pop(self.random.randrange(len(self.predicted))))

    def label(self, made):
        id = made["id"]
        body = {"prediction_id": made["prediction"], "target": label(id)}
        # A server that was killed between learning and keeping the answer leaves the key in use for a minute.
        self.until_known("feedback", "POST", f"/api/v1/models/{self.stream}/feedback", body, f"f-{id}", tries=5, server=made["server"],
                         ids=[id], model=self.stream, predicted_at=made["at"])

    def forget(self):
        gone = f"g{self.random.randrange(GROUPS)}"
        outcome, _, server = self.until_known("forget", "POST", f"/api/v1/models/{self.stream}/forget", {"where": {"g": gone}},
                                              model=self.stream, group=gone)
        if outcome != "ok":
            return
        self.read_memory(server)
        # Neither a retry of what taught the rows nor a label that comes later brings them back.
        taught = [(key, rows) for key, rows in self.sent if any(r["g"] == gone for r in rows)]
        if taught:
            key, rows = self.random.choice(taught)
            self.call("observe_again", "POST", f"/api/v1/models/{self.stream}/observe", {"rows": rows}, key, model=self.stream)
        waiting = [made for made in self.predicted if group(made["id"]) == gone]
        if waiting:
            self.predicted.remove(waiting[0])
            time.sleep(1)
            self.label(waiting[0])

    def read_memory(self, server):
        begun = self.history.now()
        status, answer = self.send(server, "GET", f"/api/v1/models/{self.stream}/memory?limit=1000")
        ids = [entry["row"]["id"] for entry in answer["items"] if entry["row"]] if status == 200 else []
        self.history.add(client=self.number, op="read_memory", server=server.name, begun=begun, ended=self.history.now(), ids=ids,
                         model=self.stream, status=status, outcome="ok" if status == 200 else "unknown")

    def churn(self):
        """Makes a model, looks at it, or deletes it. Which of the models of this name answers is seen by its target and labels."""
        path, about = f"/api/v1/models/{self.made}", {"model": self.made, "generation": self.generation}
        if not self.there:
            self.generation += 1
            about["generation"] = self.generation
            body = about_stream() | {"target": f"y{self.generation}", "classes": [f"{self.generation}a", f"{self.generation}b"]}
            self.there = self.until_known("create_model", "PUT", path, body, **about)[0] != "unknown"
        elif self.random.random() < 0.3:
            outcome, _, server = self.until_known("delete_model", "DELETE", path, **about)
            self.there = outcome == "unknown"
            self.look(server)
        elif self.random.random() < 0.4:
            rows = [{"id": 1, "x": 1, "g": "g1", f"y{self.generation}": f"{self.generation}a"}]
            outcome, _, server = self.call("teach", "POST", f"{path}/observe", {"rows": rows}, **about)
            if outcome == "ok":
                self.look(server)
        self.look(self.random.choice(self.servers))

    def look(self, server):
        """Which generations of the model a server shows: that of its description, its answers, and the number of its versions."""
        path, body = f"/api/v1/models/{self.made}", {"rows": [{"id": 1, "x": 1, "g": "g1"}]}
        for op, method, rest, sent in [("predict", "POST", "/predict", body), ("get", "GET", "", None), ("versions", "GET", "/versions", None)]:
            begun = self.history.now()
            status, answer = self.send(server, method, path + rest, sent)
            shown = None
            if status == 200:
                text = {"predict": lambda: answer["predictions"][0]["label"][:-1], "get": lambda: answer["target"][1:],
                        "versions": lambda: len(answer["items"])}[op]()
                shown = int(text)
            self.history.add(client=self.number, op=f"look_{op}", server=server.name, begun=begun, ended=self.history.now(), model=self.made,
                             generation=self.generation, shown=shown, status=status, code=code_of(answer),
                             outcome="ok" if status == 200 else "refused" if status in REFUSED else "unknown",
                             answer=answer if status == 500 else None)
