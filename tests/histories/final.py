"""What is there at the end of a run: read from the servers and the database, once all faults are over."""

import json
import sqlite3
import time

from clients import about_stream, code_of, row

# A snapshot deletes the log before it, so each record is kept in the transaction that writes it.
ARCHIVE = "CREATE TABLE archived AS SELECT * FROM observations WHERE false;"
ARCHIVE_SQLITE = ARCHIVE + """CREATE TRIGGER archive AFTER INSERT ON observations BEGIN
    INSERT INTO archived VALUES (NEW.model_id, NEW.seq, NEW.row_count, NEW.kind, NEW.payload, NEW.created_at, NEW.key_id); END;"""
ARCHIVE_POSTGRES = ARCHIVE + """CREATE FUNCTION archive() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN INSERT INTO archived SELECT NEW.*; RETURN NEW; END$$;
    CREATE TRIGGER archive AFTER INSERT ON observations FOR EACH ROW EXECUTE FUNCTION archive();"""
PROBES = {"rows": [row(i) for i in range(0, 200, 11)]}
# Figures of a stream that follow from its rows alone, and those that follow from its past, too.
FIGURES = ("observed", "prequential", "classes", "memory")
MORE_FIGURES = ("drift",)
# Streams that are learned anew at the end: each takes some seconds.
LEARNED_ANEW = 2
PATIENCE = 600


