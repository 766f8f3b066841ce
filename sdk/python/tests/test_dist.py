"""The wheel is built, installed into an empty folder, and runs the example of README.md there."""

from __future__ import annotations

import asyncio
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

from .test_hub import BINARY, TOKEN, Hub

ROOT = pathlib.Path(__file__).parents[1]


@unittest.skipUnless(os.path.exists(BINARY), "the hub is not built")
class DistTest(unittest.IsolatedAsyncioTestCase):
    async def test_readme_example_runs_from_the_wheel(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            # From a copy, since setuptools builds within the source.
            for command in (
                ["cp", "-r", str(ROOT), folder + "/source"],
                [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, folder + "/source"],
            ):
                subprocess.run(command, check=True, timeout=120)
            (wheel,) = pathlib.Path(folder).glob("mastersocket-*.whl")
            install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", folder + "/installed"]
            subprocess.run([*install, str(wheel)], check=True, timeout=120)
            self.assertTrue(os.path.exists(folder + "/installed/mastersocket/py.typed"))

            example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
            assert example is not None
            hub = Hub()
            self.addCleanup(hub.log.close)
            self.addCleanup(hub.kill)
            url = await hub.start()
            pathlib.Path(folder, "example.py").write_text(example[1].replace("ws://127.0.0.1:42069", url))
            process = await asyncio.create_subprocess_exec(
                sys.executable, "example.py", cwd=folder, stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": folder + "/installed", "MASTERSOCKET_TOKEN": TOKEN},
            )
            out, _ = await asyncio.wait_for(process.communicate(), 60)
            self.assertEqual((process.returncode, out), (0, b"3\n"))


if __name__ == "__main__":
    unittest.main()
