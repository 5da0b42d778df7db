"""The default credentials chain of the AWS Common Runtime: a line in ("load" or "again"), a line of JSON out."""

import json
import sys

from awscrt import auth, io

io.init_logging(io.LogLevel.Warn, "stderr")
group = io.EventLoopGroup(1)
bootstrap = io.ClientBootstrap(group, io.DefaultHostResolver(group))
chain = None
for line in sys.stdin:
    if line.strip() == "load":
        chain = auth.AwsCredentialsProvider.new_default_chain(bootstrap)
    try:
        answer = {"key": chain.get_credentials().result(30).access_key_id}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
