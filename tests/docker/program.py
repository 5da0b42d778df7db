"""A program of a container: by boto3's default chain it looks for credentials, again and again, and prints what it has.

A new session each time, as programs that start often have them: what boto3 keeps is boto3's affair.
"""

import json
import os
import time

import boto3

while True:
    found = boto3.session.Session().get_credentials()
    said = found and found.get_frozen_credentials()._asdict()
    print(json.dumps(said or {}), flush=True)
    time.sleep(float(os.environ["PAUSE"]))
