-- The tables of telemetry and triggers in SQLite: the names of 0001_postgresql.sql. A list is JSON, a time is text in UTC
-- (2026-01-31T23:59:59.000000Z), so that both sort and compare as they should.

-- One row per device, model and window; deleted when it is too old.
create table event (
  device_id                   text not null,
  model_name                  text not null,
  model_version               text not null,
  window_start                text not null,
  window_seconds              integer not null,
  quantization                text not null,
  runtime                     text not null,
  delegate                    text not null,
  delegated_fraction          real,
  expected_delegated_fraction real,
  device_model                text,
  num_inferences              integer not null,
  num_errors                  integer not null,
  latency_sum_ms              real not null,
  latency_max_ms              real not null,
  latency_counts              text not null,
  classes                     text not null,
  histogram_ids               text not null,
  histogram_counts            text not null,
  battery_drain_percent       real,
  temperature_celsius         real,
  received_at                 text not null default (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
  primary key (device_id, model_name, model_version, window_start)
);
create index event_window_start on event (window_start);
create index event_received_at on event (received_at);

-- What the counts of an event's histograms were counted over; events name it by its number.
create table histogram_shape (
  histogram_id integer primary key,
  name         text not null,
  statistic    text not null,
  edges        text not null
);

create table incident (
  device_id     text not null,
  at            text not null,
  kind          text not null,
  model_name    text not null,
  model_version text,
  detail        text not null,
  received_at   text not null default (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
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
  hour                 text not null,
  model_name           text not null,
  model_version        text not null,
  quantization         text not null,
  delegate             text not null,
  device_model         text not null,
  num_devices          integer not null,
  num_windows          integer not null,
  num_inferences       integer not null,
  num_errors           integer not null,
  num_fallback_windows integer not null,
  latency_sum_ms       real not null,
  latency_max_ms       real not null,
  latency_counts       text not null,
  battery_drain_sum    real not null,
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
  delegated_fraction          real,
  expected_delegated_fraction real,
  last_window                 text not null,
  last_received               text not null,
  primary key (device_id, model_name)
);

create table maintenance (
  name text primary key,
  at   text not null
);

-- A secret is kept as its SHA-256 only: it has 160 random bits, so a slow hash would add nothing.
create table token (
  token_id      text primary key,
  secret_sha256 text not null,
  kind          text not null check (kind in ('device', 'viewer', 'labeller')),
  subject       text not null,
  created_at    text not null,
  expires_at    text,
  revoked_at    text
);
create index token_subject on token (subject);

-- Examples from the field, with the model's answer and, once somebody gave it, the right one.
create table feedback (
  content_sha256 text not null,
  model_name     text not null,
  device_id      text not null,
  model_version  text not null,
  captured_at    text not null,
  received_at    text not null,
  media_type     text not null,
  content        blob not null,
  answer         text not null,
  confidence     real not null,
  slice          text not null,
  sampling       text not null check (sampling in ('random', 'unsure')),
  label          text,
  state          text not null check (state in ('waiting', 'labelled', 'unusable')),
  labelled_by    text,
  labelled_at    text,
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
  numbers    text not null,
  first_at   text not null,
  last_at    text not null,
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
  started_at      text not null,
  finished_at     text
);
-- One open run per model, however many watchers there are.
create unique index trigger_run_open on trigger_run (model_name) where finished_at is null;
