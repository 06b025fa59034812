"""The Model Context Protocol through its own Python client, in its current form and with the older handshake.

usage: agent.py BINARY. Starts a server with a key in a temporary folder, and trains and queries a model by tools alone.
"""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

from mcp import Client
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

KEY = "a-key-for-this-test-alone"


async def use(url, mode):
    """From rows to an explained prediction; returns the version of the protocol."""
    async with create_mcp_http_client(headers={"authorization": f"Bearer {KEY}"}) as http:
        async with Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert {"list_datasets", "list_models", "train", "get_job", "predict", "explain"} <= set(tools), tools
            assert "model" in tools["predict"].input_schema["required"], tools["predict"].input_schema

            async def call(name, **arguments):
                result = await client.call_tool(name, arguments)
                assert not result.is_error, result
                return result.structured_content

            rows = [{"x": i % 10, "y": i * 7 % 13, "side": "left" if i % 10 < 5 else "right"} for i in range(120)]
            assert (await call("put_dataset", dataset="sides", rows=rows))["rows"] == 120
            assert [d["name"] for d in (await call("list_datasets"))["items"]] == ["sides"]
            job = await call("train", model="sides", dataset="sides", target="side", wait=20)
            while job["status"] not in ("succeeded", "failed"):
                await asyncio.sleep(0.2)
                job = await call("get_job", id=job["id"])
            assert job["status"] == "succeeded", job
            answer = await call("predict", model="sides", rows=[{"x": 1, "y": 3}, {"x": 8, "y": 3}])
            assert [p["label"] for p in answer["predictions"]] == ["left", "right"], answer
            answer = await call("explain", model="sides", rows=[{"x": 1, "y": 3}])
            assert answer["predictions"][0]["explanation"]["features"][0]["name"] == "x", answer
            wrong = await client.call_tool("get_model", {"model": "none"})
            assert wrong.is_error and wrong.structured_content["code"] == "model_not_found", wrong
            return client.protocol_version


def main():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        url = "http://127.0.0.1:%d" % s.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.argv[1], "serve", "--mcp", "--listen", url[7:], "--grpc-listen", "off", "--data-dir", f"{folder}/data"]
        server = subprocess.Popen(command, env={**os.environ, "KENYON_LOG": "warn", "KENYON_MASTER_KEY": KEY})
        try:
            for _ in range(400):
                try:
                    urllib.request.urlopen(f"{url}/readyz", timeout=2).close()
                    break
                except OSError:
                    time.sleep(0.05)
            for mode in ("auto", "legacy"):
                print(f"mcp, {mode}: {asyncio.run(use(url, mode))}")
        finally:
            server.terminate()
            ended = server.wait(30)
    return ended


if __name__ == "__main__":
    sys.exit(main())
