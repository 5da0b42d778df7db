// The default credentials chain of the SDK for JavaScript v2: a line in ("load" or "again"), a line of JSON out.
process.env.AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE = "1";
const { createInterface } = require("node:readline");
const AWS = require("aws-sdk");

let found;
const resolve = () =>
  new Promise((done, fail) => new AWS.CredentialProviderChain().resolve((error, keys) => (error ? fail(error) : done(keys))));

(async () => {
  for await (const line of createInterface({ input: process.stdin })) {
    try {
      if (line === "load") found = await resolve();
      else await found.getPromise();
      console.log(JSON.stringify({ key: found.accessKeyId }));
    } catch (error) {
      console.log(JSON.stringify({ error: `${error.code || error.name}: ${error.message}` }));
    }
  }
})();
