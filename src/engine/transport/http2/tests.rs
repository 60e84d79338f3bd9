//! Frames of all kinds, whole and cut.

use proptest::prelude::*;

use super::*;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn settings() -> Vec<u8> {
    frame(4, 0, 0, &[])
}

/// What was read, with the pieces of the body joined.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    heads: Vec<Head>,
    body: Vec<u8>,
    ends: usize,
}

impl Seen {
    fn feed(&mut self, client: &mut Client, bytes: &[u8]) -> Result<Fed, Malformed> {
        client.feed(bytes, &mut |part| {
            match part {
                Part::Head(head) => self.heads.push(head),
                Part::Body(bytes) => self.body.extend_from_slice(bytes),
                Part::End => self.ends += 1,
            }
            Ok(())
        })
    }
}

fn settled() -> Client {
    let mut client = Client::new().unwrap();
    let greeting = client.take_outgoing();
    assert!(greeting.starts_with(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0"));
    assert!(!client.is_settled());
    let fed = Seen::default().feed(&mut client, &settings()).unwrap();
    assert_eq!(fed, Fed::Read { clean: true });
    assert!(client.is_settled());
    // The settings are acknowledged.
    assert_eq!(client.take_outgoing(), frame(4, 1, 0, &[]));
    client
}

fn request() -> Request<()> {
    Request::post("http://engine/v1/completions").body(()).unwrap()
}

#[test]
fn responses_are_the_same_however_they_are_cut() {
    // `:status: 200`, and a type that is not remembered.
    let head = [&[0x88, 0x0f, 0x10, 17][..], b"text/event-stream"].concat();
    let response = |id: u32| {
        [
            frame(4, 1, 0, &[]),
            frame(1, 4, id, &head),
            frame(0, 0, id, b"one"),
            frame(6, 0, 0, &[7; 8]),
            // With two bytes of padding.
            frame(0, 8, id, b"\x02 two\0\0"),
            frame(0, 1, id, b" three"),
        ]
        .concat()
    };
    let whole = response(1);
    for cut in 1..=whole.len() {
        let mut client = settled();
        for nth in 0..3_u32 {
            client.send(request(), Bytes::from_static(b"{}")).unwrap();
            assert!(!client.is_free());
            assert!(!client.take_outgoing().is_empty());
            let mut seen = Seen::default();
            // The settings are acknowledged once.
            let all = &response(2 * nth + 1)[if nth == 0 { 0 } else { FRAME_HEAD }..];
            let (mut answered, mut fed) = (Vec::new(), None);
            for piece in all.chunks(cut) {
                fed = Some(seen.feed(&mut client, piece).unwrap());
                answered.extend(client.take_outgoing());
            }
            assert_eq!(fed, Some(Fed::Read { clean: true }), "{cut}");
            assert_eq!(answered, frame(6, 1, 0, &[7; 8]), "{cut}");
            assert_eq!((seen.body.as_slice(), seen.ends), (&b"one two three"[..], 1), "{cut}");
            assert_eq!(seen.heads[0].status, 200);
            assert_eq!(seen.heads[0].content_type.as_deref(), Some("text/event-stream"));
            assert!(client.is_free());
        }
    }
}

#[test]
fn bodies_wait_for_the_server() {
    let mut client = settled();
    client.send(request(), vec![b'x'; 100_000].into()).unwrap();
    let sent = client.take_outgoing().len();
    // The windows that all servers begin with.
    assert!((65_535..66_500).contains(&sent), "{sent}");
    assert!(client.most_outgoing() >= 200_000);
    // An answer before the body is whole leaves a connection that nobody can use.
    let mut seen = Seen::default();
    let early = [frame(1, 4, 1, &[0x88]), frame(0, 1, 1, b"x")].concat();
    assert_eq!(seen.feed(&mut client, &early), Ok(Fed::Read { clean: false }));
    assert_eq!(seen.ends, 1);

    let mut client = settled();
    client.send(request(), vec![b'x'; 100_000].into()).unwrap();
    let mut sent = client.take_outgoing().len();
    let more = 60_000_u32.to_be_bytes();
    let window = [frame(8, 0, 0, &more), frame(8, 0, 1, &more)].concat();
    assert_eq!(seen.feed(&mut client, &window), Ok(Fed::Read { clean: false }));
    sent += client.take_outgoing().len();
    assert!((100_000..101_000).contains(&sent), "{sent}");
    assert_eq!(seen.feed(&mut client, &early), Ok(Fed::Read { clean: true }));
}

#[test]
fn greetings() {
    for (bytes, want) in [
        (&b"HTTP/1.1 400 Bad Request\r\n"[..], Err(Malformed::NotHttp2)),
        (b"\0\0\x08\x06\0\0\0\0\0", Err(Malformed::NotHttp2)),
        // An acknowledgement before anything else.
        (b"\0\0\0\x04\x01\0\0\0\0", Err(Malformed::NotHttp2)),
        (b"\0\x40\x01\x04\0\0\0\0\0", Err(Malformed::NotHttp2)),
        (b"\0\0\x05\x04\0\0\0\0\0abcde", Err(Malformed::Http2(h2::Reason::PROTOCOL_ERROR))),
        (b"\0\0\x06\x04\0\0\0\0\0\0", Ok(Fed::Read { clean: false })),
        (b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\0", Ok(Fed::Read { clean: false })),
        (b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x01", Ok(Fed::Read { clean: true })),
    ] {
        let mut client = Client::new().unwrap();
        let fed = Seen::default().feed(&mut client, bytes);
        let settled = fed == Ok(Fed::Read { clean: true });
        // Refusals of the library differ in their reasons, which are its business.
        match (fed, want) {
            (Err(Malformed::Http2(_)), Err(Malformed::Http2(_))) => {}
            (fed, want) => assert_eq!(fed, want, "{bytes:?}"),
        }
        assert_eq!(client.is_settled(), settled, "{bytes:?}");
    }
    assert!(begins_http2(&settings()) && !begins_http2(b"HTTP/1.1 200 OK\r\n"));
}

#[test]
fn ends_of_connections() {
    let go_away = |last: u32, reason: u8| {
        frame(7, 0, 0, &[&last.to_be_bytes()[..], &[0, 0, 0, reason]].concat())
    };
    // Idle: it is of no use any more.
    let mut client = settled();
    let mut seen = Seen::default();
    assert_eq!(seen.feed(&mut client, &go_away(0, 0)), Ok(Fed::Read { clean: false }));
    assert!(!client.is_free());

    // What is under way goes on.
    let mut client = settled();
    client.send(request(), Bytes::new()).unwrap();
    let bytes = [go_away(1, 0), frame(1, 4, 1, &[0x88]), frame(0, 1, 1, b"x")].concat();
    assert_eq!(seen.feed(&mut client, &bytes), Ok(Fed::Read { clean: false }));
    assert_eq!((seen.body.as_slice(), seen.ends), (&b"x"[..], 1));

    // Or it does not; what came before counts.
    let mut client = settled();
    client.send(request(), Bytes::new()).unwrap();
    let mut seen = Seen::default();
    let bytes = [frame(1, 4, 1, &[0x88]), frame(0, 0, 1, b"x"), go_away(0, 11)].concat();
    let Ok(Fed::Cut { why, .. }) = seen.feed(&mut client, &bytes) else { panic!("not cut") };
    assert!(why.contains("ENHANCE_YOUR_CALM"), "{why}");
    assert_eq!(seen.body, b"x");

    // Before anything of the response: only what says nothing of the request leaves it unread.
    let none: [(&[Vec<u8>], bool); 5] = [
        (&[go_away(0, 0)], true),
        (&[go_away(0, 11)], true),
        (&[frame(3, 0, 1, &[0, 0, 0, 7])], true),
        (&[frame(3, 0, 1, &[0, 0, 0, 2])], false),
        // The status 103, as a field that is not to be remembered.
        (&[frame(1, 4, 1, b"\x08\x03103"), frame(3, 0, 1, &[0, 0, 0, 7])], false),
    ];
    for (frames, want) in none {
        let mut client = settled();
        client.send(request(), Bytes::new()).unwrap();
        let fed = Seen::default().feed(&mut client, &frames.concat());
        let Ok(Fed::Cut { unread, .. }) = fed else { panic!("not cut: {fed:?}") };
        assert_eq!(unread, want, "{frames:?}");
    }

    // Rules that are broken after the end of a response break no response.
    let mut client = settled();
    client.send(request(), Bytes::new()).unwrap();
    let mut seen = Seen::default();
    let bytes = [frame(1, 5, 1, &[0x88]), frame(0, 0, 7, b"x")].concat();
    assert_eq!(seen.feed(&mut client, &bytes), Ok(Fed::Read { clean: false }));
    assert_eq!(seen.ends, 1);

    let mut client = settled();
    client.send(request(), Bytes::new()).unwrap();
    let mut seen = Seen::default();
    let bytes = [frame(1, 4, 1, &[0x88]), frame(0, 0, 1, b"x"), frame(3, 0, 1, &[0, 0, 0, 2])];
    let Ok(Fed::Cut { why, .. }) = seen.feed(&mut client, &bytes.concat()) else {
        panic!("not cut")
    };
    assert!(why.contains("reset the stream (INTERNAL_ERROR"), "{why}");
    assert_eq!(seen.body, b"x");
}

#[test]
fn little_is_kept() {
    let mut client = settled();
    client.send(request(), Bytes::new()).unwrap();
    let mut seen = Seen::default();
    // The window is large once the server has acknowledged it.
    let head = [frame(4, 1, 0, &[]), frame(1, 4, 1, &[0x88])].concat();
    let _ = seen.feed(&mut client, &head).unwrap();
    let data = frame(0, 0, 1, &[b'x'; 16_000]).repeat(16);
    for _ in 0..5000 {
        seen.body.clear();
        assert!(seen.feed(&mut client, &data).is_ok());
        assert_eq!(seen.body.len(), 256_000);
        let wire = lock(&client.wire);
        assert!(wire.incoming.is_empty() && wire.incoming.capacity() <= 2 * USUAL);
    }
    // A gigabyte came, more than half of the window, of which more was given then.
    assert!(!client.take_outgoing().is_empty());
}

proptest! {
    #[test]
    fn any_frames_do_no_harm(
        frames in prop::collection::vec(
            (
                0_u8..11,
                prop::sample::select(vec![0_u8, 1, 4, 5, 8, 9, 0x20, 0x2d, 0xff]),
                prop::sample::select(vec![0_u32, 1, 1, 1, 2, 3, 0x7fff_ffff, u32::MAX]),
                prop_oneof![
                    Just(vec![0x88]),
                    Just(vec![0, 0, 0, 1]),
                    Just(vec![0; 8]),
                    prop::collection::vec(any::<u8>(), 0..40),
                ],
            ),
            0..20,
        ),
        tail in prop::collection::vec(any::<u8>(), 0..40),
        cut in 1_usize..100,
    ) {
        let mut client = settled();
        client.send(request(), Bytes::from_static(b"{}")).unwrap();
        let mut bytes: Vec<u8> =
            frames.iter().flat_map(|(kind, flags, id, payload)| frame(*kind, *flags, *id, payload)).collect();
        bytes.extend(tail);
        let mut seen = Seen::default();
        for piece in bytes.chunks(cut) {
            match seen.feed(&mut client, piece) {
                Ok(Fed::Read { .. }) => {}
                Ok(Fed::Cut { .. }) | Err(_) => break,
            }
        }
        prop_assert!(seen.heads.len() <= 1 && seen.ends <= seen.heads.len());
    }
}
