"""The words of docs/configuration.md: its beginning, its end, and what each field means.

They are kept here and not at the fields: there they would be part of what the server loads. Types,
defaults and bounds are not repeated: `generate_configuration.py` reads them from the types.
"""

from collections.abc import Mapping

HEAD = """\
<!-- Written by docs/generate_configuration.py from the types and docs/configuration_texts.py. -->
# Configuration

One YAML file. Turnout looks for it in this order: `--config FILE`, `$TURNOUT_CONFIG`,
`./config.yaml`, the built-in default. `turnout check` validates it; `config.yaml` in the root of
the repository is an example with every section.

**Values.** Durations are `500ms`, `30s`, `5m`, `1h`, `400d` or a number of seconds; sizes `512KiB`,
`20MiB`, `1GB` or a number of bytes; shares `20%` or `0.2`.

**Environment.** `"${NAME}"` and `"${NAME:-default}"` come from the environment, or from a `.env`
beside the file. They are put in after the YAML is parsed, in values only, so that no variable can
change the structure. A value that is nothing but an unset variable is left out, as if its line
were not there; an empty string is never a credential. A provider whose key is left out so is *off*
and says why at start; so are the routes that only lead to it.

**Faults.** All of them are told at once, each with line, path and, for a misspelt name, a guess:

```text
config.yaml:12: providers.openai.base_ur: unknown field; did you mean "base_url"?
```

**Reload.** Saving the file (or the `.env`) puts it in force at once, as a whole. Requests under way
end on the old one. A file that does not load is reported in the log and in `GET /health`, and
changes nothing. What says *restart* takes one: its old value stays in force until then.

**Everywhere.** `drop_params: true` at the top, beside the sections (default `False`): a request
parameter that a provider can't be told is left out, instead of the request being refused by name.
`providers.*.drop_params` is the same for one provider.

A field is *required*, or has a default, or *none*. What says *comes later* is read and checked
already, and does nothing yet.
"""

INTROS: Mapping[str, str] = {
    "server": "Where Turnout listens.",
    "storage": "Where it keeps its books.",
    "auth": "Who may call.",
    "providers": (
        "Where requests go. The name before the fields is yours. `turnout providers` lists them, "
        "and says why one is off. [providers.md](providers.md) has the presets, and what Azure and "
        "Bedrock need."
    ),
    "models": (
        "Names that callers use. A route is a target, a list of targets, or a mapping with the "
        "fields below."
    ),
    "tasks": (
        "Jobs by name: `x-turnout-task: NAME`, or the model `task/NAME`. The tasks that Turnout "
        "ships are replaced name by name."
    ),
    "pipelines": (
        "Tasks that run one after another for one request to `/api/llm` ([tasks.md](tasks.md)). "
        "The shipped one is replaced by one of its name."
    ),
    "actions": (
        "Tasks of `/api/llm` that a service of yours does ([tasks.md](tasks.md)). The shipped "
        "ones are replaced name by name."
    ),
    "backends": "Services of yours that actions are sent to.",
    "cache": (
        "Answers that are kept ([cache.md](cache.md)). A task, a key and a request may each say "
        "something of their own, in that order."
    ),
    "limits": "What a key may use if it says nothing itself.",
    "retry": "Attempts after a failure.",
    "breaker": "Providers that are left alone for a while.",
    "pricing": (
        "Prices, where the catalogue lacks or misses one. A name is `provider/model`, with `*`; "
        "the longest that fits counts."
    ),
    "ledger": "The books.",
    "alerts": "Who is told that a budget runs out ([alerts.md](alerts.md)).",
    "sinks": (
        "Where each request's usage is sent, beside the books ([sinks.md](sinks.md)). Wants the "
        "extra `google`; a change takes a restart."
    ),
    "telemetry": (
        "What Turnout tells of itself ([observability.md](observability.md)); a change takes a "
        "restart."
    ),
}
"""Section -> what stands above its table."""

