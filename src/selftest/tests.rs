//! Figures against hand-made records and logs.

use bytes::Bytes;
use expect_test::expect;

use super::compare::{Spread, compare};
use super::*;
use crate::health::WorkerHealth;
use crate::mock::truth::Line;
use crate::model::{Failure, FailureKind, Outcome, Phase, PlannedRequest};

const US: u64 = 1000;
const START: u64 = 5_000_000_000;

fn record(index: usize, at_us: &[u64], done_us: u64) -> RequestRecord {
    let mut record = RequestRecord::unsent(&PlannedRequest {
        index,
        due: Duration::ZERO,
        body: Bytes::new(),
        prompt_len: 1,
        vision_len: 0,
        routing_key: None,
        output_len: at_us.len(),
        conversation: None,
        asked: crate::model::Asked::default(),
    });
    for at in at_us {
        record.events.push(0, at * US, 1);
    }
    record.sent = Some(Duration::ZERO);
    record.done = Some(Duration::from_micros(done_us));
    record.outcome = Outcome::Completed;
    record
}

fn line(key: &str, sent_us: &[u64]) -> Line {
    Line {
        routing_key: Some(key.to_owned()),
        received_ns: START,
        sent_ns: sent_us.iter().map(|at| START + at * US).collect(),
        took_ns: sent_us.iter().map(|_| 4 * US).collect(),
        ended: true,
    }
}

fn failed(index: usize) -> RequestRecord {
    let failure = Failure {
        kind: FailureKind::EarlyEnd,
        phase: Phase::Stream,
        status: None,
        message: String::new(),
        excerpt: None,
    };
    RequestRecord { outcome: Outcome::Failed(failure), ..record(index, &[1], 1) }
}

fn spread(n: usize, bias: f64, p50: f64, p99: f64, max: f64) -> Spread {
    Spread { n, bias, p50, p99, max }
}

#[test]
fn errors_are_differences_to_the_line_of_the_same_key() {
    let records = [record(0, &[110, 205, 320], 330), failed(1), record(2, &[1010, 1020], 1020)];
    // In another order, with a line of a warm-up, and with one that nobody asks for.
    let mut warm_up = line("", &[1, 2, 3]);
    warm_up.routing_key = None;
    let lines = [
        line("2", &[1000, 1020, 1020, 1020]),
        warm_up,
        line("9", &[1, 2, 3]),
        line("0", &[100, 200, 300, 300, 310]),
    ];
    let compared = compare(&records, &lines, START);
    assert_eq!((compared.matched, compared.failed, compared.unmatched), (2, 1, 0));
    let errors = compared.errors.unwrap();
    assert_eq!(errors.ttft, spread(2, 10.0, 10.0, 10.0, 10.0));
    // 95 - 100, 115 - 100, 10 - 20; 99 % of the way from 5 over 10 to 15.
    assert_eq!(errors.itl, spread(3, -5.0, 10.0, 14.9, 15.0));
    assert_eq!(errors.e2e, spread(2, 10.0, 10.0, 19.8, 20.0));
    assert_eq!(errors.write, spread(9, 4.0, 4.0, 4.0, 4.0));
    // That at 1020 alone came while its bytes were being written.
    assert!((errors.outside - 0.8).abs() < 1e-9);
}

#[test]
fn what_does_not_match_is_counted_and_not_compared() {
    let good = line("0", &[100, 200, 200, 200]);
    let cases = [
        ("good", vec![good.clone()], 1, 0),
        ("no line", vec![], 0, 1),
        ("another request", vec![line("1", &[100, 200, 200, 200])], 0, 1),
        ("an event too few", vec![line("0", &[100, 200, 200])], 0, 1),
        ("an event too many", vec![line("0", &[100, 200, 200, 200, 200])], 0, 1),
        ("cut short", vec![Line { ended: false, ..good }], 0, 1),
    ];
    for (what, lines, matched, unmatched) in cases {
        let compared = compare(&[record(0, &[100, 200], 200)], &lines, START);
        assert_eq!((compared.matched, compared.unmatched), (matched, unmatched), "{what}");
        assert_eq!(compared.errors.is_some(), matched > 0, "{what}");
    }
}

