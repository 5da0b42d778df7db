"""The AWS CLI asks STS who it is: a line in ("load" or "again"), a line of JSON out. It is started for each line."""

import json
import subprocess
import sys
from pathlib import Path

AWS = Path(sys.executable).with_name("aws")
for _ in sys.stdin:
    command = [AWS, "sts", "get-caller-identity", "--query", "UserId", "--output", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    answer = {"key": json.loads(done.stdout)} if done.returncode == 0 else {"error": done.stderr.strip()}
    print(json.dumps(answer), flush=True)
