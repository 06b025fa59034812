"""The faults: one after the other, on a process or a connection by chance, each with its time in the history."""

import threading
import time

from servers import Packets, clock_library

# By how many seconds a clock jumps; 0 corrects it.
JUMPS = [-7200, -60, 0, 0, 60, 7200]
# Faults that separate a process from another or from what it stores: the history counts them as partitions.
PARTITIONS = ("cut", "lose", "stall", "store_away")


class Faults(threading.Thread):
    """Causes faults until a moment; `error` is what went wrong with them."""

    def __init__(self, run, until):
        super().__init__(daemon=True)
        self.run_, self.random, self.until, self.error = run, run.random, until, None
        self.kinds = [self.kill, self.kill, self.kill, self.pause, self.stop]
        if run.postgres:
            self.kinds += [self.cut, self.cut, self.lose, self.stall, self.delay]
        if run.store:
            self.kinds.append(self.store_away)
        if run.disk:
            self.kinds.append(self.disk_full)
        if clock_library():
            self.kinds.append(self.clock)
        if Packets.can_be_lost():
            self.kinds.append(self.packets)
        self.kinds = [kind for kind in self.kinds if kind.__name__ not in run.options.without]
        self.seen = []

    def run(self):
        try:
            while time.monotonic() < self.until:
                time.sleep(self.random.uniform(0.3, 2.0))
                self.one(self.random.choice(self.kinds), self.random.choice(self.run_.processes))
        except Exception as error:  # noqa: BLE001 (for the main thread)
            self.error = error

    def one(self, kind, process):
        now = self.run_.history.now
        # In the list while it lasts, too: the checks need to know its beginning even where the run ends with it.
        fault = {"kind": kind.__name__, "process": process.name, "begun": now(), "ended": None}
        self.seen.append(fault)
        kind(process)
        fault["ended"] = now()

    def counts(self):
        kinds = sorted({kind.__name__ for kind in self.kinds})
        return {kind: sum(fault["kind"] == kind for fault in self.seen) for kind in kinds}

    def hold(self, least, most):
        time.sleep(self.random.uniform(least, most))

    def kill(self, process):
        process.kill()
        self.hold(0, 0.5)
        process.start()

    def pause(self, process):
        process.pause()
        self.hold(0.1, 4)
        process.go_on()

    def stop(self, process):
        code = process.stop()
        assert code in (0, -9), f"{process.name} ended with {code}"
        process.start()

    def cut(self, process):
        process.line.set_cut(True)
        self.hold(0.1, 5)
        process.line.set_cut(False)

    def lose(self, process):
        process.line.lose()

    def stall(self, process):
        process.line.set_stalled(True)
        self.hold(0.1, 5)
        process.line.set_stalled(False)

    def delay(self, process):
        process.line.delay = self.random.uniform(0.05, 0.5)
        self.hold(1, 5)
        process.line.delay = 0

    def store_away(self, _):
        self.run_.store.line.set_cut(True)
        self.hold(0.5, 5)
        self.run_.store.line.set_cut(False)

    def disk_full(self, _):
        self.run_.disk.fill()
        self.hold(0.5, 4)
        self.run_.disk.empty()

    def clock(self, process):
        process.set_clock(self.random.choice(JUMPS))

    def packets(self, process):
        # Half of them is more than a connection stands for long: some break, others take seconds for one answer.
        ports = ([process.port] if process.serves else []) + ([process.line.port] if process.line else [])
        Packets.lose(self.random.choice([0.05, 0.2, 0.5]), ports)
        self.hold(0.5, 6)
        Packets.lose(0, ports)
