// Calls a pinnersage server, or Envoy before servers, over gRPC. The server tells its
// methods by reflection, so nothing but this file is needed:
//
//   k6 run --no-usage-report -e SCENARIO=step -e RATE=500 recommend.js
//
// SCENARIO  smoke    20 calls one after the other, and a look at each answer
//           steady   RATE calls a second for DURATION
//           step     a quarter, half, three quarters and all of RATE, DURATION each
//           spike    a fifth of RATE, five times that at once, and back, DURATION each
//           batch    RATE calls a second of BatchRecommend, with BATCH users each
//           cold-users  as steady, for users without a profile, another in every call
//           closed   VUS callers, each as fast as it is answered: finds the peak
// TARGET    host:port
// USERS     ids are drawn from 1 to USERS, id n as often as 1/n (Zipf)
// MAX_VUS   most calls under way, each on a connection of its own; as many as the rate
//           brings in a second. What is due beyond that is dropped and counted.
// LIMIT, MEDOIDS  as in the request; 0 is the server's default
// FORMAT    optional: COLUMNS, for candidates as lists in place of a message each
// DEADLINE  of a call, as grpc-timeout
// METADATA  a JSON object, such as {"x-pinnersage-stage": "canary"}
// MAX_FAILED, P99_MS  optional: the share of calls that may fail (with -e MAX_FAILED=0,
//           none) and the 99th percentile of accepted calls; k6 exits with 99 otherwise
// SUMMARY   optional: a file for the figures, as JSON
import { check } from 'k6';
import { Counter, Rate } from 'k6/metrics';
import exec from 'k6/execution';
import grpc from 'k6/net/grpc';

const text = (name, otherwise) => __ENV[name] || otherwise;
const number = (name, otherwise) => Number(text(name, otherwise));

const SCENARIO = text('SCENARIO', 'smoke');
const TARGET = text('TARGET', '127.0.0.1:50051');
const RATE = number('RATE', 200);
const DURATION = text('DURATION', '30s');
const USERS = number('USERS', 300);
const BATCH = number('BATCH', 10);
const VUS = number('VUS', 8);
const MAX_VUS = number('MAX_VUS', Math.max(50, RATE));
const FORMAT = text('FORMAT', '');
const REQUEST = {
  limit: number('LIMIT', 0),
  medoids: number('MEDOIDS', 0),
  ...(FORMAT && { response_format: `RESPONSE_FORMAT_${FORMAT}` }),
};
const PARAMS = {
  timeout: text('DEADLINE', '1s'),
  metadata: JSON.parse(text('METADATA', '{}')),
  // Answers are only decoded where somebody looks at them: k6 shares the machine.
  discardResponseMessage: SCENARIO !== 'smoke',
};

const SERVICE = 'pinnersage.v1.RecommendationService';
const METHOD = `${SERVICE}/${SCENARIO === 'batch' ? 'BatchRecommend' : 'Recommend'}`;
const ACCEPTED = 'grpc_req_duration{status:0}';
// By their numbers.
const STATUSES = [
  'OK', 'CANCELLED', 'UNKNOWN', 'INVALID_ARGUMENT', 'DEADLINE_EXCEEDED', 'NOT_FOUND',
  'ALREADY_EXISTS', 'PERMISSION_DENIED', 'RESOURCE_EXHAUSTED', 'FAILED_PRECONDITION',
  'ABORTED', 'OUT_OF_RANGE', 'UNIMPLEMENTED', 'INTERNAL', 'UNAVAILABLE', 'DATA_LOSS',
  'UNAUTHENTICATED',
];
const counters = STATUSES.map((status) => new Counter(`grpc_status_${status}`));
const failed = new Rate('failed_calls');

