"""One boto3 program that outlives its session and its token: it works on, and prints each access key that it used.

outlive.py KEYS: ends well once so many different keys were used, each accepted by AWS at once.
"""

import sys
import time

import boto3

wanted, seen = int(sys.argv[1]), []
session = boto3.Session()
sts = session.client("sts")
end = time.monotonic() + 40
while len(seen) < wanted and time.monotonic() < end:
    sts.get_caller_identity()
    key = session.get_credentials().get_frozen_credentials().access_key
    if key not in seen:
        seen.append(key)
        print(key, flush=True)
    time.sleep(0.1)
sys.exit(0 if len(seen) >= wanted else "the credentials were never renewed")
