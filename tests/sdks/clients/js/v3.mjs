// The default credentials chain of the SDK for JavaScript v3: a line in ("load" or "again"), a line of JSON out.
import { createInterface } from "node:readline";
import { fromNodeProviderChain } from "@aws-sdk/credential-providers";

let chain;
for await (const line of createInterface({ input: process.stdin })) {
  if (line === "load") chain = fromNodeProviderChain();
  try {
    console.log(JSON.stringify({ key: (await chain()).accessKeyId }));
  } catch (error) {
    console.log(JSON.stringify({ error: `${error.name}: ${error.message}` }));
  }
}
