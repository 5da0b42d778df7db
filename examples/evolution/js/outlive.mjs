// The same as outlive.py with the AWS SDK for JavaScript v3.
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";

const wanted = Number(process.argv[2]);
const sts = new STSClient({});
const seen = new Set();
const end = Date.now() + 40_000;
while (seen.size < wanted && Date.now() < end) {
  await sts.send(new GetCallerIdentityCommand({}));
  seen.add((await sts.config.credentials()).accessKeyId);
  await new Promise((resolve) => setTimeout(resolve, 100));
}
console.log([...seen].join("\n"));
process.exitCode = seen.size >= wanted ? 0 : 1;
