"""The AWS CLI's credentials: a line in ("load" or "again"), a line of JSON out. It is started for each line."""

import json
import subprocess
import sys
from pathlib import Path

AWS = Path(sys.executable).with_name("aws")
for _ in sys.stdin:
    done = subprocess.run(
        [AWS, "configure", "export-credentials", "--format", "process"], capture_output=True, text=True, check=False
    )
    found = json.loads(done.stdout) if done.returncode == 0 else {}
    print(json.dumps({"key": found["AccessKeyId"]} if found else {"error": done.stderr.strip()}), flush=True)
