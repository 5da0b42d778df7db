"""STS on port 4501 of the namespace: AssumeRole, whose key says which role it is of, and GetCallerIdentity, which says
which key it was asked with. Signatures are not looked at.

It prints a line of JSON, ``"serving"``, and serves until it is killed.
"""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

from sdks.street import key_of

PORT = 4501
# STS API Reference: GetCallerIdentity and AssumeRole, sample responses.
IDENTITY = """<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
<Arn>arn:aws:sts::123456789012:assumed-role/r/s</Arn><UserId>{key}</UserId><Account>123456789012</Account>
</GetCallerIdentityResult><ResponseMetadata><RequestId>id-of-request</RequestId></ResponseMetadata>
</GetCallerIdentityResponse>"""
ANSWER = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<AssumedRoleUser><Arn>{session}</Arn><AssumedRoleId>AROA:{name}</AssumedRoleId></AssumedRoleUser>
<Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY</SecretAccessKey>
<SessionToken>{token}</SessionToken><Expiration>{ends}</Expiration></Credentials></AssumeRoleResult>
<ResponseMetadata><RequestId>id-of-request</RequestId></ResponseMetadata></AssumeRoleResponse>"""


class Sts(BaseHTTPRequestHandler):
    """HTTP/1.1 with XML."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Give any role to anybody."""
        asked = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        if asked["Action"] == ["GetCallerIdentity"]:
            key = self.headers["authorization"].partition("Credential=")[2].partition("/")[0]
            self.answer(IDENTITY.format(key=key).encode())
            return
        role, name = asked["RoleArn"][0], asked["RoleSessionName"][0]
        ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + int(asked["DurationSeconds"][0])))
        session = f"{role.replace(':iam:', ':sts:').replace(':role/', ':assumed-role/')}/{name}"
        self.answer(ANSWER.format(session=session, name=name, key=key_of(role), token="T" * 900, ends=ends).encode())

    def answer(self, body: bytes) -> None:
        """Send one answer."""
        self.send_response(200)
        self.send_header("content-type", "text/xml")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("0.0.0.0", PORT), Sts)
    print(json.dumps("serving"), flush=True)
    sys.exit(server.serve_forever())