fn setup(purpose: Purpose, streams: usize, clock: ClockSource, busy: usize) -> Setup {
    Setup { purpose, streams, events: 100, itl: Duration::from_millis(20), clock, busy }
}

fn case(setup: Setup, events_per_s: f64, client_cpu: f64, server_cpu: Option<f64>) -> Case {
    let errors = compare(
        &[record(0, &[110, 205, 320], 330)],
        &[line("0", &[100, 200, 300, 300, 310])],
        START,
    );
    Case {
        clock: setup.clock,
        setup,
        events: 3,
        events_per_s,
        compared: errors,
        client_cpu,
        client_us_per_event: Some(client_cpu * 1e6 / events_per_s),
        client_run_delay: None,
        server_cpu,
        lag: Some(LagUs { p50: 1.0, p99: 2.0, max: 3.0 }),
        merged: 0,
        unstamped: 0,
    }
}

#[test]
fn the_limit_is_who_had_no_time_left() {
    let of = |events_per_s, client, server| {
        case(setup(Purpose::Events, 100, ClockSource::Kernel, 0), events_per_s, client, server)
            .limit()
    };
    for (events_per_s, client, server, expected) in [
        (4600.0, 0.99, Some(0.99), Limit::Load),
        (4000.0, 0.95, Some(0.9), Limit::Client),
        (4000.0, 0.9, Some(0.95), Limit::Server),
        (4000.0, 0.9, None, Limit::Client),
        (4000.0, 0.5, Some(0.6), Limit::Cores),
        (4000.0, 0.5, None, Limit::Cores),
    ] {
        assert_eq!(of(events_per_s, client, server), expected, "{events_per_s} {client}");
    }
}

#[test]
fn figures_of_a_run() {
    let worker = |cpu, wall| WorkerHealth {
        cpu: Duration::from_millis(cpu),
        wall: Duration::from_millis(wall),
        run_delay: Some(Duration::from_millis(cpu / 2)),
        merged: 3,
        unstamped: 2,
        ..WorkerHealth::default()
    };
    let workers = vec![worker(100, 1000), worker(300, 900)];
    let health = Health { clock: ClockSource::User, workers, ..Health::default() };
    let records = [record(0, &[500_000, 1_000_000], 1_000_000), record(1, &[600_000], 600_000)];
    let setup = setup(Purpose::Errors, 2, ClockSource::Kernel, 0);
    let server = Some(Duration::from_millis(250));
    let case = Case::new(setup.clone(), &records, &health, Compared::default(), server);
    let expected = Case {
        setup,
        clock: ClockSource::User,
        events: 3,
        events_per_s: 6.0,
        compared: Compared::default(),
        client_cpu: 0.3,
        client_us_per_event: Some(0.4 * 1e6 / 3.0),
        client_run_delay: Some(0.15),
        server_cpu: Some(0.25),
        lag: None,
        merged: 6,
        unstamped: 4,
    };
    assert_eq!(case, expected);
    assert!((case.reachable_per_s() - 20.0).abs() < 1e-9);
    let nothing = Case::new(case.setup, &[], &Health::default(), Compared::default(), None);
    assert_eq!((nothing.events_per_s, nothing.client_cpu, nothing.clean()), (0.0, 0.0, false));
}