TEXTS: Mapping[str, str] = {
    "server.host": "Address to listen on.",
    "server.port": "Port; 0 takes a free one.",
    "server.workers": "Processes that serve. Each has its own breakers and latencies.",
    "server.body_limit": "Largest request body; a larger one is answered 413.",
    "server.drain": "How long a stop waits for answers under way.",
    "server.send_timeout": (
        "How long one write may wait for a client that does not read; then the client is cut."
    ),
    "server.read_timeout": (
        "Time in which a request has to arrive, and a second more for each 16 KiB of its body; "
        "then 408."
    ),
    "server.max_requests": (
        "Requests that a worker serves at a time; one more is a 503 `server_overloaded`."
    ),
    "server.max_lag": "How late the event loop may be before new requests get that 503.",
    "server.access_log": "One JSON line a request on stderr. The ledger has each request anyway.",
    "server.private_providers": (
        "Whether providers made through the API may be at private addresses, if their entry says "
        "`allow_private` ([control-plane-providers.md](control-plane-providers.md)). Providers "
        "of this file may always."
    ),
    "storage.database": (
        "`sqlite:///NAME` is relative to `TURNOUT_HOME`, a fourth slash makes it absolute. "
        "`postgresql://user:password@host/name` wants the extra `postgres`."
    ),
    "storage.redis": (
        "`redis://host:6379/0`: limits, budgets, circuits and revocations are shared by all "
        "processes ([shared-state.md](shared-state.md))."
    ),
    "storage.redis_timeout": (
        "How long a request waits for Redis in all; then its process decides alone."
    ),
    "storage.replicas": (
        "How many machines share them: while Redis is away each process has its part of every "
        "limit."
    ),
    "auth.master_key": (
        "The admin key: may call everything. Made at first start in `TURNOUT_HOME/master_key` if "
        "unset."
    ),
    "auth.encryption_key": (
        "Seals the provider keys that users and the API bring, and what virtual keys are "
        "digested under ([secrets.md](secrets.md)). Every replica needs the same. Made at first "
        "start if unset."
    ),
    "auth.jwt.secret": (
        "Signs the tokens of logins, so every replica needs the same "
        "([identity.md](identity.md)). Made at first start in `TURNOUT_HOME/jwt_secret` if unset."
    ),
    "auth.jwt.expires": "How long a login lasts.",
    "auth.oidc": "Tokens of an identity provider are taken too ([identity.md](identity.md)).",
    "auth.oidc.issuer": (
        "Identity provider whose tokens are taken as well; its discovery document is fetched."
    ),
    "auth.oidc.audience": "What its tokens must be for.",
    "auth.service_keys": "Keys of internal services, sent as `X-Service-Key`.",
    "auth.anonymous": "Callers without a known key are the anonymous user. On loopback only.",
    "providers.*.preset": (
        "A vendor known by name, such as `groq`: fills in `dialect`, `base_url` and `api_key` "
        "where they are left out."
    ),
    "providers.*.dialect": (
        "What it speaks; a preset has one. A provider whose dialect has no adapter yet is off."
    ),
    "providers.*.base_url": "Where its API begins, with `/v1` if it has one.",
    "providers.*.api_key": (
        "Its key. Without the field none is sent, or that of the preset's variable; an unset "
        "variable switches the provider off. With `auth: sigv4` it is `ACCESS:SECRET` or "
        "`ACCESS:SECRET:TOKEN`."
    ),
    "providers.*.api_keys": "Several keys: each is a target of its own, taking turns.",
    "providers.*.auth": (
        "How the key is sent; `sigv4` signs for AWS. If not given, as the vendor or else the "
        "dialect wants it."
    ),
    "providers.*.api_version": (
        "Azure's dated API: with it the URL is `{base_url}/openai/deployments/{model}/…`."
    ),
    "providers.*.region": "AWS's, for Bedrock.",
    "providers.*.drop_params": (
        "Leaves out what the provider can't be told, instead of refusing the request."
    ),
    "providers.*.responses": (
        "Whether it has OpenAI's Responses API. If not given, as the preset knows, or a try tells."
    ),
    "providers.*.model": "The model of a `llamacpp` provider.",
    "providers.*.priority": (
        "Higher is asked first by `POST /api/v1/generate`, where neither an override nor a task "
        "decides."
    ),
    "providers.*.rpm": (
        "Requests a minute it allows: past that the next target is taken, before the provider "
        "says 429."
    ),
    "providers.*.tpm": "Tokens a minute it allows, likewise.",
    "providers.*.timeout.connect": "To a connection.",
    "providers.*.timeout.first_token": "To the first content of a stream.",
    "providers.*.timeout.response": "To a whole answer.",
    "providers.*.timeout.idle": "From content to content of a stream; pings are no content.",
    "providers.*.timeout.total": "In all, with retries.",
    "providers.*.retry": "As the section of that name, for this provider. Comes later.",
    "providers.*.breaker": "As the section of that name, for this provider.",
    "providers.*.headers": "Sent with each request to it.",
    "providers.*.probe": (
        "Time between two looks at the provider's list of models; what they find counts for its "
        "circuits."
    ),
    "providers.*.allow_private": (
        "For providers made through the API "
        "([control-plane-providers.md](control-plane-providers.md)); one of this file may be "
        "anywhere."
    ),
    "providers.*.models": (
        "All that it offers. If given, no other model of it is reachable; if not, any is."
    ),
    "models.*.strategy": "In which order the targets are asked ([routing.md](routing.md)).",
    "models.*.targets": "Where the name may go.",
    "models.*.targets.target": (
        "`provider/model`; behind a wildcard a provider alone, or a `*` in the model."
    ),
    "models.*.targets.weight": "Its share under `weighted`.",
    "tasks.*.defaults": "Request parameters, where a request leaves them out.",
    "tasks.*.usage_type": (
        "As what it is billed. If not given: `image` for `image_generation`, `video` for names "
        "that begin with `video_`."
    ),
    "tasks.*.prompt.system": (
        "At `/api/llm`: template of the system message ([tasks.md](tasks.md))."
    ),
    "tasks.*.prompt.user": "At `/api/llm`: template of the user's message.",
    "tasks.*.schema": (
        "At `/api/llm`: the JSON schema of the answer, whose JSON is the result then."
    ),
    "tasks.*.endpoint": "At `/api/llm`: `chat`, or `images` to have pictures made.",
    "tasks.*.cache.enabled": (
        "Whether its answers are kept and given again; if not given, as for all."
    ),
    "tasks.*.cache.ttl": "How long they are kept.",
    "tasks.*.cache.semantic": "Whether one may serve a question in other words.",
    "tasks.*.cache.max_wrong": "As `cache.semantic.max_wrong`.",
    "pipelines.*.steps": "The tasks, in order.",
    "pipelines.*.steps.task": "A task's name.",
    "pipelines.*.steps.name": "What its result is called; the task's name if not given.",
    "pipelines.*.steps.when": "A place in the context: the step runs if something is there.",
    "pipelines.*.steps.each": (
        "A place with a list of 50 entries at most: the step runs for each of them, as `item`."
    ),
    "pipelines.*.steps.with": (
        "Names, and the places that they are filled from, for this step's context."
    ),
    "actions.*.method": "The request's.",
    "actions.*.path": "Below the backend's URL; a part may be `{name}`, a member of the context.",
    "actions.*.backend": "One of the backends.",
    "backends.*.base_url": "Where its API begins.",
    "backends.*.headers": "Sent with each request, such as its credential.",
    "backends.*.timeout": "For a whole answer.",
    "cache.enabled": "Answers are kept and given again.",
    "cache.ttl": "How long one is kept; no hit prolongs it.",
    "cache.max_bytes": (
        "Memory for them, in each process; with `storage.redis` they are there instead. One may "
        "take a tenth of it."
    ),
    "cache.temperature": (
        "The highest of a request that may have a kept answer. A request that says none has 1."
    ),
    "cache.epoch": (
        "A mark of everything that is kept: another one, and nothing of before is found. Up to "
        "64 letters, digits, `.`, `_`, `-`."
    ),
    "cache.semantic.enabled": "Answers also serve questions in other words.",
    "cache.semantic.serve": "`false`: it is only reported what would have been served.",
    "cache.semantic.max_wrong": "Share of the answers served so that may be wrong, half at most.",
    "cache.semantic.embedder": (
        "What turns a question into a vector ([embedders.md](embedders.md))."
    ),
    "cache.semantic.floor": "Likeness (cosine) below which no question is looked at.",
    "cache.semantic.shadow": (
        "Share of such hits that the provider is asked about all the same, to be compared. You "
        "pay for those."
    ),
    "cache.semantic.temperature": "As `cache.temperature`, for questions in other words.",
    "cache.semantic.allow": (
        "`volatile` (today, latest …) and `personal` (my order 123 …): questions that are left "
        "to the exact tier otherwise."
    ),
    "cache.semantic.max_entries": "Questions that are kept to be found.",
    "limits.rpm": "Requests a minute.",
    "limits.tpm": "Tokens a minute, in and out.",
    "limits.rpd": "Requests in 24 hours.",
    "limits.tpd": "Tokens in 24 hours.",
    "limits.concurrency": "Requests at a time.",
    "limits.budget": "USD a calendar month (UTC).",
    "retry.attempts": "Attempts of one request at the most.",
    "retry.budget": "Share of requests that may be under retry at once, at least three.",
    "retry.backoff": "First and longest bound of the wait between tries of one target.",
    "breaker.failures": "Failures in a row that open a circuit.",
    "breaker.ratio": "Or this share of at least 20 outcomes in the window.",
    "breaker.window": "How far is looked back.",
    "breaker.open": (
        "How long an open circuit is left alone; twice as long each time it opens again."
    ),
    "breaker.max_open": "At most so long.",
    "breaker.successes": "Probes that must succeed to close it.",
    "pricing.currency": (
        "Of reports, which have it beside USD ([usage.md](usage.md#currency)); the ledger is in "
        "USD."
    ),
    "pricing.rates": "What a US dollar is in other currencies, such as `CAD: 1.37`.",
    "pricing.overrides.*.input": "USD a million input tokens; 0 beside an `image`.",
    "pricing.overrides.*.output": "USD a million output tokens; 0 beside an `image`.",
    "pricing.overrides.*.cached": (
        "USD a million tokens read from the provider's cache; `input` if not given."
    ),
    "pricing.overrides.*.cache_write": "USD a million tokens written to it; `input` if not given.",
    "pricing.overrides.*.image": "USD an image made, beside what its tokens cost.",
    "ledger.log_bodies": (
        "Writes what calls ask and get to the log ([observability.md](observability.md#bodies))."
    ),
    "ledger.retention": "How long rows are kept; their sums are kept for good.",
    "ledger.on_full": (
        "When the disk takes no more rows: `serve` all the same, with readiness red, or `reject` "
        "with a 503."
    ),
    "alerts.webhook": "URL that events are posted to; a secret, since it may open a door itself.",
    "alerts.secret": "Signs them.",
    "alerts.thresholds": "Shares of a budget, whole percentages.",
    "alerts.every": "Time between two looks.",
    "sinks.bigquery": "A table of BigQuery's.",
    "sinks.bigquery.project": "Its project.",
    "sinks.bigquery.dataset": "Its dataset.",
    "sinks.bigquery.table": "Its name; [sinks.md](sinks.md) has the statement that makes it.",
    "sinks.bigquery.credentials_file": (
        "A service account's key; without it the environment's account."
    ),
    "sinks.bigquery.endpoint": (
        "Another base URL; with `http:` an emulator, which gets no credential."
    ),
    "sinks.firestore": "A collection of Firestore's.",
    "sinks.firestore.project": "Its project.",
    "sinks.firestore.database": "Its database.",
    "sinks.firestore.collection": "Its name.",
    "sinks.firestore.credentials_file": "As of BigQuery.",
    "sinks.firestore.emulator": "`host:port` of an emulator.",
    "telemetry.traces.endpoint": (
        "Base URL of a collector of OTLP over HTTP; wants the extra `otel`. Without it "
        "`OTEL_EXPORTER_OTLP_ENDPOINT`, if that is set."
    ),
    "telemetry.traces.headers": "Headers for the collector; values are secrets.",
    "telemetry.traces.sample": (
        "Share of the traces that begin here; a caller's decision holds. Without it "
        "`OTEL_TRACES_SAMPLER`, which is all."
    ),
    "telemetry.logs.format": "Lines on stderr. `TURNOUT_LOG_FORMAT` counts before it.",
}
"""Path -> what the field means. `*` stands for a name of the user's choice."""

