"""The SDK for C++, as it is inside pyarrow: a line in ("load" or "again"), a line of JSON out.

It shows no keys, so it lists a bucket of an S3 that is here: the key is the one that the request is signed with. Where
it has found none, the SDK sends the request unsigned.
"""

import json
import os
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pyarrow import fs

NOTHING = b"""<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<Name>bucket</Name><Prefix></Prefix><KeyCount>0</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>
</ListBucketResult>"""
signed_with: list[str] = []


class Bucket(BaseHTTPRequestHandler):
    """Lists nothing, and notes the key of each request."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer a listing."""
        found = re.search(r"Credential=([^/]*)/", self.headers.get("authorization", ""))
        signed_with.append(found[1] if found else "")
        self.send_response(200)
        self.send_header("content-type", "application/xml")
        self.send_header("content-length", str(len(NOTHING)))
        self.end_headers()
        self.wfile.write(NOTHING)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


server = ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
threading.Thread(target=server.serve_forever, daemon=True).start()
chain = None
for line in sys.stdin:
    signed_with.clear()
    try:
        if line.strip() == "load":
            chain = fs.S3FileSystem(
                endpoint_override=f"127.0.0.1:{server.server_port}", scheme="http", region="us-west-2"
            )
        chain.get_file_info(fs.FileSelector("bucket"))
        keys = sorted(set(signed_with))
        answer = {"key": keys[0]} if keys != [""] else {"error": "the request is not signed"}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
os._exit(0)  # at its ordinary exit this SDK may hang
