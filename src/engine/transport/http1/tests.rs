//! Responses of all kinds, whole and cut.

use proptest::prelude::*;

use super::*;

/// What was read, with the pieces of the body joined.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    heads: Vec<Head>,
    bodies: Vec<Vec<u8>>,
    ends: usize,
}

fn read(pieces: &[&[u8]]) -> Result<(Seen, Reader), Malformed> {
    let mut seen = Seen::default();
    let mut reader = Reader::default();
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let took = reader.feed(rest, &mut |part| {
                match part {
                    Part::Head(head) => {
                        seen.heads.push(head);
                        seen.bodies.push(Vec::new());
                    }
                    Part::Body(bytes) => seen.bodies.last_mut().unwrap().extend_from_slice(bytes),
                    Part::End => seen.ends += 1,
                }
                Ok::<(), Malformed>(())
            })?;
            rest = &rest[took..];
        }
    }
    Ok((seen, reader))
}

fn bodies(response: &str) -> Result<Vec<String>, Malformed> {
    let (seen, _) = read(&[response.as_bytes()])?;
    assert_eq!(seen.ends, seen.bodies.len(), "{response:?}");
    Ok(seen.bodies.into_iter().map(|body| String::from_utf8(body).unwrap()).collect())
}

const OK: &str = "HTTP/1.1 200 OK\r\n";

#[test]
fn bodies_of_each_kind() {
    let cases: [(&str, &[&str]); 10] = [
        ("content-length: 2\r\n\r\nab", &["ab"]),
        ("content-length: 0\r\n\r\n", &[""]),
        ("transfer-encoding: chunked\r\n\r\n1\r\na\r\n2;x=y\r\nbc\r\n0\r\n\r\n", &["abc"]),
        (
            "Transfer-Encoding: Chunked\r\n\r\n00A\r\n0123456789\r\n0\r\ntrailer: x\r\n\r\n",
            &["0123456789"],
        ),
        ("transfer-encoding: chunked\r\n\r\n1 \r\na\r\n0\r\n\r\n", &["a"]),
        // Some servers end their lines with a line feed only.
        ("transfer-encoding: chunked\r\n\r\n1\na\n0\n\n", &["a"]),
        // Both lengths: the chunks hold.
        ("content-length: 9\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", &["a"]),
        ("content-length: 1\r\ncontent-length: 1\r\n\r\na", &["a"]),
        (
            "content-length: 1\r\n\r\naHTTP/1.1 404 Not Found\r\ncontent-length: 1\r\n\r\nb",
            &["a", "b"],
        ),
        ("transfer-encoding: chunked\r\n\r\n0\r\n\r\n", &[""]),
    ];
    for (rest, want) in cases {
        assert_eq!(bodies(&format!("{OK}{rest}")).unwrap(), want, "{rest:?}");
    }
}

#[test]
fn broken_responses() {
    let cases = [
        ("SSH-2.0-OpenSSH\r\n", Malformed::Head),
        ("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", Malformed::Length),
        ("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", Malformed::Length),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", Malformed::Length),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n", Malformed::Length),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", Malformed::Chunk),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\r\n", Malformed::Chunk),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n", Malformed::Chunk),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n11111111111111111\r\n",
            Malformed::Chunk,
        ),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", Malformed::Upgrade),
    ];
    for (response, want) in cases {
        assert_eq!(bodies(response), Err(want), "{response:?}");
    }
}

#[test]
fn what_has_no_end_is_cut_off() {
    let field = "x: y\r\n";
    let long = format!("{OK}x: {}", "y".repeat(MAX_HEAD));
    assert_eq!(read(&[long.as_bytes()]).unwrap_err(), Malformed::LongHead);
    let many = format!("{OK}{}", field.repeat(200));
    assert_eq!(read(&[many.as_bytes()]).unwrap_err(), Malformed::LongHead);
    let head = format!("{OK}transfer-encoding: chunked\r\n\r\n");
    for rest in [format!("1;{}", "x".repeat(20_000)), format!("0\r\n{}", field.repeat(5000))] {
        assert_eq!(read(&[head.as_bytes(), rest.as_bytes()]).unwrap_err(), Malformed::Chunk);
    }
}