TAIL = """\
## How the sections nest

```yaml
auth:
  jwt: {secret: "${TURNOUT_JWT_SECRET}", expires: 1h}
  oidc: {issuer: https://login.example.com, audience: turnout}
providers:
  openai:
    dialect: openai
    base_url: https://api.openai.com/v1
    timeout: {connect: 3s, first_token: 60s, response: 300s, idle: 60s, total: 10m}
cache:
  ttl: 1h
  max_bytes: 64MiB
  semantic: {enabled: false, max_wrong: 1%, embedder: minilm, floor: 0.60, shadow: 5%}
tasks:
  scoring: {targets: [openai/gpt-4o-mini], cache: {ttl: 1d, semantic: true, max_wrong: 5%}}
  greet: {targets: [openai/gpt-4o-mini], prompt: {system: "Be kind.", user: "Greet {{ name }}."}}
pipelines:
  welcome:
    steps:
      - {task: greet}
      - {task: scoring, when: wanted, with: {text: steps.greet.content}}
actions:
  publish: {method: POST, path: "/posts/{postId}/publish", backend: posts}
backends:
  posts:
    base_url: https://posts.example.com/api
    headers: {authorization: "${POSTS_TOKEN}"}
    timeout: 10s
limits: {rpm: 600}
breaker: {failures: 5, ratio: 50%, window: 30s, open: 30s, max_open: 300s, successes: 2}
```
"""
