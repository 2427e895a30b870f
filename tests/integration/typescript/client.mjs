// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Calls an MCP server with the official TypeScript SDK and prints, as JSON, what
// a program sees.
//
//   node client.mjs v1 URL       @modelcontextprotocol/sdk: revisions with sessions
//   node client.mjs v2 URL       @modelcontextprotocol/client: 2026-07-28
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as TransportV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { Client as ClientV2, StreamableHTTPClientTransport as TransportV2 } from '@modelcontextprotocol/client';

const [family, url] = process.argv.slice(2);
const info = { name: `typescript-${family}`, version: '1' };
const client = family === 'v2'
  ? new ClientV2(info, { versionNegotiation: { mode: { pin: '2026-07-28' } } })
  : new ClientV1(info);
const transport = family === 'v2' ? new TransportV2(new URL(url)) : new TransportV1(new URL(url));

const seen = { background: [] };
client.onerror = (error) => seen.background.push(String(error.message));

async function outcome(action) {
  try {
    return { result: await action() };
  } catch (error) {
    return { error: String(error.message) };
  }
}

function call(name, args) {
  return outcome(async () => {
    const { content, structuredContent, isError } = await client.callTool({ name, arguments: args });
    return { content, structuredContent, isError: isError ?? false };
  });
}

seen.connect = await outcome(async () => {
  await client.connect(transport);
  return client.getServerVersion().name;
});
if (!seen.connect.error) {
  seen.tools = await outcome(async () => (await client.listTools()).tools.map((tool) => tool.name).sort());
  seen.echo = await call('echo', { text: 'grüße "\u0001\u{1F600}' });
  seen.fail = await call('fail', { text: 'x' });
  seen.reverse = await call('reverse', { text: 'x' });
  await client.close();
}
console.log(JSON.stringify(seen));
process.exit(0);
