-- The tables of telemetry and triggers in PostgreSQL 15 or newer; 0001_sqlite.sql has the same names.
-- No table carries a schema's name: the connection's search_path chooses it.

-- One row per device, model and window. A partition per day, made by `telemetry.database.postgresql` and dropped when it is too old.
create table event (
  device_id                   text not null,
  model_name                  text not null,
  model_version               text not null,
  window_start                timestamptz not null,
  window_seconds              integer not null,
  quantization                text not null,
  runtime                     text not null,
  delegate                    text not null,
  delegated_fraction          double precision,
  expected_delegated_fraction double precision,
  device_model                text,
  num_inferences              integer not null,
  num_errors                  integer not null,
  latency_sum_ms              double precision not null,
  latency_max_ms              double precision not null,
  latency_counts              integer[] not null,
  classes                     integer[] not null,
  histogram_ids               bigint[] not null,
  histogram_counts            integer[] not null,
  battery_drain_percent       double precision,
  temperature_celsius         double precision,
  received_at                 timestamptz not null default now(),
  primary key (device_id, model_name, model_version, window_start)
) partition by range (window_start);
create index event_window_start on event using brin (window_start) with (pages_per_range = 32);
create index event_received_at on event using brin (received_at) with (pages_per_range = 32);

-- What the counts of an event's histograms were counted over; events name it by its number.
create table histogram_shape (
  histogram_id bigint primary key,
  name         text not null,
  statistic    text not null,
  edges        double precision[] not null
);

create table incident (
  device_id     text not null,
  at            timestamptz not null,
  kind          text not null,
  model_name    text not null,
  model_version text,
  detail        text not null,
  received_at   timestamptz not null default now(),
  primary key (device_id, at, kind)
);
create index incident_at on incident (at);

-- The five columns that every fleet dashboard asks for first.
create view edge_metrics as
select device_id, model_version, latency_sum_ms / nullif(num_inferences, 0) as inference_latency_ms,
       battery_drain_percent as battery_drain_pct, window_start as "timestamp"
from event;

-- What dashboards read: events added up by hour.
create table hourly (
  hour                 timestamptz not null,
  model_name           text not null,
  model_version        text not null,
  quantization         text not null,
  delegate             text not null,
  device_model         text not null,
  num_devices          integer not null,
  num_windows          integer not null,
  num_inferences       bigint not null,
  num_errors           bigint not null,
  num_fallback_windows integer not null,
  latency_sum_ms       double precision not null,
  latency_max_ms       double precision not null,
  latency_counts       bigint[] not null,
  battery_drain_sum    double precision not null,
  num_battery_windows  integer not null,
  primary key (hour, model_name, model_version, quantization, delegate, device_model)
);

-- What each device reported last of each model.
create table device (
  device_id                   text not null,
  model_name                  text not null,
  model_version               text not null,
  device_model                text,
  quantization                text not null,
  runtime                     text not null,
  delegate                    text not null,
  delegated_fraction          double precision,
  expected_delegated_fraction double precision,
  last_window                 timestamptz not null,
  last_received               timestamptz not null,
  primary key (device_id, model_name)
);

create table maintenance (
  name text primary key,
  at   timestamptz not null
);

-- A secret is kept as its SHA-256 only: it has 160 random bits, so a slow hash would add nothing.
create table token (
  token_id      text primary key,
  secret_sha256 text not null,
  kind          text not null check (kind in ('device', 'viewer', 'labeller')),
  subject       text not null,
  created_at    timestamptz not null,
  expires_at    timestamptz,
  revoked_at    timestamptz
);
create index token_subject on token (subject);

-- Examples from the field, with the model's answer and, once somebody gave it, the right one.
create table feedback (
  content_sha256 text not null,
  model_name     text not null,
  device_id      text not null,
  model_version  text not null,
  captured_at    timestamptz not null,
  received_at    timestamptz not null,
  media_type     text not null,
  content        bytea not null,
  answer         text not null,
  confidence     double precision not null,
  slice          text not null,
  sampling       text not null check (sampling in ('random', 'unsure')),
  label          text,
  state          text not null check (state in ('waiting', 'labelled', 'unusable')),
  labelled_by    text,
  labelled_at    timestamptz,
  span           integer,
  primary key (model_name, content_sha256)
);
create index feedback_state on feedback (model_name, state, confidence);

-- Every decision about retraining, also "no". One row per evidence and outcome: the same again counts, it adds no row.
create table trigger_decision (
  model_name text not null,
  key        text not null,
  outcome    text not null,
  rule       text not null,
  sentence   text not null,
  numbers    jsonb not null,
  first_at   timestamptz not null,
  last_at    timestamptz not null,
  num_times  integer not null,
  primary key (model_name, key, outcome)
);
create index trigger_decision_at on trigger_decision (model_name, first_at);

create table trigger_run (
  key             text primary key,
  model_name      text not null,
  rule            text not null,
  reason          text not null,
  data_span       integer,
  launcher        text not null,
  handle          text not null,
  state           text not null check (state in ('open', 'published', 'refused', 'failed', 'lost')),
  release_version text,
  started_at      timestamptz not null,
  finished_at     timestamptz
);
-- One open run per model, however many watchers there are.
create unique index trigger_run_open on trigger_run (model_name) where finished_at is null;

-- For dashboards: histograms of latency add up, and a quantile is read from the sum; telemetry/latency.py does the same.
create function latency_add(total bigint[], more bigint[]) returns bigint[] language sql immutable parallel safe as $$
  select array_agg(coalesce(a, 0) + coalesce(b, 0) order by k) from unnest(total, more) with ordinality as t(a, b, k)
$$;
create aggregate latency_sum(bigint[]) (sfunc = latency_add, stype = bigint[], parallel = safe);
create function latency_quantile_ms(counts bigint[], share double precision) returns double precision
language sql immutable parallel safe as $$
  select case when k = 1 then 0.01 * part when k >= 48 then 0.01 * power(2, 23.0) else 0.01 * power(2, (k - 2 + part) / 2.0) end
  from (
    select k, n, below, total, (share * total - below) / nullif(n, 0) as part
    from (
      select k, n, sum(n) over (order by k) - n as below, sum(n) over () as total
      from unnest(counts) with ordinality as t(n, k)
    ) as cumulated
  ) as placed
  where n > 0 and below + n >= share * total
  order by k limit 1
$$;
