// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Serves DynamoDB's API on a free port of 127.0.0.1, in memory, with the tables that the arguments name (key: "key"),
// and prints its URL. It ends with its standard input.
"use strict";

const dynalite = require("dynalite");

const server = dynalite({ createTableMs: 0, deleteTableMs: 0 });

// Any credentials will do, but there have to be some.
const headers = {
  "Content-Type": "application/x-amz-json-1.0",
  "X-Amz-Date": "20260101T000000Z",
  Authorization: "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0",
};

async function createTable(url, name) {
  const response = await fetch(url, {
    method: "POST",
    headers: { ...headers, "X-Amz-Target": "DynamoDB_20120810.CreateTable" },
    body: JSON.stringify({
      TableName: name,
      AttributeDefinitions: [{ AttributeName: "key", AttributeType: "S" }],
      KeySchema: [{ AttributeName: "key", KeyType: "HASH" }],
      BillingMode: "PAY_PER_REQUEST",
    }),
  });
  if (!response.ok) throw new Error(`table ${name}: ${await response.text()}`);
}

server.listen(0, "127.0.0.1", async (error) => {
  if (error) throw error;
  const url = `http://127.0.0.1:${server.address().port}`;
  for (const name of process.argv.slice(2)) await createTable(url, name);
  console.log(url);
});

process.stdin.on("end", () => process.exit(0)).resume();