#[test]
fn heads() {
    let head = |lines: &str| {
        let (seen, _) = read(&[lines.as_bytes()]).unwrap();
        seen.heads.into_iter().next().unwrap()
    };
    let plain = head(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!((plain.status, plain.reason.as_str()), (503, "Service Unavailable"));
    assert_eq!(plain.content_type.as_deref(), Some("text/plain"));
    assert!(plain.keep_alive);
    assert!(!head("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n").keep_alive);
    assert!(
        head("HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\ncontent-length: 0\r\n\r\n").keep_alive
    );
    assert!(!head("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").keep_alive);
    let encoded = head("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(encoded.encoding.as_deref(), Some("gzip"));
    // Without a length the body ends with the connection, which cannot be used again.
    assert!(!head("HTTP/1.1 200 OK\r\n\r\n").keep_alive);
    // An interim response comes before the real one.
    assert_eq!(head("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n").status, 200);
}

#[test]
fn a_close_ends_only_bodies_without_a_length() {
    let after = |response: &str| read(&[response.as_bytes()]).unwrap().1;
    assert!(after("HTTP/1.1 200 OK\r\n\r\nab").close());
    assert!(!after("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab").close());
    assert!(!after("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").close());
    assert!(!after("").close() && !after("").begun());
    assert!(after("HTT").begun());
}

prop_compose! {
    fn response()(
        chunks in prop::option::of(prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6)),
        fixed in prop::collection::vec(any::<u8>(), 0..60),
        interim in any::<bool>(),
    ) -> (Vec<u8>, Vec<u8>) {
        let mut bytes = if interim { b"HTTP/1.1 100 Continue\r\n\r\n".to_vec() } else { Vec::new() };
        bytes.extend_from_slice(OK.as_bytes());
        let mut body = Vec::new();
        if let Some(chunks) = chunks {
            bytes.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
            for chunk in chunks {
                bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(&chunk);
                bytes.extend_from_slice(b"\r\n");
                body.extend(chunk);
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        } else {
            bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", fixed.len()).as_bytes());
            bytes.extend_from_slice(&fixed);
            body = fixed;
        }
        (bytes, body)
    }
}

proptest! {
    /// Forall responses and ways of cutting them: the bodies are those that were sent.
    #[test]
    fn cuts_do_not_matter(
        responses in prop::collection::vec(response(), 1..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let bytes: Vec<u8> = responses.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        let (seen, reader) = read(&pieces).unwrap();
        let want: Vec<Vec<u8>> = responses.into_iter().map(|(_, body)| body).collect();
        prop_assert_eq!(seen.bodies, want);
        prop_assert_eq!(seen.ends, seen.heads.len());
        prop_assert!(!reader.begun());
    }

    /// Forall bytes: no panic, and no more bytes taken than given.
    #[test]
    fn any_bytes_do_no_harm(
        start in prop::sample::select(vec!["", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"]),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = read(&[start.as_bytes(), &bytes]);
    }
}

#[test]
fn interim_responses_come_to_an_end() {
    let interim = "HTTP/1.1 102 Processing\r\n\r\n";
    let good = format!("{OK}content-length: 1\r\n\r\na");
    let few = format!("{}{good}", interim.repeat(100));
    assert_eq!(bodies(&few.repeat(2)).unwrap(), ["a", "a"]);
    let many = format!("{}{good}", interim.repeat(101));
    assert_eq!(bodies(&many).unwrap_err(), Malformed::Interim);
}

#[test]
fn long_heads_are_refused_however_they_are_cut() {
    let head = |len: usize| {
        let rest = "content-length: 0\r\n\r\n";
        let name = "x-filling: ";
        let filling = "x".repeat(len - OK.len() - name.len() - 2 - rest.len());
        format!("{OK}{name}{filling}\r\n{rest}").into_bytes()
    };
    for cut in [1, 1000, MAX_HEAD, MAX_HEAD + 1, usize::MAX] {
        let longest = head(MAX_HEAD);
        assert_eq!(longest.len(), MAX_HEAD);
        let pieces =
            |bytes: &[u8]| read(&bytes.chunks(cut).collect::<Vec<_>>()).map(|(seen, _)| seen.ends);
        assert_eq!(pieces(&longest), Ok(1), "{cut}");
        assert_eq!(pieces(&head(MAX_HEAD + 1)), Err(Malformed::LongHead), "{cut}");
    }
    let mut reader = Reader::default();
    let mut endless = || reader.feed(&[b'x'; 999], &mut |_| Ok::<(), Malformed>(()));
    assert_eq!(endless(), Err(Malformed::Head));
    let mut reader = Reader::default();
    let mut feed = |bytes: &[u8]| {
        let fed = reader.feed(bytes, &mut |_| Ok::<(), Malformed>(()));
        assert!(reader.held() <= MAX_HEAD + 1);
        fed
    };
    feed(b"HTTP/1.1 200 OK\r\nx: ").unwrap();
    let ended = (0..100).find_map(|_| feed(&[b'x'; 999]).err());
    assert_eq!(ended, Some(Malformed::LongHead));
}

#[test]
fn redirects_say_where_they_lead() {
    for (location, want) in [
        ("/elsewhere", "/elsewhere"),
        ("http://other.example/v1?key=1#part", "http://other.example/v1"),
        ("https://user:pass@other.example:8000/a@b", "https://other.example:8000/a@b"),
        ("//user:p@ss@other.example", "//other.example"),
        ("?key=1", ""),
        ("a@b", "a@b"),
    ] {
        let text = format!(
            "HTTP/1.1 307 Temporary Redirect\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"
        );
        let (seen, _) = read(&[text.as_bytes()]).unwrap();
        let want = format!("Temporary Redirect, which leads to {want} and is not followed");
        assert_eq!(seen.heads[0].reason, want);
    }
    let (seen, _) =
        read(&[format!("{OK}location: /x\r\ncontent-length: 0\r\n\r\n").as_bytes()]).unwrap();
    assert_eq!(seen.heads[0].reason, "OK");
}
