// The same program as whoami.py, with the AWS SDK for JavaScript v3 as it comes from npm.
import { GetRoleCommand, IAMClient } from "@aws-sdk/client-iam";
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";

const other = process.argv[2];
const me = (await new STSClient({}).send(new GetCallerIdentityCommand({}))).Arn;
const iam = new IAMClient({});
const own = await iam.send(new GetRoleCommand({ RoleName: me.split("/")[1] }));
console.log(`JavaScript is ${me}`);
console.log(`  its own role: ${own.Role.RoleName}`);
try {
  await iam.send(new GetRoleCommand({ RoleName: other }));
  console.log(`  the role ${other}: readable, which its policy does not allow`);
  process.exitCode = 1;
} catch (fault) {
  console.log(`  the role ${other}: ${fault.name}`);
}
