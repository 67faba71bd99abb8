// Tests on CPython 3.14 as WebAssembly: node .ci/python314.mjs DIRECTORY TEST..., where DIRECTORY has pyodide and site/.
import fs from "fs";
import path from "path";
import { createRequire } from "module";
import { pathToFileURL } from "url";

const [place, ...tests] = process.argv.slice(2);
const found = createRequire(path.join(place, "package.json")).resolve("pyodide/pyodide.mjs");
const { loadPyodide } = await import(pathToFileURL(found));
const python = await loadPyodide();
for (const [to, from] of [["/site", path.join(place, "site")], ["/project", process.cwd()]]) {
  python.FS.mkdir(to);
  python.FS.mount(python.FS.filesystems.NODEFS, { root: fs.realpathSync(from) }, to);
}
python.globals.set("tests", python.toPy(tests));
process.exitCode = python.runPython(`
import os, select, sys, types
sys.dont_write_bytecode = True
sys.path[:0] = ["/project/src", "/site"]
print(sys.version)
# Trio is imported and not run: it asks which system it is on, and there is nothing to wait with.
platform, sys.platform, select.epoll, os.pidfd_open = sys.platform, "linux", object, None
import trio
sys.platform = platform
del select.epoll, os.pidfd_open
# Nobody hashes here.
sys.modules["blake3"] = types.ModuleType("blake3")
sys.modules["blake3"].blake3 = None
# Of tests/conftest.py, which is about servers, nothing is needed; neither are settings of plugins that are not there.
import pytest
os.chdir("/project")
with open("/pytest.ini", "w") as settings:
    settings.write("[pytest]\\naddopts = --strict-markers --import-mode=importlib\\nfilterwarnings = error\\n")
plugins = [f"-pno:{name}" for name in ("cacheprovider", "faulthandler")]
int(pytest.main(["-q", "-c", "/pytest.ini", "--rootdir=/project", "--noconftest", *plugins, *tests]))
`);
