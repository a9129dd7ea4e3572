// What tRPC's own clients make of a server's answers: versions 10 and 11, one call a request and
// several, with superjson and without. Prints a JSON object: name of the client -> what it saw.
//
//   node trpc_clients.mjs FOLDER URL KEY MASTER     the packages are in FOLDER/v10 and FOLDER/v11

import { createRequire } from "node:module";

const [folder, url, key, master] = process.argv.slice(2);
const need = (version, name) => createRequire(`${folder}/${version}/`)(name);
const packages = { v10: need("v10", "@trpc/client"), v11: need("v11", "@trpc/client") };
const superjson = need("v11", "superjson").default ?? need("v11", "superjson");

const QUALIFY = {
  taskType: "qualification",
  messages: [{ role: "user", content: "Score: Chez Paul" }],
  options: { temperature: 0.3, maxTokens: undefined },
};

function clientOf(version, isBatch, transformer, token) {
  const { createTRPCUntypedClient, httpLink, httpBatchLink } = packages[version];
  const link = { url: url + "/api/trpc", headers: { authorization: `Bearer ${token}` } };
  const inLink = version === "v11" && transformer ? { transformer } : {};
  const inClient = version === "v10" && transformer ? { transformer } : {};
  const links = [(isBatch ? httpBatchLink : httpLink)({ ...link, ...inLink })];
  return createTRPCUntypedClient({ links, ...inClient });
}

// An answer as it is; an error as who catches it sees it.
async function seen(promise) {
  try {
    return await promise;
  } catch (error) {
    return {
      name: error.name,
      message: error.message,
      number: error.shape?.code ?? null,
      code: error.data?.code ?? null,
      status: error.data?.httpStatus ?? null,
      path: error.data?.path ?? null,
      param: error.data?.param ?? null,
    };
  }
}

async function walk(version, isBatch, transformer) {
  const client = clientOf(version, isBatch, transformer, key);
  const operator = clientOf(version, isBatch, transformer, master);
  const stranger = clientOf(version, isBatch, transformer, "sk-wrong");
  const asked = {
    complete: client.mutation("llm.complete", QUALIFY),
    batch: client.mutation("llm.batchComplete", { requests: [QUALIFY, QUALIFY] }),
    unknownTask: client.mutation("llm.complete", { ...QUALIFY, taskType: "sculpture" }),
    forbidden: client.mutation("llmAnalytics.cacheInvalidate", {}),
    unknown: client.mutation("llm.nothing", {}),
    summary: client.query("llmAnalytics.summary", { days: 30 }),
    summaryOfAll: client.query("llmAnalytics.summary"),
    wrongDays: client.query("llmAnalytics.summary", { days: 0 }),
    forecast: client.query("llmAnalytics.forecast", { horizonDays: 3 }),
    cacheMetrics: client.query("llmAnalytics.cacheMetrics"),
    circuits: client.query("llmAnalytics.circuitBreakerStatus", undefined),
    wrongKind: client.query("llm.complete", QUALIFY),
    stranger: stranger.query("llmAnalytics.cacheMetrics"),
  };
  const found = {};
  for (const [name, promise] of Object.entries(asked)) found[name] = seen(promise);
  for (const name of Object.keys(found)) found[name] = await found[name];
  found.reset = await seen(operator.mutation("llmAnalytics.circuitBreakerReset"));
  found.invalidated = await seen(
    operator.mutation("llmAnalytics.cacheInvalidate", { pattern: undefined }),
  );
  return found;
}

const all = {};
for (const version of ["v10", "v11"])
  for (const isBatch of [false, true])
    for (const transformer of [null, superjson]) {
      const name = [version, isBatch ? "batch" : "single", transformer ? "superjson" : "plain"];
      all[name.join(" ")] = await walk(version, isBatch, transformer);
    }
console.log(JSON.stringify(all));
