// The small page of the local stack. It talks to Tollgate's public API as any frontend does; only the
// sign-in is the local stack's own. The token stays in this tab.
'use strict';

const byId = (id) => document.getElementById(id);

const POLL_EVERY_MS = 500;
const POLL_AT_MOST_MS = 30_000;

let me = null;

// --- Session ---------------------------------------------------------------------------------------

function session() {
  const user = sessionStorage.getItem('user');
  return user ? { user, token: sessionStorage.getItem('token') } : null;
}

async function signIn(user) {
  const response = await fetch('/local/sign-in', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ user }),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error_description || 'The sign-in failed.');
  sessionStorage.setItem('user', user);
  sessionStorage.setItem('token', answer.access_token);
}

function signOut() {
  sessionStorage.clear();
  me = null;
  say('');
  render();
}

// --- API -------------------------------------------------------------------------------------------

async function send(method, path, body) {
  const headers = { authorization: `Bearer ${session().token}` };
  if (body !== undefined) headers['content-type'] = 'application/json';
  return fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
}

// A token that is not taken any more is renewed once without asking: the user is still here.
async function call(method, path, body) {
  let response = await send(method, path, body);
  if (response.status === 401) {
    await signIn(session().user);
    response = await send(method, path, body);
  }
  const text = await response.text();
  let answer = null;
  try {
    answer = text ? JSON.parse(text) : null;
  } catch {
    // Not JSON: the status says what there is to say.
  }
  if (!response.ok) {
    throw new Error((answer && (answer.detail || answer.title || answer.message)) || `The server answered ${response.status}.`);
  }
  return answer;
}

async function loadMe() {
  me = await call('GET', '/api/user/me');
}

// --- What the buttons do ---------------------------------------------------------------------------

async function checkout(wish) {
  const here = location.origin + '/';
  // To poll for the change after the return, what there is now must be remembered.
  sessionStorage.setItem('before', standing());
  const { url } = await call('POST', '/api/billing/checkout-session', {
    ...wish,
    success_url: `${here}?checkout=success`,
    cancel_url: `${here}?checkout=canceled`,
  });
  location.assign(url);
}

async function manage() {
  const { url } = await call('POST', '/api/billing/portal-session', { return_url: `${location.origin}/?portal=returned` });
  location.assign(url);
}

// Runs an action of a button, which cannot be pressed again meanwhile.
async function act(button, action) {
  button.disabled = true;
  button.setAttribute('aria-busy', 'true');
  try {
    say('');
    await action();
  } catch (error) {
    say(error.message, 'problem');
  } finally {
    button.disabled = false;
    button.removeAttribute('aria-busy');
  }
}

// --- After Checkout --------------------------------------------------------------------------------

function standing() {
  return me ? JSON.stringify([me.access, me.plan, me.tokens && me.tokens.balance]) : '';
}

async function afterReturn() {
  const parameters = new URLSearchParams(location.search);
  const outcome = parameters.get('checkout');
  history.replaceState(null, '', location.pathname);
  if (outcome === 'canceled') say('Nothing was bought.');
  if (outcome !== 'success') return;
  const before = sessionStorage.getItem('before');
  say('Thank you. Waiting for Stripe to confirm the payment…');
  const until = Date.now() + POLL_AT_MOST_MS;
  while (standing() === before && Date.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, POLL_EVERY_MS));
    await loadMe();
    renderAccount();
  }
  sessionStorage.removeItem('before');
  const confirmed = standing() !== before;
  say(confirmed ? 'Your payment is confirmed.' : 'The payment is not confirmed yet. Reload this page in a moment.', confirmed ? '' : 'problem');
  await loadPlans();
}

// --- Rendering -------------------------------------------------------------------------------------

function say(text, kind = '') {
  const message = byId('message');
  message.textContent = text;
  message.dataset.kind = kind;
  message.hidden = !text;
}

function day(timestamp) {
  return timestamp ? new Date(timestamp).toLocaleDateString(undefined, { dateStyle: 'medium' }) : '–';
}

