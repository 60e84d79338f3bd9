//! What servers and proxies send.

use std::time::Duration;

use bytes::Bytes;
use rbench::analysis::aggregate::compute;
use rbench::analysis::metric::{Close, Ended, Figure, Origins, Terms};
use rbench::engine::transport::http1;
use rbench::engine::transport::message::{self, Malformed, Part};
use rbench::engine::transport::proxy;
use rbench::model::{
    Asked, Batch, Failure, MAX_TOKENS, Outcome, Phase, PlannedRequest, RequestRecord,
};
use rbench::protocol::backend::{self, Backend, Protocol};
use rbench::protocol::batch;
use rbench::protocol::response::{Collector, Expect, Framing};
use rbench::protocol::sse::{self, TooLong};

use crate::{choices, pieces};

/// The parts of responses, with the pieces of bodies joined, and whether they ended well.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    heads: Vec<message::Head>,
    bodies: Vec<Vec<u8>>,
    ends: usize,
    broken: bool,
}

fn read_http(pieces: &[&[u8]]) -> Read {
    let mut read = Read::default();
    let mut reader = http1::Reader::default();
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let fed = reader.feed(rest, &mut |part| {
                match part {
                    Part::Head(head) => {
                        read.heads.push(head);
                        read.bodies.push(Vec::new());
                    }
                    Part::Body(bytes) => read.bodies.last_mut().expect("a head").extend(bytes),
                    Part::End => read.ends += 1,
                }
                Ok::<(), Malformed>(())
            });
            let Ok(took) = fed else {
                read.broken = true;
                return read;
            };
            assert!(0 < took && took <= rest.len(), "{took} of {}", rest.len());
            assert!(reader.held() <= message::MAX_HEAD, "{} held", reader.held());
            rest = &rest[took..];
        }
    }
    read.ends += usize::from(reader.close());
    read
}

/// The reader of HTTP/1.1: however bytes are cut, the same responses come out, and little is kept.
/// And whether a proxy opens a way.
pub fn http1(data: &[u8]) {
    let Some(([seed], bytes)) = choices(data) else { return };
    let whole = read_http(&[bytes]);
    assert!(whole.ends <= whole.heads.len());
    // Longer heads that make no sense are found out when they are whole.
    if bytes.len() < 1024 {
        assert_eq!(read_http(&pieces(bytes, seed)), whole);
        assert_eq!(read_http(&bytes.chunks(1).collect::<Vec<_>>()), whole);
    }
    // What is not yet an answer can become one; what is one stays one.
    if bytes.len() < 256 && proxy::opens(bytes).is_ok_and(|opens| opens) {
        assert!((0..bytes.len()).all(|len| proxy::opens(&bytes[..len]).is_ok_and(|opens| !opens)));
    }
}

type Events = Vec<(Vec<u8>, Vec<u8>)>;

fn read_events(pieces: &[&[u8]], cap: usize) -> (Events, bool) {
    let mut events = Events::new();
    let mut reader = sse::Reader::with_cap(cap);
    let mut on = |event: sse::Event<'_>| {
        events.push((event.kind.to_vec(), event.data.to_vec()));
        Ok::<(), TooLong>(())
    };
    for piece in pieces {
        if reader.feed(piece, &mut on).is_err() {
            return (events, false);
        }
        assert!(reader.held() <= cap, "{} of {cap} held", reader.held());
    }
    let fits = reader.finish(&mut on).is_ok();
    (events, fits)
}

/// The reader of server-sent events: however bytes are cut, the same events come out, and no more is kept than may be.
pub fn sse(data: &[u8]) {
    let Some(([seed, cap], bytes)) = choices(data) else { return };
    let (whole, fits) = read_events(&[bytes], sse::MAX_EVENT);
    assert!(fits);
    let cut = pieces(bytes, seed);
    assert_eq!(read_events(&cut, sse::MAX_EVENT).0, whole);
    assert_eq!(read_events(&bytes.chunks(1).collect::<Vec<_>>(), sse::MAX_EVENT).0, whole);
    // With a cap the same events come out up to where it is reached.
    let (some, fits) = read_events(&cut, usize::from(cap));
    assert_eq!(some, whole[..some.len()]);
    assert!(!fits || some.len() == whole.len());
}

fn collect(
    protocol: &dyn Protocol,
    framing: Framing,
    asked: Asked,
    pieces: &[&[u8]],
) -> RequestRecord {
    let expect = if protocol.generates() { Expect::Tokens } else { Expect::NoTokens };
    let collector = Collector::new(protocol.decoder(), framing, expect);
    let mut collector = collector.answering(asked, 64);
    let at = Duration::from_millis(5);
    let read = pieces
        .iter()
        .try_for_each(|piece| collector.chunk(piece, at).map(drop))
        .and_then(|()| collector.finish(at));
    let mut record = RequestRecord::unsent(&PlannedRequest {
        index: 0,
        due: Duration::ZERO,
        body: Bytes::new(),
        prompt_len: 8,
        vision_len: 0,
        routing_key: None,
        output_len: 16,
        conversation: None,
        asked,
    });
    record.sent = Some(Duration::from_millis(1));
    record.outcome = match read {
        Ok(()) => Outcome::Completed,
        Err(failure) => {
            assert!(failure.message.len() <= Failure::EXCERPT + 3, "{failure:?}");
            let said = collector.phase();
            // Where a piece ends with the error, what it brought before that counts.
            assert!(failure.phase <= said || said == Phase::FirstToken, "{failure:?} {said:?}");
            Outcome::Failed(failure)
        }
    };
    collector.store(&mut record);
    record
}

