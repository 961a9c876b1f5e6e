// A user in a real browser: sign-in, Checkout with a declined card and then 3-D Secure, and the Customer Portal.
//
// Proves that the pages work together: an error is shown and can be corrected, access changes without signing in again,
// a cancellation in the Portal is seen on return, and no page asks for anything outside of this machine.
//
// usage: dev.py BINARY node browser.mjs DIRECTORY-FOR-SCREENSHOTS (TOLLGATE_URL comes from dev.py)

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const { chromium } = createRequire(join(process.env.NODE_MODULES, "x.js"))("playwright-core");

const DECLINED = "4000000000000002";
const WITH_3D_SECURE = "4000002500003155";
const QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const app = process.env.TOLLGATE_URL;
const screenshots = process.argv[2];

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: QUIET });
const page = await browser.newPage();
page.setDefaultTimeout(15_000);
const complaints = [];
page.on("pageerror", (error) => complaints.push(`script error: ${error.message}`));
page.on("console", (message) => {
  if (/Content Security Policy/.test(message.text())) complaints.push(message.text());
});
await page.route(/^https?:\/\/(?!localhost[:/]|127\.0\.0\.1[:/])/, (route) => {
  complaints.push(`asks for ${route.request().url()}`);
  return route.abort();
});

let step = "";
async function doing(what, action) {
  step = what;
  await action();
  console.log(`- ${what}`);
}

/** Waits until the element's text matches, as a user would look at it. */
async function shows(selector, pattern) {
  const text = () => page.locator(selector).innerText();
  const deadline = Date.now() + 15_000;
  while (!pattern.test(await text())) {
    if (Date.now() > deadline) assert.fail(`${selector} shows ${JSON.stringify(await text())}, not ${pattern}`);
    await page.waitForTimeout(50);
  }
}

async function fillCard(number) {
  await page.fill("#card-number", number);
  await page.fill("#card-expiry", "12 / 34");
  await page.fill("#card-cvc", "123");
  await page.click("#pay");
}

try {
  await doing("Dora signs in and has no access", async () => {
    await page.goto(app);
    await page.fill("#user", "dora");
    await page.click("#sign-in");
    await shows("#access", /^inactive$/i);
  });
  await doing("she is sent to Checkout", async () => {
    await page.click("#subscribe-pro-month");
    await page.waitForURL(/\/c\/pay\/cs_/);
    await shows("body", /Pro/);
  });
  await doing("a declined card is explained, and nothing is given", async () => {
    await fillCard(DECLINED);
    await shows("#error", /declined/i);
  });
  await doing("a card with 3-D Secure asks for the challenge", async () => {
    await fillCard(WITH_3D_SECURE);
    await page.click("#authentication-complete");
    await page.waitForURL((url) => url.origin === new URL(app).origin);
  });
  await doing("back on the page she has access, still signed in", async () => {
    await shows("#access", /^(trialing|active)$/i);
    await shows("#plan", /pro/i);
  });
  await doing("in the Portal she cancels at the period's end", async () => {
    await page.click("#manage");
    await page.waitForURL(/\/p\/session\//);
    await shows("#status", /trialing|active/);
    await page.click("#cancel-subscription");
    await shows("#next", /^Cancels on /);
  });
  await doing("back on the page she sees when it ends, and has access until then", async () => {
    await page.click("#return");
    await page.waitForURL((url) => url.origin === new URL(app).origin);
    await shows("#access", /^(trialing|active)$/i);
    await shows("#period-end-label", /^ends on$/i);
  });
  assert.deepEqual(complaints, []);
} catch (error) {
  mkdirSync(screenshots, { recursive: true });
  const picture = join(screenshots, "browser.png");
  await page.screenshot({ path: picture, fullPage: true });
  console.log(`failed while: ${step}, at ${page.url()}\n${error.message}\nscreenshot: ${picture}`);
  console.log(`the page shows:\n${(await page.locator("body").innerText()).slice(0, 1500)}`);
  if (complaints.length) console.log(`complaints:\n${complaints.join("\n")}`);
  process.exitCode = 1;
} finally {
  await browser.close();
}
