// Verifies the cases of signature_differential.py with Stripe's library for Node.js, as a webhook on Express would:
// the raw body as a Buffer, the header as the text that Node's HTTP server makes of it, the clock at the case's time.
// Reads one case per line, answers each with `accept` or `refuse`.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const Stripe = createRequire(`${process.env.NODE_MODULES}/`)('stripe');
const { signature } = new Stripe('sk_test_nobody').webhooks;
const TOLERANCE_SECONDS = 300;

function accepts({ header, body, secrets, now }) {
    const text = header === null ? undefined : Buffer.from(header, 'base64').toString('latin1');
    return secrets.some((secret) => {
        try {
            return signature.verifyHeader(Buffer.from(body, 'base64'), text, secret, TOLERANCE_SECONDS, undefined, now * 1000);
        } catch {
            return false;
        }
    });
}

for await (const line of createInterface({ input: process.stdin })) {
    console.log(accepts(JSON.parse(line)) ? 'accept' : 'refuse');
}