// Open loop: calls begin when they are due, however slow the answers are, as long as
// fewer than MAX_VUS are under way.
const open = (rate, stages) => ({
  executor: 'ramping-arrival-rate',
  startRate: rate,
  timeUnit: '1s',
  stages,
  preAllocatedVUs: Math.min(MAX_VUS, Math.max(8, Math.ceil(RATE / 10))),
  maxVUs: MAX_VUS,
  gracefulStop: '5s',
});
const hold = (target) => ({ target: Math.ceil(target), duration: DURATION });
const jump = (target) => ({ target: Math.ceil(target), duration: '0s' });

const SCENARIOS = {
  smoke: { executor: 'shared-iterations', vus: 1, iterations: 20 },
  steady: open(RATE, [hold(RATE)]),
  step: open(
    Math.ceil(RATE / 4),
    [0.25, 0.5, 0.75, 1].flatMap((part) => [jump(RATE * part), hold(RATE * part)]),
  ),
  spike: open(
    Math.ceil(RATE / 5),
    [0.2, 1, 0.2].flatMap((part) => [jump(RATE * part), hold(RATE * part)]),
  ),
  batch: open(RATE, [hold(RATE)]),
  'cold-users': open(RATE, [hold(RATE)]),
  closed: { executor: 'constant-vus', vus: VUS, duration: DURATION },
};
if (!(SCENARIO in SCENARIOS)) {
  throw new Error(`SCENARIO is one of ${Object.keys(SCENARIOS).join(', ')}`);
}

export const options = {
  scenarios: { [SCENARIO]: SCENARIOS[SCENARIO] },
  summaryTrendStats: ['avg', 'min', 'med', 'p(95)', 'p(99)', 'p(99.9)', 'max'],
  thresholds: {
    // The first always holds; naming the series keeps it in the summary.
    [ACCEPTED]: ['min>=0'].concat(__ENV.P99_MS ? [`p(99)<${__ENV.P99_MS}`] : []),
    failed_calls: __ENV.MAX_FAILED ? [`rate<=${__ENV.MAX_FAILED}`] : [],
  },
};

const client = new grpc.Client();
let connected = false;

// USERS to the power of an even draw is log-uniform: as good as Zipf's law with
// exponent 1, without a table.
const known = () => Math.floor(Math.pow(USERS + 1, Math.random()));
const unknown = () => 1e12 + exec.scenario.iterationInTest;
const one = () => ({ ...REQUEST, user_id: String(SCENARIO === 'cold-users' ? unknown() : known()) });

const pins = ({ candidates, columns }) => (columns ? columns.pinIds : candidates);

const call = () => {
  try {
    if (!connected) client.connect(TARGET, { plaintext: true, reflect: true });
    connected = true;
  } catch (error) {
    // k6 would write this down and end with success.
    return { status: grpc.StatusUnavailable, error };
  }
  const request = SCENARIO === 'batch' ? { requests: Array.from({ length: BATCH }, one) } : one();
  return client.invoke(METHOD, request, PARAMS);
};

export default function () {
  const response = call();
  counters[Number(response.status)].add(1);
  failed.add(response.status !== grpc.StatusOK);
  if (SCENARIO === 'smoke') {
    check(response, {
      'as many candidates as asked for': (r) =>
        r.message && pins(r.message).length === (REQUEST.limit || 400),
      'versions are told': (r) => r.message && r.message.catalogVersion && r.message.profileVersion,
    });
  }
}

export function handleSummary({ metrics, state }) {
  const values = (name) => (metrics[name] ? metrics[name].values : {});
  const statuses = {};
  for (const status of STATUSES) {
    const { count } = values(`grpc_status_${status}`);
    if (count) statuses[status] = count;
  }
  const figures = {
    scenario: SCENARIO,
    seconds: state.testRunDurationMs / 1000,
    statuses,
    accepted_ms: values(ACCEPTED),
    all_ms: values('grpc_req_duration'),
    // Calls that were due and not made, for want of virtual users.
    dropped: values('dropped_iterations').count || 0,
    failed_checks: values('checks').fails || 0,
  };
  const json = `${JSON.stringify(figures, null, 2)}\n`;
  return __ENV.SUMMARY ? { [__ENV.SUMMARY]: json } : { stdout: json };
}
