// EKS Auth by the AWS SDK for JavaScript's own client: eksauth.mjs CLUSTER TOKEN-FILE. Prints one JSON object.
// (v2: the registry that tests install from may lack v3's client of this one service.)
import { readFileSync } from "node:fs";
import AWS from "aws-sdk";

const client = new AWS.EKSAuth({ endpoint: process.env.AWS_ENDPOINT_URL, retryDelayOptions: { base: 1 } });
try {
  const out = await client
    .assumeRoleForPodIdentity({ clusterName: process.argv[2], token: readFileSync(process.argv[3], "utf8") })
    .promise();
  console.log(
    JSON.stringify({
      arn: out.assumedRoleUser.arn,
      association: out.podIdentityAssociation.associationId,
      subject: out.subject.serviceAccount,
      expires: out.credentials.expiration.getTime() / 1000,
    }),
  );
} catch (fault) {
  console.log(JSON.stringify({ code: fault.code, status: fault.statusCode, retryable: fault.retryable }));
}