function money(amount, currency) {
  const format = new Intl.NumberFormat(undefined, { style: 'currency', currency: currency.toUpperCase() });
  const digits = format.resolvedOptions().maximumFractionDigits;
  return format.format(amount / 10 ** digits);
}

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function render() {
  const user = session();
  byId('sign-in-section').hidden = Boolean(user);
  byId('signed-in').hidden = !user;
  byId('account-section').hidden = !me;
  byId('plans-section').hidden = !user;
  byId('signed-in-user').textContent = user ? user.user : '';
  if (me) renderAccount();
}

function renderAccount() {
  const access = byId('access');
  access.textContent = me.access;
  access.dataset.access = me.access;
  byId('plan').textContent = me.plan || 'free';
  const [label, date] = periodEnd();
  byId('period-end-label').textContent = label;
  byId('period-end').textContent = day(date);
  byId('tokens').textContent = ((me.tokens && me.tokens.balance) || 0).toLocaleString();
  byId('manage').hidden = !me.stripe_customer_id;
}

function periodEnd() {
  if (me.access === 'grace') return ['Payment failed; access until', me.grace_until];
  if (me.access === 'inactive') return ['Paid until', me.current_period_end];
  if (me.cancel_at) return ['Ends on', me.cancel_at];
  if (me.access === 'trialing') return ['Trial until', me.trial_end];
  return ['Renews on', me.current_period_end];
}

async function loadPlans() {
  const { currency, free, plans, packs } = await call('GET', '/api/billing/plans');
  const cards = [freeCard(free), ...plans.map((plan) => planCard(plan, currency)), ...packs.map((pack) => packCard(pack, currency))];
  byId('plans').replaceChildren(...cards);
}

function freeCard(free) {
  const isCurrent = Boolean(me) && !me.plan;
  return card({ title: free.name, isCurrent, facts: features(free), actions: [] });
}

function planCard(plan, currency) {
  const facts = [
    plan.description,
    plan.trial_days && `${plan.trial_days} days of trial`,
    plan.tokens_per_period && `${plan.tokens_per_period.toLocaleString()} tokens a period`,
    ...features(plan),
  ];
  const actions = plan.prices.map((price) => {
    const label = `${money(price.amounts[currency], currency)} a ${price.interval}`;
    const button = buyButton(`subscribe-${plan.key}-${price.interval}`, label, { plan: plan.key, interval: price.interval });
    button.setAttribute('aria-label', `Subscribe to ${plan.name}, ${label}`);
    return button;
  });
  return card({ title: plan.name, isCurrent: Boolean(me) && me.plan === plan.key, facts, actions });
}

function packCard(pack, currency) {
  const each = pack.interval ? ` a ${pack.interval}` : '';
  const label = `${money(pack.amounts[currency], currency)}${each}`;
  const button = buyButton(`buy-${pack.key}`, label, { pack: pack.key });
  button.setAttribute('aria-label', `Buy ${pack.name}, ${label}`);
  return card({ title: pack.name, isCurrent: false, facts: [`${pack.tokens.toLocaleString()} tokens${each}`], actions: [button] });
}

function features(plan) {
  const described = Object.entries(plan.features).map(([name, value]) => {
    if (value === true) return name;
    return value === false ? '' : `${name}: ${value}`;
  });
  return [described.filter(Boolean).join(', ')];
}

function buyButton(id, label, wish) {
  const button = element('button', { id, type: 'button', textContent: label });
  button.addEventListener('click', () => act(button, () => checkout(wish)));
  return button;
}

function card({ title, isCurrent, facts, actions }) {
  const item = element('li', {}, element('h3', { textContent: title }));
  if (isCurrent) {
    item.setAttribute('aria-current', 'true');
    item.append(element('p', { className: 'current', textContent: 'What you have' }));
  }
  item.append(...facts.filter(Boolean).map((fact) => element('p', { textContent: fact })));
  if (actions.length) item.append(element('div', { className: 'actions' }, ...actions));
  return item;
}

// --- Start -----------------------------------------------------------------------------------------

async function open() {
  render();
  if (!session()) return;
  try {
    await loadMe();
    render();
    await loadPlans();
    await afterReturn();
  } catch (error) {
    say(error.message, 'problem');
  }
}

byId('sign-in-form').addEventListener('submit', (event) => {
  event.preventDefault();
  act(byId('sign-in'), async () => {
    await signIn(byId('user').value.trim());
    await open();
  });
});
byId('sign-out').addEventListener('click', signOut);
byId('manage').addEventListener('click', () => act(byId('manage'), manage));
open();
