"""Runs the documentation: shell blocks against the built program, links, and completeness of the reference pages.

usage: run.py BINARY [PAGE…]

Blocks marked `sh` of README.md and docs/src run in their order in one bash with `set -e`, a page at a time, in an empty
folder in which `kenyon` is on the path. README.md runs in a copy of the checkout's `examples`, with `cargo run --release --`
replaced by the program. How-to pages get a running server; README.md and the tutorial start their own. Ports of the text
are replaced by free ones where they are in use. Standard library only.
"""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BOOK = ROOT / "docs" / "src"
STARTS_ITSELF = {"README.md", "tutorial.md"}
PORTS = [8080, 8081, 8090]


def pages():
    return [ROOT / "README.md", *sorted(BOOK.rglob("*.md"))]


def blocks(page):
    return re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf8"), re.M | re.S)


def port_for(wanted):
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", wanted))
        except OSError:
            listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until_ready(port, process):
    for _ in range(600):
        if process.poll() is not None:
            sys.exit(f"the server ended with {process.returncode}")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit("the server is not ready after a minute")


def run_page(page, binary):
    """Runs the blocks of a page; returns the number of the block that failed, with its output."""
    found = blocks(page)
    if not found:
        return None
    with tempfile.TemporaryDirectory() as temporary:
        base = pathlib.Path(temporary)
        (base / "bin").mkdir()
        (base / "bin" / "kenyon").symlink_to(binary)
        (base / "kenyon").symlink_to(ROOT)
        work = base / "work"
        work.mkdir()
        if page.name == "README.md":
            shutil.copytree(ROOT / "examples", work / "examples")
        ports = {port: port_for(port) for port in PORTS}
        script = ["set -euo pipefail"]
        for number, block in enumerate(found, 1):
            block = re.sub(r"cargo run --(release|profile quick) -- ", "kenyon ", block)
            for wanted, port in ports.items():
                block = re.sub(rf"\b{wanted}\b", str(port), block)
            script += [f"echo '== block {number}'", block]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("KENYON_")} | {
            "PATH": f"{base / 'bin'}:{os.environ['PATH']}",
            "KENYON_LISTEN": f"127.0.0.1:{ports[8080]}",
            "KENYON_GRPC_LISTEN": f"127.0.0.1:{ports[8081]}",
            "KENYON_SERVER": f"http://127.0.0.1:{ports[8080]}",
        }
        server = None
        try:
            if page.name not in STARTS_ITSELF:
                with open(base / "server.log", "w", encoding="utf8") as log:
                    server = subprocess.Popen(["kenyon", "serve"], cwd=work, env=environment, stdout=log, stderr=log)
                wait_until_ready(ports[8080], server)
            with open(base / "output", "w+", encoding="utf8", errors="replace") as output:
                shell = subprocess.Popen(["bash", "-c", "\n".join(script)], cwd=work, env=environment, stdin=subprocess.DEVNULL,
                                         stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
                try:
                    code = shell.wait(timeout=300)
                except subprocess.TimeoutExpired:
                    code = "a timeout"
                # Servers that blocks have started are in the shell's session.
                try:
                    os.killpg(shell.pid, signal.SIGTERM)
                except ProcessLookupError:
                    pass
                output.seek(0)
                text = output.read()
            if code != 0:
                last = (re.findall(r"^== block (\d+)", text, re.M) or ["1"])[-1]
                return f"block {last} ended with {code}:\n{text[-3000:]}"
            return None
        finally:
            if server:
                server.terminate()
                server.wait()


def anchors(text):
    found = set()
    for heading in re.findall(r"^#+ (.+)$", text, re.M):
        plain = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.add(plain)
    return found


def broken_links():
    bad = []
    listed = set(re.findall(r"\]\(([^)#]+\.md)\)", (BOOK / "SUMMARY.md").read_text(encoding="utf8")))
    for page in BOOK.rglob("*.md"):
        name = page.relative_to(BOOK).as_posix()
        if name != "SUMMARY.md" and name not in listed:
            bad.append(f"{name} is not in SUMMARY.md")
    others = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "benches/README.md", "examples/README.md")]
    for page in [*BOOK.rglob("*.md"), *others]:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf8"), flags=re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            if not file.exists():
                bad.append(f"{page.relative_to(ROOT)}: {target}")
            elif anchor and anchor not in anchors(file.read_text(encoding="utf8")):
                bad.append(f"{page.relative_to(ROOT)}: no heading for {target}")
    return bad