fn findings() -> Findings {
    use ClockSource::{Kernel, User};
    let bad = Compared { failed: 7, ..Compared::default() };
    Findings {
        host: Host {
            host: "h".to_owned(),
            cpus: 2,
            version: "1.2.3".to_owned(),
            build: "release".to_owned(),
        },
        date: "2026-01-02T03:04:05+00:00".to_owned(),
        client_threads: 1,
        server_threads: 1,
        cases: vec![
            case(setup(Purpose::Errors, 50, Kernel, 0), 2490.0, 0.05, Some(0.06)),
            case(setup(Purpose::Errors, 50, User, 0), 2491.0, 0.07, Some(0.06)),
            case(setup(Purpose::BusyErrors, 50, Kernel, 3), 2470.0, 0.05, Some(0.06)),
            case(setup(Purpose::Events, 2000, Kernel, 0), 62_000.0, 0.6, Some(0.98)),
            Case {
                compared: bad,
                ..case(setup(Purpose::Streams, 16_000, Kernel, 0), 70_000.0, 0.9, None)
            },
        ],
    }
}

#[test]
fn a_table_for_people() {
    expect![[r"
        rbench 1.2.3 (release) on h: 2 cores, 1 thread in the client, 1 thread in the server

        Client's time minus the server's own log, without sign, in us
                busy                 |        TTFT         |         ITL         |         E2E         |  write outside    read
        streams loop  clock events/s |   p50    p99     max|   p50    p99     max|   p50    p99     max|    p99   write  merged
             50    0 kernel     2490 |    10     10      10|    10     15      15|    20     20      20|      4 100.0 %   0.0 %
             50    0   user     2491 |    10     10      10|    10     15      15|    20     20      20|      4 100.0 %   0.0 %
             50    3 kernel     2470 |    10     10      10|    10     15      15|    20     20      20|      4 100.0 %   0.0 %

        Up to what this host can do
        streams offered/s  events/s client CPU server CPU lag p99, us  failed limit
             50      2500      2490        5 %        6 %           2       0 load
           2000    100000     62000       60 %       98 %           2       0 server
          16000    800000     70000       90 %    unknown           2       7 client

        Ceiling: 62000 events/s, at 2000 streams; the server was the limit, and a thread of the client used 9.7 us of CPU time per event
        Streams: 2000 at once, none failed
    "]].assert_eq(&findings().table());
    let nothing = Findings { cases: Vec::new(), ..findings() };
    assert!(nothing.table().ends_with("\nNo ceiling: in every run something failed\n"));
    assert_eq!((nothing.ceiling(), nothing.worst_us(), nothing.streams()), (None, None, 0));
}

#[test]
fn a_larger_load_that_brings_no_more_tells_the_limit() {
    let kernel = |purpose, streams, events_per_s, client| {
        case(setup(purpose, streams, ClockSource::Kernel, 0), events_per_s, client, Some(0.5))
    };
    let small = kernel(Purpose::Errors, 500, 24_900.0, 0.3);
    let more = kernel(Purpose::Events, 1000, 23_000.0, 0.95);
    let most = kernel(Purpose::Events, 2000, 22_000.0, 0.5);
    let slow = kernel(Purpose::Streams, 600, 2000.0, 0.5);
    for (cases, expected) in [
        (vec![], Limit::Load),
        (vec![small.clone()], Limit::Load),
        (vec![small.clone(), slow], Limit::Load),
        (vec![most.clone(), more, small.clone()], Limit::Client),
        (vec![most, small], Limit::Cores),
    ] {
        assert_eq!(Findings { cases, ..findings() }.limit(), expected);
    }
}

#[test]
fn a_line_for_programs() {
    let line: serde_json::Value = serde_json::from_str(&findings().line()).unwrap();
    assert_eq!(line["cases"].as_array().unwrap().len(), 5);
    assert_eq!(line["cases"][3]["limit"], "server");
    assert_eq!(line["cases"][0]["error_us"]["itl"]["max"], 15.0);
    assert_eq!(line["ceiling"]["events_per_s"], 62_000.0);
    assert_eq!(line["ceiling"]["streams"], 2000);
    assert_eq!(findings().worst_us(), Some(20.0));
    let ceiling: Ceiling = serde_json::from_value(line["ceiling"].clone()).unwrap();
    assert_eq!(Some(ceiling), findings().ceiling());
}
