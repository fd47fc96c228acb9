"""Run the server: `python -m tests.server.wk_server '{"directory": "/tmp/wk", "token": "…"}'`, then ask it as `process.py` does."""

import json
import sys

from tests.server.wk_server.process import serve

serve(json.loads(sys.argv[1]), sys.stdin, sys.stdout)