class Final:
    """Reads a run's end. Its `run` has processes, clients and the database."""

    def __init__(self, run):
        self.run, self.servers, self.clients, self.client = run, run.servers, run.clients, run.clients[0]

    # -- the database

    def query(self, text):
        if self.run.postgres:
            return self.run.postgres.rows(text)
        with sqlite3.connect(f"{self.run.data}/kenyon.db", timeout=30) as database:
            return [["" if column is None else str(column) for column in row] for row in database.execute(text)]

    def records(self, table):
        """Rows of each stream's records in the log, as they were sent."""
        hexed = "encode(o.payload, 'hex')" if self.run.postgres else "hex(o.payload)"
        rows = self.query(f"SELECT m.name, {hexed} FROM {table} o JOIN models m ON m.id = o.model_id WHERE o.kind = 'rows' ORDER BY o.seq")
        records = {client.stream: [] for client in self.clients}
        for name, payload in rows:
            if name in records:
                records[name].append([line for line in bytes.fromhex(payload).decode().splitlines() if line])
        return records

    def pasts(self):
        """What each stream's last snapshot says of its past."""
        rows = self.query("SELECT m.name, l.snapshot_info FROM logs l JOIN models m ON m.id = l.model_id WHERE l.snapshot_info IS NOT NULL")
        return {name: (json.loads(info) or {}).get("past") or {} for name, info in rows if info}

    # -- the servers

    def request(self, server, method, path, body=None):
        """Repeated, because connections that were lost are noticed by and by."""
        end = time.monotonic() + 120
        while True:
            status, answer = self.client.send(server, method, path, body, timeout=120)
            if status is not None and status < 500:
                return status, answer
            assert time.monotonic() < end, f"{method} {path} on {server.name}: {status} {answer}"
            time.sleep(0.5)

    def items(self, path):
        items, cursor = [], ""
        while cursor is not None:
            status, page = self.request(self.servers[0], "GET", f"{path}{'&' if '?' in path else '?'}limit=100{cursor}")
            assert status == 200, page
            items += page["items"]
            cursor = f"&cursor={page['next_cursor']}" if page.get("next_cursor") else None
        return items

    def answers_of(self, server):
        """Streams and predictions of a server."""
        streams, predictions = {}, {}
        for client in self.clients:
            streams[client.stream], predictions[client.stream] = self.answers_of_model(server, client.stream, FIGURES + MORE_FIGURES)
        return streams, predictions

    def answers_of_model(self, server, name, figures):
        _, stream = self.request(server, "GET", f"/api/v1/models/{name}/stream")
        _, answer = self.request(server, "POST", f"/api/v1/models/{name}/predict", PROBES)
        predictions = [{k: v for k, v in p.items() if k != "prediction_id"} for p in answer["predictions"]]
        return {key: stream[key] for key in figures if key in stream}, predictions

    def settle(self):
        """Waits until every job has ended, what was forgotten has no effect any more, and every server has applied the whole log."""
        end = time.monotonic() + PATIENCE
        while True:
            waiting = [job for job in self.items("/api/v1/jobs") if job["status"] in ("queued", "running")]
            pending = [name for name, past in self.pasts().items() if past.get("pending")]
            if not waiting and not pending:
                counts = [self.answers_of(server)[0] for server in self.servers]
                if all(count == counts[0] for count in counts):
                    return
            for name in pending:
                if not any(job["model"] == name for job in waiting):
                    self.request(self.servers[0], "POST", f"/api/v1/models/{name}/consolidate")
            assert time.monotonic() < end, f"not at rest after {PATIENCE} s: {len(waiting)} jobs, {pending} have rows to forget"
            time.sleep(0.5)

    def rows_of(self, dataset):
        rows, offset = [], 0
        while True:
            _, page = self.request(self.servers[0], "GET", f"/api/v1/datasets/{dataset}/rows?offset={offset}&limit=1000")
            page = page["rows"] if "rows" in page else page["items"]
            rows += [int(row["id"]) for row in page]
            offset += len(page)
            if len(page) < 1000:
                return [i for i in rows if i >= 0]

    def remembered(self, server):
        """Ids in the memory of each stream."""
        memories = {}
        for client in self.clients:
            ids, cursor = [], ""
            while cursor is not None:
                _, page = self.request(server, "GET", f"/api/v1/models/{client.stream}/memory?limit=1000{cursor}")
                ids += [entry["row"]["id"] for entry in page["items"] if entry["row"]]
                cursor = f"&cursor={page['next_cursor']}" if page["next_cursor"] else None
            memories[client.stream] = ids
        return memories

    def learned_anew(self, state, records):
        """Streams that had rows to forget, learned by other models from what the log still holds: as if they had never received
        those rows. Not where they were consolidated: that leaves its mark."""
        server, pasts = self.servers[0], self.pasts()
        forgot = [c.stream for c in self.clients if any(call["op"] == "forget" and call["model"] == c.stream for call in self.run.history.calls)]
        for name in [name for name in forgot if not pasts.get(name, {}).get("consolidated")][:LEARNED_ANEW]:
            other = f"{name}-anew"
            self.request(server, "PUT", f"/api/v1/models/{other}", about_stream())
            for number, lines in enumerate(records[name]):
                if lines:
                    key = {"idempotency-key": f"anew-{name}-{number}"}
                    body = b'{"rows":[' + ",".join(lines).encode() + b"]}"
                    status = None
                    while status != 200:
                        status, answer = self.client.send(server, "POST", f"/api/v1/models/{other}/observe", body,
                                                          key | {"content-type": "application/json"})
                        assert status is None or status < 400 or status >= 500, answer
            live, anew = self.answers_of_model(server, name, FIGURES), self.answers_of_model(server, other, FIGURES)
            state["anew"][name] = {"live": live, "anew": anew}

    def state(self):
        state = {"streams": {}, "predictions": {}, "rows": {}, "memories": {}, "versions": {}, "made": {}, "anew": {}}
        self.settle()
        for server in self.servers:
            state["streams"][server.name], state["predictions"][server.name] = self.answers_of(server)
            state["memories"][server.name] = self.remembered(server)
        state["jobs"] = {job["id"]: job for job in self.items("/api/v1/jobs") if job["kind"] == "train"}
        state["keys"] = [key["id"] for key in self.items("/api/v1/keys")]
        for client in self.clients:
            _, versions = self.request(self.servers[0], "GET", f"/api/v1/models/{client.model}/versions")
            state["versions"][client.model] = [v for v in (versions or {}).get("items", []) if v.get("job_id")]
            state["rows"][client.data] = self.rows_of(client.data)
            # Whether it is there, and whether it answers.
            there, _ = self.request(self.servers[0], "GET", f"/api/v1/models/{client.made}")
            answers, body = self.request(self.servers[0], "POST", f"/api/v1/models/{client.made}/predict", {"rows": [row(1)]})
            state["made"][client.made] = [there, code_of(body) or answers]
        # Killed, so that what follows is replayed from the log.
        for process in self.servers:
            process.kill()
        ids = lambda records: {name: [json.loads(line)["id"] for lines in all for line in lines] for name, all in records.items()}
        kept = self.records("observations")
        state["log"], state["kept"] = ids(self.records("archived")), ids(kept)
        for process in self.servers:
            process.start()
            name = f"{process.name} after a replay"
            state["streams"][name], state["predictions"][name] = self.answers_of(process)
        self.learned_anew(state, kept)
        return state