/// The same events, each with the name of the default type, which keeps the reader of answers from telling
/// one from another that looks like it.
fn named(bytes: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    for (kind, data) in read_events(&[bytes], sse::MAX_EVENT).0 {
        let kind = if kind.is_empty() { b"message".to_vec() } else { kind };
        stream.extend([b"event: ", &*kind, b"\n"].concat());
        for line in data.split(|&byte| byte == b'\n') {
            stream.extend([b"data: ", line, b"\n"].concat());
        }
        stream.push(b'\n');
    }
    stream
}

/// Whether a body is one of events by its first bytes, whatever it is said to be.
fn begins_events(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes).trim_ascii_start();
    let fields: [&[u8]; 5] = [b":", b"data:", b"event:", b"id:", b"retry:"];
    fields.iter().any(|field| bytes.starts_with(field))
}

/// The decoders of all backends, behind the reader of events: however an answer is cut, it gives the same record,
/// and whatever it says, figures can be made of it.
pub fn collector(data: &[u8]) {
    let Some(([which, how, seed], bytes)) = choices(data) else { return };
    let backend = &backend::ALL[usize::from(which) % backend::ALL.len()];
    let framing = if how & 1 == 0 { Framing::Events } else { Framing::Whole };
    let completions = [None, Some(1), Some(3)][usize::from(how >> 1) % 3];
    let tokens = completions.map(|_| 16);
    let asked = Asked { completions, tokens, is_text_alone: true, batch: None };
    let collect = |pieces: &[&[u8]]| collect(backend.protocol, framing, asked, pieces);
    let whole = collect(&[bytes]);
    let cut = collect(&pieces(bytes, seed));
    assert_eq!(cut, whole);
    let named = named(bytes);
    // With names each event has its end.
    let is_cut = whole.failure().is_some_and(|failure| failure.message.contains("within an event"));
    if begins_events(bytes) && !named.is_empty() && !is_cut {
        assert_eq!(collect(&[&named]), whole);
    }

    let tokens: u64 = whole.events.tokens.iter().map(|&tokens| u64::from(tokens)).sum();
    assert!(tokens <= MAX_TOKENS && whole.output_count() <= MAX_TOKENS || !whole.completed());
    assert!(tokens <= MAX_TOKENS, "{tokens}");
    let length: usize = whole.texts().map(str::len).sum();
    assert!(length <= bytes.len() * 3, "{length} bytes of text from {}", bytes.len());
    assert!(whole.pieces().map(str::len).sum::<usize>() <= length);
    // Large counts are believed, and cost time: latencies of a few tokens are enough here.
    if tokens > 100_000 {
        return;
    }
    figures(&[whole.clone(), cut]);
}

/// Computes all figures of `records`, which have to be numbers.
pub(crate) fn figures(records: &[RequestRecord]) {
    for keeps in [true, false] {
        let terms =
            Terms { keeps, origins: Origins::of(records), cache_report: true, ..Terms::default() };
        let requests = records.iter().map(Ended::of);
        for stat in compute(&requests, &terms, &Close::default()).stats {
            assert!(!matches!(stat.value, Figure::Real(value) if !value.is_finite()), "{stat:?}");
        }
    }
}

/// The reader of the answer to a batch.
pub fn batch(data: &[u8]) {
    let Some(([how, seed], bytes)) = choices(data) else { return };
    let (wire, name) = match how & 1 {
        0 => (batch::Wire::Generate, "sglang"),
        _ => (batch::Wire::Completions, "vllm"),
    };
    let n = 1 + u16::from(how >> 1) % 4;
    let asked = Asked {
        completions: Some(n),
        tokens: Some(16),
        is_text_alone: true,
        batch: Some(Batch { prompts: n, ignores_stops: how & 8 == 0 }),
    };
    let protocol = Backend::find(name).expect("a backend").protocol;
    let framing = if how & 16 == 0 { Framing::Events } else { Framing::Whole };
    let whole = collect(protocol, framing, asked, &[bytes]);
    assert_eq!(collect(protocol, framing, asked, &pieces(bytes, seed)), whole);
    if !whole.completed() {
        return;
    }
    let n = usize::from(n);
    let Some(answer) = batch::answer(&whole, whole.output_tokens, wire, n) else { return };
    let case = batch::Case {
        shape: batch::Shape { batch_size: n, input_len: 8, output_len: 16 },
        input_tokens: 8,
        answer,
        last_generation_throughput: None,
        accept_length: None,
    };
    for figure in [
        case.input_throughput(),
        case.output_throughput(),
        case.reference_output_throughput(),
        case.overall_throughput(),
        case.cache_hit_rate(),
    ] {
        assert!(figure.is_none_or(|figure| figure.is_finite() && figure >= 0.0), "{figure:?}");
    }
}