def incomplete_reference(binary):
    """Settings, error codes, metrics and commands that the reference pages do not have, or have and should not."""
    bad = []
    page = lambda name: (BOOK / "reference" / name).read_text(encoding="utf8")
    output = subprocess.run([binary, "serve", "--help"], capture_output=True, text=True, check=True).stdout
    flags = set(re.findall(r"^\s+(?:-\w, )?(--[a-z-]+)", output, re.M)) - {"--help", "--version", "--json"}
    bad += [f"settings.md lacks {flag}" for flag in sorted(flags) if f"`{flag}" not in page("settings.md")]
    bad += [f"settings.md has {flag}" for flag in re.findall(r"^\| `(--[a-z-]+)`", page("settings.md"), re.M) if flag not in flags]
    output = subprocess.run([binary, "--help"], capture_output=True, text=True, check=True).stdout
    commands = set(re.findall(r"^  ([a-z]+) ", output.split("Options:")[0], re.M)) - {"help"}
    bad += [f"cli.md lacks {command}" for command in sorted(commands) if f"`kenyon {command}" not in page("cli.md")]
    sources = [*(ROOT / "src").rglob("*.rs"), *(ROOT / "crates" / "kenyon-learn" / "src").rglob("*.rs")]
    codes, metrics = set(), set()
    for source in sources:
        if "tests" in source.parts or source.name == "tests.rs" or source.name == "toy.rs" or "cli" in source.parts:
            continue
        text = source.read_text(encoding="utf8").split("#[cfg(test)]\nmod tests {")[0]
        codes |= set(re.findall(r'\b(?:malformed|not_found|unprocessable|conflict|unavailable)\(\s*"([a-z0-9_]+)"', text))
        codes |= set(re.findall(r'\bKind::\w+,\s*"([a-z0-9_]+)"', text))
        if source.name == "telemetry.rs":
            metrics |= set(re.findall(r'"(kenyon_[a-z_]+)"', text))
    for file in ("grafana/kenyon.json", "prometheus/alerts.yaml"):
        named = re.findall(r"\bkenyon_[a-z_]+", (ROOT / "deploy" / file).read_text(encoding="utf8"))
        metrics |= {re.sub("_(bucket|count|sum)$", "", metric) for metric in named}
    bad += [f"errors.md lacks {code}" for code in sorted(codes) if f"| `{code}` |" not in page("errors.md")]
    bad += [f"metrics.md lacks {metric}" for metric in sorted(metrics) if f"`{metric}`" not in page("metrics.md")]
    return bad


def rendered():
    """The book as pages: what mdBook refuses, and links of its pages to files that it did not write."""
    if not shutil.which("mdbook"):
        if os.environ.get("KENYON_REQUIRE_ALL"):
            return ["mdbook is not installed"]
        print("skipped: the book is not rendered, since mdbook is not installed")
        return []
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["mdbook", "build", "--dest-dir", folder, ROOT / "docs"], capture_output=True, text=True)
        if done.returncode:
            return [done.stderr]
        bad = []
        for page in pathlib.Path(folder).rglob("*.html"):
            # Its links are relative to the book's root.
            base = pathlib.Path(folder) if page.name == "404.html" else page.parent
            for target in re.findall(r'\b(?:href|src)="([^"#?]+)', page.read_text(encoding="utf8")):
                if not re.match(r"[a-z]+:", target) and not target.startswith("/") and not (base / target).exists():
                    bad.append(f"{page.relative_to(folder)}: {target}")
        return bad


def main():
    binary = sys.argv[1]
    chosen = sys.argv[2:]
    bad = [] if chosen else broken_links() + incomplete_reference(binary) + rendered()
    for page in pages():
        name = page.relative_to(ROOT).as_posix()
        if chosen and not any(name.endswith(one) for one in chosen):
            continue
        begun = time.monotonic()
        failed = run_page(page, binary)
        if blocks(page):
            print(f"{name}: {len(blocks(page))} blocks, {time.monotonic() - begun:.1f} s", "FAILED" if failed else "", flush=True)
        if failed:
            bad.append(f"{name}: {failed}")
    for one in bad:
        print(one)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
