// What `webhook` does at the least, in Node.js with the AWS SDK, for comparison: verify the signature, read the event's and the
// user's items, write both. The loop at the end asks Lambda's runtime API for events, as AWS's runtime does.
import { createHmac, timingSafeEqual } from "node:crypto";
import { BatchGetItemCommand, DynamoDBClient, TransactWriteItemsCommand } from "@aws-sdk/client-dynamodb";

const TABLE = process.env.TABLE_NAME;
const SECRET = process.env.STRIPE_WEBHOOK_SECRET.split(",")[0];
const dynamodb = new DynamoDBClient({});

async function handle(request) {
  const { body } = request;
  const fields = Object.fromEntries(request.headers["stripe-signature"].split(",").map((field) => field.split("=")));
  const expected = createHmac("sha256", SECRET).update(`${fields.t}.${body}`).digest();
  const shown = Buffer.from(fields.v1, "hex");
  if (shown.length !== expected.length || !timingSafeEqual(shown, expected) || Math.abs(Date.now() / 1000 - fields.t) > 300) {
    return { statusCode: 400, body: "{}" };
  }
  const event = JSON.parse(body);
  const keys = [
    { pk: { S: `NODE#${event.id}` }, sk: { S: "EVENT" } },
    { pk: { S: `NODE#${event.data.object.customer}` }, sk: { S: "ACCOUNT" } },
  ];
  const found = await dynamodb.send(new BatchGetItemCommand({ RequestItems: { [TABLE]: { Keys: keys, ConsistentRead: true } } }));
  const known = { N: String(found.Responses[TABLE].length) };
  const puts = keys.map((key) => ({ Put: { TableName: TABLE, Item: { ...key, known } } }));
  await dynamodb.send(new TransactWriteItemsCommand({ TransactItems: puts }));
  return { statusCode: 200, body: JSON.stringify({ outcome: "applied" }) };
}

const api = `http://${process.env.AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/invocation`;
for (;;) {
  const next = await fetch(`${api}/next`);
  const id = next.headers.get("lambda-runtime-aws-request-id");
  const response = JSON.stringify(await handle(await next.json()));
  await (await fetch(`${api}/${id}/response`, { method: "POST", body: response })).text();
}
