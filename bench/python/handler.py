"""What `webhook` does at the least, in Python with boto3, for comparison: verify the signature, read the event's and the user's
items, write both. `start.py` runs it with AWS's own runtime client (`python -m awslambdaric handler.handle`)."""

import hashlib
import hmac
import json
import os
import time

import boto3

TABLE = os.environ["TABLE_NAME"]
SECRET = os.environ["STRIPE_WEBHOOK_SECRET"].split(",")[0].encode()
dynamodb = boto3.client("dynamodb")


def handle(request, _):
    body = request["body"]
    fields = dict(field.split("=", 1) for field in request["headers"]["stripe-signature"].split(","))
    expected = hmac.new(SECRET, f"{fields['t']}.{body}".encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, fields["v1"]) or abs(time.time() - int(fields["t"])) > 300:
        return {"statusCode": 400, "body": "{}"}
    event = json.loads(body)
    keys = [
        {"pk": {"S": f"PYTHON#{event['id']}"}, "sk": {"S": "EVENT"}},
        {"pk": {"S": f"PYTHON#{event['data']['object']['customer']}"}, "sk": {"S": "ACCOUNT"}},
    ]
    found = dynamodb.batch_get_item(RequestItems={TABLE: {"Keys": keys, "ConsistentRead": True}})
    known = len(found["Responses"][TABLE])
    puts = [{"Put": {"TableName": TABLE, "Item": {**key, "known": {"N": str(known)}}}} for key in keys]
    dynamodb.transact_write_items(TransactItems=puts)
    return {"statusCode": 200, "body": json.dumps({"outcome": "applied"})}
