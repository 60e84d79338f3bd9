//! Behaviour seen from outside: real sockets, the whole binary, files as users write them.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests may panic"
)]
#![expect(clippy::needless_raw_string_hashes, reason = "goldens are written by expect-test")]

/// What tests stand on: a server that does as it is told, and the program away from the user's environment.
mod support;

/// The scenarios of AISBench.
mod aisbench;
/// What rbench sends: paths, heads and bodies, and what it keeps to itself.
mod bodies;
/// Pages of the book that are made from the program.
mod book;
/// Prefix caches, salts and real text.
mod cached;
/// Every kind of fault in one run.
mod chaos;
/// The command line: what is refused and how, what may be shortened, what help says.
mod cli;
/// Verdicts on runs before and after a change.
mod compare;
mod confidence;
/// Configurations of runs, printed and run.
mod configuration;
/// Conversations of several rounds, and the times of traces.
mod conversations;
/// Rows of every dataset.
mod datasets;
/// When requests are sent, in paused time.
mod dispatch;
/// Runs by time instead of count.
mod endless;
/// The command line of EvalScope.
mod evalscope;
/// Flags that add to a run: profiles, lines per request, the steady state.
mod extras;
/// What hostile and broken servers do, and the good streams beside them.
mod faults;
/// The first minutes of a user: forms, machines without a network, servers that are not what they seem.
mod first;
/// A walk over every flag: each changes something.
mod flags;
/// The course of a run: what is asked before, between and after, and what ends it.
mod flow;
/// Objectives of a run.
mod gates;
/// The commands of the guide to the client that rbench takes the place of.
mod guide;
/// The page of a run.
mod html;
/// Load over HTTP/2.
mod http2;
/// Tokenizers from repositories.
mod hub;
/// The table and the JSONL line, byte for byte.
mod images;
/// Runs that are ended before their plan is done, and requests that take too long.
mod interrupts;
/// Records on disk: what is left of a run that died, and of one that could not write.
mod journal;
/// Servers that rbench starts and ends.
mod launch;
/// Distributions of lengths.
mod lengths;
/// The block on the measurement.
mod measurement;
mod merge;
mod mmmu;
/// SGLang's nightly runs, which drive `one-batch`.
mod nightly;
/// Throughput alone.
mod offline;
/// Batches of prompts in one request.
mod one_batch;
/// Where results go: stdout, files, tables for spreadsheets; and runs that are only shown.
mod outlets;
mod output;
/// Whole runs of flags that reach the server.
mod prefix;
/// The calls of the profiler.
mod profiler;
/// Proxies and Unix sockets.
mod reach;
/// Records of recorded responses with exact arrival times.
mod records;
/// One test per class of fault found in the field.
mod regression;
/// What command lines mean.
mod resolve;
/// Requests that are sent again.
mod retries;
/// Keys, passwords and secret headers, and everything that a run writes.
mod search;
mod secrets;
/// The self-test, and the ceiling that it leaves.
mod selftest;
/// Requests for several completions.
mod several;
/// A load that is spread over several servers.
mod spread;
/// How often comparisons are wrong.
mod statistics;
/// What rbench makes of the bytes that servers send, protocol by protocol.
mod streams;
/// One run per rate.
mod sweep;
/// The tables of older releases.
mod tables;
/// Prompts of real text, and files of rows.
mod texts;
/// The rules of the source tree that no compiler checks.
mod tidy;
/// Load over TLS.
mod tls;
/// The command line, the table and the file of vLLM's client.
mod vllm;
